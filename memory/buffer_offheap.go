//go:build !goheap && !race

package memory

import (
	"sync/atomic"
	"unsafe"
)

// Buffer is a counted run of bytes of fixed length. It is the header of a block off Go's heap; the
// bytes follow it.
type Buffer struct {
	refs   atomic.Int32
	slab   uint32 // number
	length uint64 // of the content; the two upper bytes hold the lengths of the frame
}

// OnGoHeap says whether buffers are on Go's heap.
const OnGoHeap = false

const (
	headerBytes = int(unsafe.Sizeof(Buffer{}))
	lengthBits  = 48
)

func (b *Buffer) setShape(before, n, after int) {
	b.length = uint64(n) | uint64(before)<<lengthBits | uint64(after)<<(lengthBits+8)
}

func (b *Buffer) shape() (before, n, after int) {
	return int(b.length >> lengthBits & 0xff), int(b.length & (1<<lengthBits - 1)), int(b.length >> (lengthBits + 8))
}

func (b *Buffer) whole() []byte {
	before, n, after := b.shape()
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(b), headerBytes)), before+n+after)
}

func (b *Buffer) pool() *Pool { return slabOf(b).pool }

// Cost returns how many bytes the buffer takes, including its frame, its header and the loss by
// rounding.
func (b *Buffer) Cost() int64 { return int64(slabOf(b).stride) }

// Evacuating reports whether the buffer is in a mostly empty slab: if all of its buffers move
// elsewhere, the slab is free.
func (b *Buffer) Evacuating() bool { return slabOf(b).evacuating.Load() }
