//go:build !goheap && !race

package memory

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

const (
	idleTicks  = 3        // calls of Trim after which what nobody needed goes back to the system
	returnable = 64 << 10 // bytes; the smallest block whose pages are given back alone
)

// Trim gives memory back to the system that nobody has used for some calls, or at once. It is to be
// called about once a second.
func (p *Pool) Trim(atOnce bool) {
	h := &p.heap
	h.mu.Lock()
	h.tick++
	due := h.tick - idleTicks
	if atOnce {
		due = h.tick
	}
	h.watchLeaving()
	gone := h.takeEmpty(due)
	var blocks []aged
	for word, set := range h.lending {
		for ; set != 0; set &= set - 1 {
			class := word*64 + bits.TrailingZeros64(set)
			switch stride := strideOf(class); {
			case tierOf(stride) == single:
				gone = h.takeSingles(class, due, gone)
			case stride >= returnable:
				blocks = h.takeFreed(class, due, blocks)
			default:
				h.leave(class)
			}
		}
	}
	h.mu.Unlock()
	for _, s := range gone {
		s.unmap()
	}
	for _, b := range blocks {
		_ = unix.Madvise(b.slab.pages(b.block), unix.MADV_DONTNEED) // fails for memory that is locked: then it stays
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range blocks {
		h.giveBack(b)
	}
}

// takeEmpty takes the slabs away that have been empty since a tick.
func (h *heap) takeEmpty(due int32) (gone []*slab) {
	for t, list := range h.empty {
		kept := list[:0]
		for _, s := range list {
			if s.idleSince > due {
				kept = append(kept, s)
				continue
			}
			h.idle -= int64(s.cut * s.stride)
			gone = append(gone, s)
		}
		clear(list[len(kept):])
		h.empty[t] = kept
	}
	return gone
}

// takeSingles takes those slabs of one block away that have been free since a tick.
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

// aged is a block whose pages are to go back to the system. While they do, it is out.
type aged struct {
	slab  *slab
	block uint32
}

// takeFreed takes the blocks of a class that were given back before a tick.
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

// giveBack makes a block free whose pages were returned. It goes below those that still have theirs.
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
