//go:build !goheap && !race

package memory

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

const (
	idleTicks  = 3        // calls of Trim after which idle memory is returned to the system
	returnable = 64 << 10 // bytes; smallest block whose pages are returned without the rest of its slab
)

// Trim returns memory to the system that has been idle for some calls, or at once. Call it about
// once a second.
func (p *Pool) Trim(atOnce bool) {
	h := &p.heap
	h.mu.Lock()
	h.tick++
	due := h.tick - idleTicks
	if atOnce {
		due = h.tick
	}
	h.watchEvacuations()
	gone := h.takeEmpty(due)
	var blocks []aged
	for word, set := range h.available {
		for ; set != 0; set &= set - 1 {
			class := word*64 + bits.TrailingZeros64(set)
			switch stride := strideOf(class); {
			case tierOf(stride) == single:
				gone = h.takeSingles(class, due, gone)
			case stride >= returnable:
				blocks = h.takeFreed(class, due, blocks)
			default:
				h.evacuate(class)
			}
		}
	}
	h.mu.Unlock()
	for _, s := range gone {
		s.unmap()
	}
	for _, b := range blocks {
		_ = unix.Madvise(b.slab.pages(b.block), unix.MADV_DONTNEED) // fails for locked memory, which then stays
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range blocks {
		h.giveBack(b)
	}
}

// takeEmpty removes the slabs that have been empty since a tick.
func (h *heap) takeEmpty(due int32) (gone []*slab) {
	for t, list := range h.empty {
		kept := list[:0]
		for _, s := range list {
			if s.idleSince > due {
				kept = append(kept, s)
				continue
			}
			h.idle -= int64(s.carved * s.stride)
			gone = append(gone, s)
		}
		clear(list[len(kept):])
		h.empty[t] = kept
	}
	return gone
}

// takeSingles removes the slabs of one block that have been free since a tick.
func (h *heap) takeSingles(class int, due int32, gone []*slab) []*slab {
	for s := h.classes[class].freed; s != nil; {
		next := s.next
		if s.idleSince <= due {
			h.unlist(s)
			h.classes[class].slabs--
			h.idle -= int64(s.stride)
			gone = append(gone, s)
		}
		s = next
	}
	return gone
}

// aged is a block whose pages are being returned to the system. Meanwhile it counts as in use.
type aged struct {
	slab  *slab
	block uint32
}

// takeFreed removes the blocks of a class that were freed before a tick.
func (h *heap) takeFreed(class int, due int32, blocks []aged) []aged {
	for s := h.classes[class].freed; s != nil; {
		next := s.next
		kept := s.freed[:0]
		for _, f := range s.freed {
			if f.returned || f.since > due {
				kept = append(kept, f)
				continue
			}
			s.used++
			blocks = append(blocks, aged{s, f.block})
		}
		if s.freed = kept; len(kept) == 0 {
			h.unlist(s)
		}
		s = next
	}
	return blocks
}

// giveBack frees a block whose pages were returned. Blocks that still have their pages are reused
// first.
func (h *heap) giveBack(b aged) {
	s := b.slab
	s.used--
	h.idle -= int64(s.stride)
	s.freed = append([]freed{{block: b.block, since: h.tick, returned: true}}, s.freed...)
	if !s.listed {
		h.list(s)
	}
	if s.used == 0 {
		h.retire(s)
	}
}
