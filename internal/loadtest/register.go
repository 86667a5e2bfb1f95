// Package loadtest writes to a cluster and reads from it while a test disturbs the cluster, and knows what
// each read may return. It is an ordinary client of the nodes and must share no code with them.
//
// Load has keys with one writer each, through a client that retries. Histories has keys with many writers, each of
// which sends a command once; a checker looks for an order of the operations that explains all replies.
package loadtest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
)

// Register is a key with one writer. Operations are numbered from 1; each stores its number, or deletes the key.
type Register struct {
	Key string

	mu      sync.Mutex // guards all below
	history []bool     // whether operation i+1 stores its number; the key starts out missing
	acked   int        // the newest acknowledged operation
	left    bool       // abandoned: the outcome of the last operation is unknown
}

// Span returns the newest acknowledged operation and the newest sent one.
func (r *Register) Span() (acked, sent int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked, len(r.history)
}

// Check returns an error if a read that started after operation from was acknowledged must not return got.
func (r *Register) Check(from int, got int) error {
	_, sent := r.Span()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got > 0 {
		if got < from || got > sent || !r.history[got-1] {
			return fmt.Errorf("%s has the value of operation %d, but operation %d was acknowledged before the read", r.Key, got, from)
		}
		return nil
	}
	for i := from; i <= sent; i++ {
		if i == 0 || !r.history[i-1] {
			return nil
		}
	}
	return fmt.Errorf("%s is missing, but operation %d stored a value and was acknowledged before the read, and no delete up to operation %d was sent before its end", r.Key, from, sent)
}

// Array returns a .npy file with n bytes of data made from id.
func Array(id uint64, n int) string {
	head := fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }", n)
	b := append([]byte(npyFile(head)), make([]byte, 0, n+8)...)
	r, start := rand.NewPCG(id, 7), len(b)
	for len(b) < start+n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return string(b[:start+n])
}

// Numbered returns a .npy file with one number.
func Numbered(n int) string { return numbers(n, 1) }

// numbers returns a .npy file with count numbers, of which the last is n. The others follow from n and their place.
func numbers(n, count int) string {
	b := append(make([]byte, 0, headBytes+8*count), npyFile(fmt.Sprintf("{'descr': '<u8', 'fortran_order': False, 'shape': (%d,), }", count))...)
	for i := count - 1; i >= 0; i-- {
		b = binary.LittleEndian.AppendUint64(b, uint64(n)+uint64(i)<<32)
	}
	return string(b)
}

// headBytes is the number of bytes of a .npy file before its data.
const headBytes = 128

// npyFile returns the beginning of a .npy file, up to its data.
func npyFile(head string) string {
	head += strings.Repeat(" ", headBytes-1-10-len(head)) + "\n"
	return "\x93NUMPY\x01\x00\x76\x00" + head
}
