//go:build !goheap && !race

package memory

import (
	"math/bits"
	"sync"
)

// heap holds the free blocks of one pool.
type heap struct {
	mu      sync.Mutex // guards all below
	classes [classes]struct {
		freed   *slab // slabs with freed blocks
		carving *slab // the slab to carve blocks from when there is no freed block; nil for none
		slabs   int
	}
	available  [(classes + 63) / 64]uint64 // bit i: class i has freed blocks
	empty      [tiers][]*slab              // slabs without a block in use, the most recently used one last
	idle       int64                       // bytes of freed blocks and empty slabs whose pages are not returned to the system
	tick       int32
	evacuating []*slab // see evacuate.go
}

func (h *heap) alloc(p *Pool, before, n, after int) *Buffer {
	b, dirty := h.take(p, classOf(headerBytes+before+n+after))
	if dirty {
		checkPoison(b.whole())
	}
	b.setShape(before, n, after)
	return b
}

// take returns a block. Dirty means that it has been used and still has the bytes that free left.
func (h *heap) take(p *Pool, class int) (b *Buffer, dirty bool) {
	h.mu.Lock()
	defer h.mu.Unlock() // newSlab panics when there is no memory: that must end one connection, not stop all others
	if b, dirty = h.reuse(class); b == nil {
		b = h.carve(p, class)
	}
	return b, dirty
}

// reuse returns a freed block of the class or of a slightly larger one; nil if there is none.
func (h *heap) reuse(class int) (b *Buffer, dirty bool) {
	last := min(class+near(class), classes-1)
	for word := class / 64; word <= last/64; word++ {
		set := h.available[word]
		if word == class/64 {
			set &= ^uint64(0) << (class % 64)
		}
		if set == 0 {
			continue
		}
		found := word*64 + bits.TrailingZeros64(set)
		if found > last {
			return nil, false
		}
		s := h.classes[found].freed
		top := len(s.freed) - 1
		f := s.freed[top]
		s.freed = s.freed[:top]
		s.used++
		if !f.returned {
			h.idle -= int64(s.stride)
		}
		if top == 0 {
			h.unlist(s)
		}
		return s.block(f.block), !f.returned
	}
	return nil, false
}

// carve returns a block that has never been used.
func (h *heap) carve(p *Pool, class int) *Buffer {
	c := &h.classes[class]
	if c.carving == nil {
		c.carving = h.slab(p, class)
		c.slabs++
	}
	s := c.carving
	b := s.block(uint32(s.carved))
	b.slab = s.number
	s.carved++
	s.used++
	if s.carved == s.count {
		c.carving = nil
	}
	return b
}

// slab returns an empty slab for a class.
func (h *heap) slab(p *Pool, class int) *slab {
	stride := strideOf(class)
	t := tierOf(stride)
	var s *slab
	switch n := len(h.empty[t]); {
	case t == single:
		s = newSlab(p, t, stride, true)
	case n > 0:
		s = h.empty[t][n-1]
		h.empty[t] = h.empty[t][:n-1]
		h.idle -= int64(s.carved * s.stride)
	case t == small:
		s = newSlab(p, t, smallSlab, false)
	default:
		s = newSlab(p, t, mediumSlab, h.classes[class].slabs > 0) // a class that fills slabs can use whole huge pages
	}
	s.assign(class)
	return s
}

// free takes back a block after its last release.
func (h *heap) free(b *Buffer) {
	s := slabOf(b)
	h.mu.Lock()
	defer h.mu.Unlock()
	s.used--
	s.freed = append(s.freed, freed{block: s.index(b), since: h.tick})
	h.idle += int64(s.stride)
	s.idleSince = h.tick
	if !s.listed && !s.evacuating.Load() {
		h.list(s)
	}
	if s.used == 0 && s.tier != single {
		h.retire(s)
	}
}

// retire removes an empty slab from its class and makes it available to all classes of its tier.
func (h *heap) retire(s *slab) {
	c := &h.classes[s.class]
	h.unlist(s)
	if c.carving == s {
		c.carving = nil
	}
	c.slabs--
	for _, f := range s.freed {
		if !f.returned {
			h.idle -= int64(s.stride)
		}
	}
	h.idle += int64(s.carved * s.stride)
	s.freed = s.freed[:0]
	h.empty[s.tier] = append(h.empty[s.tier], s)
}

func (h *heap) list(s *slab) {
	c := &h.classes[s.class]
	s.prev, s.next, s.listed = nil, c.freed, true
	if c.freed != nil {
		c.freed.prev = s
	}
	c.freed = s
	h.available[s.class/64] |= 1 << (s.class % 64)
}

func (h *heap) unlist(s *slab) {
	if !s.listed {
		return
	}
	c := &h.classes[s.class]
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.freed = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next, s.listed = nil, nil, false
	if c.freed == nil {
		h.available[s.class/64] &^= 1 << (s.class % 64)
	}
}

// Idle returns how many bytes the pool holds that are not in a buffer.
func (p *Pool) Idle() int64 {
	p.heap.mu.Lock()
	defer p.heap.mu.Unlock()
	return p.heap.idle
}
