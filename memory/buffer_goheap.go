//go:build goheap || race

package memory

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// Buffer is a counted reference to a run of bytes of fixed length.
type Buffer struct {
	refs          atomic.Int32
	before, after int
	b             []byte
	of            *Pool
}

func (b *Buffer) shape() (before, n, after int) {
	return b.before, len(b.b) - b.before - b.after, b.after
}

func (b *Buffer) whole() []byte { return b.b }
func (b *Buffer) pool() *Pool   { return b.of }

// Cost returns how many bytes the buffer takes, with its frame and its header.
func (b *Buffer) Cost() int64 { return int64(len(b.b)) + int64(unsafe.Sizeof(*b)) }

// Evacuating reports whether moving the buffer would give memory back to the system: Go's collector
// does so by itself.
func (b *Buffer) Evacuating() bool { return false }

// OnGoHeap says whether buffers lie on Go's heap.
const OnGoHeap = true

// heap keeps every buffer in sight of the collector that somebody holds, since a Ref does not.
type heap struct {
	mu   sync.Mutex // guards held
	held map[*Buffer]struct{}
}

func (h *heap) alloc(p *Pool, before, n, after int) *Buffer {
	b := &Buffer{before: before, after: after, b: make([]byte, before+n+after), of: p}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = make(map[*Buffer]struct{})
	}
	h.held[b] = struct{}{}
	return b
}

func (h *heap) free(b *Buffer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, b)
}

// Idle returns how many bytes the pool holds that are in no buffer.
func (p *Pool) Idle() int64 { return 0 }

// Trim gives memory back to the system that nobody has used for some calls, or at once.
func (p *Pool) Trim(atOnce bool) {}

// Evacuating reports whether buffers are Evacuating.
func (p *Pool) Evacuating() bool { return false }
