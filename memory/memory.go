// Package memory owns the memory in which values live, from the arrival of their first byte until
// the last reader has sent them.
//
// An entry and all connections that are sending it share a value without knowing of each other. So
// a Buffer counts its references. The holder of a reference may read the bytes; nothing may write
// them once there is a second reference. The package knows only bytes: neither arrays nor keys nor
// connections.
//
// # Where buffers live
//
// Off Go's heap: there, values that are overwritten cost twice their size or most of a processor's
// time in collections. Buffers are blocks of slabs: runs of memory from the system, carved into
// blocks of one size class (class.go, slab.go, heap.go). A freed block is the next one to be
// reused. Pool.Trim returns memory that has been idle for some seconds to the system.
//
// # Locks
//
// Every Pool has a lock for its heap, and one lock guards the table of all slabs. Callers may hold
// any lock: these two are the innermost.
//
// # Builds
//
// The build tag `poison` fills every buffer with a pattern as it is freed and checks the pattern
// when the block is used again: a read after the release returns wrong bytes, and a write panics.
// The tag `goheap` and the race detector, which sees only Go's heap, put every buffer on Go's heap
// instead.
package memory

import (
	"fmt"
	"sync/atomic"
)

// Pool hands out buffers and counts them. The zero value is ready to use.
type Pool struct {
	bytes     atomic.Int64
	buffers   atomic.Int64
	allocated atomic.Int64
	heap      heap
}

const maxFrame = 255 // bytes, before and after the content each

// New returns a buffer of n bytes with one reference, which the caller must Release. Its content is
// undefined.
func (p *Pool) New(n int) *Buffer { return p.NewFramed(0, n, 0) }

// NewFramed is New with space for a frame: up to 255 bytes each directly before and after the content.
func (p *Pool) NewFramed(before, n, after int) *Buffer {
	if before < 0 || before > maxFrame || n < 0 || after < 0 || after > maxFrame {
		panic(fmt.Sprintf("memory: invalid buffer of %d + %d + %d bytes", before, n, after))
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

// Bytes returns how many bytes of content all buffers have.
func (p *Pool) Bytes() int64 { return p.bytes.Load() }

// Buffers returns how many buffers there are.
func (p *Pool) Buffers() int64 { return p.buffers.Load() }

// Allocated returns how many bytes all buffers take: their content, their frames and the loss by
// rounding.
func (p *Pool) Allocated() int64 { return p.allocated.Load() }

// Bytes returns the content. It is valid while the caller holds its reference.
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

// Retain adds a reference and returns b. A reference must already protect the caller.
func (b *Buffer) Retain() *Buffer {
	if b.refs.Add(1) <= 1 {
		panic("memory: buffer retained after its release")
	}
	return b
}

// Shared reports whether there is a reference besides the caller's.
func (b *Buffer) Shared() bool { return b.refs.Load() > 1 }

// Release gives back one reference. The last one frees the memory.
func (b *Buffer) Release() { b.ReleaseThen(nil) }

// ReleaseThen gives back one reference. If it is the last one, it first calls last, which may still
// read the bytes; last may be nil.
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
