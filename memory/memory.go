// Package memory owns the memory in which values live, from the moment a byte arrives until the last reader has sent it.
//
// A value is shared by the entry that stores it and by every connection that is sending it, and none of them knows of the others. So a
// Buffer counts its references, and whoever holds one may read the bytes; nobody writes once a second reference exists.
// The package knows bytes only: neither arrays nor keys nor connections.
package memory

import (
	"fmt"
	"sync/atomic"
)

// Pool hands out buffers and knows how many bytes are out.
// The zero value is ready to use.
type Pool struct {
	bytes   atomic.Int64
	buffers atomic.Int64
}

// Buffer is a counted reference to a run of bytes of fixed length.
type Buffer struct {
	b    []byte
	refs atomic.Int32
	pool *Pool
}

// New returns a buffer of n bytes with one reference, which the caller must Release. Its content is undefined.
func (p *Pool) New(n int) *Buffer {
	b := &Buffer{b: make([]byte, n), pool: p}
	b.refs.Store(1)
	p.bytes.Add(int64(n))
	p.buffers.Add(1)
	return b
}

// Copy returns a buffer that holds a copy of src, with one reference.
func (p *Pool) Copy(src []byte) *Buffer {
	b := p.New(len(src))
	copy(b.b, src)
	return b
}

// Bytes returns how many bytes are in buffers that somebody holds.
func (p *Pool) Bytes() int64 { return p.bytes.Load() }

// Buffers returns how many buffers somebody holds.
func (p *Pool) Buffers() int64 { return p.buffers.Load() }

// Bytes returns the content. It is valid as long as the caller's reference.
func (b *Buffer) Bytes() []byte {
	if b.refs.Load() <= 0 {
		panic("memory: buffer used after its release")
	}
	return b.b
}

// Len returns the number of bytes.
func (b *Buffer) Len() int { return len(b.b) }

// Retain adds a reference and returns b. The caller must already be covered by one.
func (b *Buffer) Retain() *Buffer {
	if b.refs.Add(1) <= 1 {
		panic("memory: buffer retained after its release")
	}
	return b
}

// Release gives one reference back; with the last one the memory is free for others.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
	case n == 0:
		b.pool.bytes.Add(-int64(len(b.b)))
		b.pool.buffers.Add(-1)
	default:
		panic(fmt.Sprintf("memory: buffer released %d times too often", -n))
	}
}
