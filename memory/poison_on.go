//go:build poison || goheap || race

package memory

import "fmt"

const poisonByte = 0xdb

// poison overwrites freed bytes: a reader without a reference sees wrong bytes, or the race
// detector reports it.
func poison(b []byte) {
	for i := range b {
		b[i] = poisonByte
	}
}

// checkPoison panics when a freed block has been written to.
func checkPoison(b []byte) {
	for i, c := range b {
		if c != poisonByte {
			panic(fmt.Sprintf("memory: write to byte %d of a freed buffer of %d bytes", i, len(b)))
		}
	}
}
