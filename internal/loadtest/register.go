// Package loadtest writes to a cluster and reads from it while a test has something happen to it, and knows what a read may show. It talks to nodes as any client
// does, and shares no code with them.
package loadtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// Register is a key with one writer. An operation is known by its place in history, which counts from 1; what it stores is that number, or nothing.
type Register struct {
	Key string

	mu      sync.Mutex // guards all below
	history []bool     // whether operation i+1 stores something; before the first there is nothing
	acked   int        // the newest operation that was acknowledged
	left    bool       // the outcome of the last operation is unknown, and nobody writes any more
}

// Span returns the newest acknowledged operation, and the newest that was sent.
func (r *Register) Span() (acked, sent int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked, len(r.history)
}

// Check looks at what was read after the operation `from` had been acknowledged.
func (r *Register) Check(from int, got int) error {
	_, sent := r.Span()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got > 0 {
		if got < from || got > sent || !r.history[got-1] {
			return fmt.Errorf("%s has what operation %d has stored; operation %d was acknowledged before the read", r.Key, got, from)
		}
		return nil
	}
	for i := from; i <= sent; i++ {
		if i == 0 || !r.history[i-1] {
			return nil
		}
	}
	return fmt.Errorf("%s is not there; operation %d, which has stored something, was acknowledged before the read, and none that deletes it was sent until its end (%d)", r.Key, from, sent)
}

// Array is a file of n bytes that are told by id.
func Array(id uint64, n int) string {
	head := fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", n)
	b := append([]byte(npyFile(head)), make([]byte, 0, n+8)...)
	r, start := rand.NewPCG(id, 7), len(b)
	for len(b) < start+n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return string(b[:start+n])
}

// Numbered is an array of one number.
func Numbered(n int) string {
	return string(binary.LittleEndian.AppendUint64([]byte(npyFile("{'descr': '<u8', 'fortran_order': False, 'shape': (1,), }")), uint64(n)))
}

// npyFile is the beginning of a .npy file, up to its data.
func npyFile(head string) string {
	head += strings.Repeat(" ", 127-10-len(head)) + "\n"
	return "\x93NUMPY\x01\x00\x76\x00" + head
}
