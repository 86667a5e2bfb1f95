//go:build !goheap && !race

package memory

import (
	"cmp"
	"slices"
)

// Small blocks share their pages, so that after many deletions each slab may be held by a few. A
// slab that is to become empty hands out no blocks; whoever owns one that is Evacuating moves it to
// another buffer when there is time.

const leaveTicks = 20 // calls of Trim after which a slab is used again that did not become empty

// leave chooses the emptiest slabs of a class, as many as the others have room for.
func (h *heap) leave(class int) {
	var list []*slab
	room := 0
	for s := h.classes[class].freed; s != nil; s = s.next {
		room += len(s.freed)
		if s != h.classes[class].cutting && !s.stuck && s.used < s.count*3/4 {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *slab) int { return cmp.Compare(a.used, b.used) })
	for _, s := range list {
		room -= s.count // its free blocks are no room for others, and its used ones need some
		if room < s.count/8 {
			return
		}
		h.unlist(s)
		s.leftSince = h.tick
		s.sparse.Store(true)
		h.leaving = append(h.leaving, s)
	}
}

// watchLeaving forgets the slabs that have become empty, and uses those again that do not.
func (h *heap) watchLeaving() {
	kept := h.leaving[:0]
	for _, s := range h.leaving {
		switch {
		case !s.sparse.Load() || s.used == 0: // it is empty, or belongs to another class already
		case h.tick-s.leftSince < leaveTicks:
			kept = append(kept, s)
		default:
			s.sparse.Store(false)
			s.stuck = true
			h.list(s)
		}
	}
	clear(h.leaving[len(kept):])
	h.leaving = kept
}

// Evacuating reports whether there are slabs that are to become empty.
func (p *Pool) Evacuating() bool {
	p.heap.mu.Lock()
	defer p.heap.mu.Unlock()
	return len(p.heap.leaving) > 0
}
