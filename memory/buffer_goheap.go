//go:build goheap || race

package memory

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// Buffer is a counted run of bytes of fixed length.
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

// Cost returns how many bytes the buffer takes, including its frame and its header.
func (b *Buffer) Cost() int64 { return int64(len(b.b)) + int64(unsafe.Sizeof(*b)) }

// Evacuating reports false: moving the buffer would free nothing.
func (b *Buffer) Evacuating() bool { return false }

// OnGoHeap says whether buffers are on Go's heap.
const OnGoHeap = true

// heap keeps every buffer that has a reference reachable for the collector, which does not see an
// Addr.
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

// Idle returns how many bytes the pool holds that are not in a buffer.
func (p *Pool) Idle() int64 { return 0 }

// Trim does nothing: Go's collector returns memory by itself.
func (p *Pool) Trim(atOnce bool) {}

// Evacuating reports false: no buffer is Evacuating.
func (p *Pool) Evacuating() bool { return false }
