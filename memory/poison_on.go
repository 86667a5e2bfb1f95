//go:build poison || goheap || race

package memory

import "fmt"

const poisonByte = 0xdb

// poison overwrites what is freed, so that wrong bytes, or the race detector, tell of a reader
// without a reference.
func poison(b []byte) {
	for i := range b {
		b[i] = poisonByte
	}
}

// checkPoison panics when a freed block has been written to.
func checkPoison(b []byte) {
	for i, c := range b {
		if c != poisonByte {
			panic(fmt.Sprintf("memory: byte %d of a freed buffer of %d was written to", i, len(b)))
		}
	}
}
