package main

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/ndring/ndring/bench/npy"
)

// register is a key to which one client writes arrays with the numbers 1, 2, 3 and so on, and that any may read.
type register struct {
	key  string
	size int // bytes of data

	mu    sync.Mutex // guards what follows
	sent  uint64     // the last number that was sent
	acked uint64     // the last one that was acknowledged
}

// begin returns the number of the next write.
func (r *register) begin() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent++
	return r.sent
}

// acknowledge notes that a write was acknowledged.
func (r *register) acknowledge(n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = n
}

// span returns the last acknowledged number and the last one that was sent.
func (r *register) span() (acked, sent uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acked, r.sent
}

// check judges what was read, 0 for nothing, when acked was the last acknowledged number before the read.
func (r *register) check(acked, n uint64) error {
	if _, sent := r.span(); n < acked || n > sent {
		return fmt.Errorf("%s has number %d, and %d was acknowledged, %d sent", r.key, n, acked, sent)
	}
	return nil
}

// template returns an array of a size, which number writes to.
func template(size int) []byte { return npy.Float32(size) }

// number writes a number to both ends of an array's data.
func number(array []byte, n uint64) {
	binary.LittleEndian.PutUint64(array[npy.HeaderBytes:], n)
	binary.LittleEndian.PutUint64(array[len(array)-8:], n)
}

// numberIn returns the number in an array of a size.
func numberIn(array string, size int) (uint64, error) {
	if len(array) != npy.HeaderBytes+size {
		return 0, fmt.Errorf("an array of %d bytes, want %d", len(array), npy.HeaderBytes+size)
	}
	first := binary.LittleEndian.Uint64([]byte(array[npy.HeaderBytes : npy.HeaderBytes+8]))
	if last := binary.LittleEndian.Uint64([]byte(array[len(array)-8:])); first != last {
		return 0, fmt.Errorf("an array of two writes, %d and %d", first, last)
	}
	return first, nil
}
