// Package memory owns the memory in which values live, from the moment a byte arrives until the
// last reader has sent it.
//
// A value is shared by the entry that stores it and by every connection that is sending it, and
// none of them knows of the others. So a Buffer counts its references, and whoever holds one may
// read the bytes; nobody writes once a second reference exists. The package knows bytes only:
// neither arrays nor keys nor connections.
//
// # Where buffers lie
//
// Not on Go's heap: there, values that are overwritten cost twice their size, or most of a
// processor's time in collections. They lie in slabs, runs of memory from the system that are cut
// into blocks of one size class (class.go, slab.go, heap.go). A block that is given back is the
// next one to be used. What nobody needs for some seconds goes back to the system (Trim).
//
// # Builds
//
// The build tag `poison` fills each buffer with a pattern as it is freed, and checks the pattern
// when the block is used again: what is read after its release is wrong bytes, what is written is a
// panic. The tag `goheap`, and the race detector, which sees nothing outside of Go's heap, put each
// buffer there instead.
package memory

import (
	"fmt"
	"sync/atomic"
)

// Pool hands out buffers and knows how many bytes are out. The zero value is ready to use.
type Pool struct {
	bytes     atomic.Int64
	buffers   atomic.Int64
	allocated atomic.Int64
	heap      heap
}

// Limits of what may stand around a buffer's content.
const maxFrame = 255 // bytes, before and behind

// New returns a buffer of n bytes with one reference, which the caller must Release. Its content is
// undefined.
func (p *Pool) New(n int) *Buffer { return p.NewFramed(0, n, 0) }

// NewFramed returns a buffer as New does that has room for a frame, up to 255 bytes each directly
// before and behind its content.
func (p *Pool) NewFramed(before, n, after int) *Buffer {
	if before < 0 || before > maxFrame || n < 0 || after < 0 || after > maxFrame {
		panic(fmt.Sprintf("memory: a buffer of %d + %d + %d bytes", before, n, after))
	}
	b := p.heap.alloc(p, before, n, after)
	b.refs.Store(1)
	p.bytes.Add(int64(n))
	p.buffers.Add(1)
	p.allocated.Add(b.Cost())
	return b
}

// Copy returns a buffer that holds a copy of src, with one reference.
func (p *Pool) Copy(src []byte) *Buffer {
	b := p.New(len(src))
	copy(b.Bytes(), src)
	return b
}

// Bytes returns how many bytes of content are in buffers that somebody holds.
func (p *Pool) Bytes() int64 { return p.bytes.Load() }

// Buffers returns how many buffers somebody holds.
func (p *Pool) Buffers() int64 { return p.buffers.Load() }

// Allocated returns how many bytes the buffers take that somebody holds: their content, their
// frames and what is lost by rounding.
func (p *Pool) Allocated() int64 { return p.allocated.Load() }

// Bytes returns the content. It is valid as long as the caller's reference.
func (b *Buffer) Bytes() []byte {
	before, n, _ := b.shape()
	return b.Framed()[before : before+n : before+n]
}

// Framed returns the content with its frame around it.
func (b *Buffer) Framed() []byte {
	if b.refs.Load() <= 0 {
		panic("memory: buffer used after its release")
	}
	return b.whole()
}

// Len returns the number of bytes of the content.
func (b *Buffer) Len() int {
	_, n, _ := b.shape()
	return n
}

// Retain adds a reference and returns b. The caller must already be covered by one.
func (b *Buffer) Retain() *Buffer {
	if b.refs.Add(1) <= 1 {
		panic("memory: buffer retained after its release")
	}
	return b
}

// Shared reports whether somebody holds a reference beside the caller's.
func (b *Buffer) Shared() bool { return b.refs.Load() > 1 }

// Release gives one reference back; with the last one the memory is free for others.
func (b *Buffer) Release() { b.ReleaseThen(nil) }

// ReleaseThen gives one reference back. If it is the last one, last is called first, which may
// still read the bytes; nil for nothing to do.
func (b *Buffer) ReleaseThen(last func(*Buffer)) {
	switch n := b.refs.Add(-1); {
	case n > 0:
	case n == 0:
		if last != nil {
			b.refs.Store(1)
			last(b)
			b.refs.Store(0)
		}
		p := b.pool()
		p.bytes.Add(-int64(b.Len()))
		p.buffers.Add(-1)
		p.allocated.Add(-b.Cost())
		poison(b.whole())
		p.heap.free(b)
	default:
		panic(fmt.Sprintf("memory: buffer released %d times too often", -n))
	}
}
