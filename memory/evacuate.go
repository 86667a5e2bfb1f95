//go:build !goheap && !race

package memory

import (
	"cmp"
	"slices"
)

// Small blocks share pages, so after many deletions a few blocks may keep each slab alive. A slab
// that is being evacuated hands out no blocks; the owner of an Evacuating buffer moves it to
// another buffer when there is time.

const evacuateTicks = 20 // calls of Trim after which a slab that is not empty is used again

// evacuate begins to evacuate the emptiest slabs of a class, as many as the others have room for.
func (h *heap) evacuate(class int) {
	var list []*slab
	room := 0
	for s := h.classes[class].freed; s != nil; s = s.next {
		room += len(s.freed)
		if s != h.classes[class].carving && !s.stuck && s.used < s.count*3/4 {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *slab) int { return cmp.Compare(a.used, b.used) })
	for _, s := range list {
		room -= s.count // its free blocks are lost, and its used ones need others
		if room < s.count/8 {
			return
		}
		h.unlist(s)
		s.evacuatingSince = h.tick
		s.evacuating.Store(true)
		h.evacuating = append(h.evacuating, s)
	}
}

// watchEvacuations ends the evacuation of slabs that have become empty, and puts those that stay in
// use back to work.
func (h *heap) watchEvacuations() {
	kept := h.evacuating[:0]
	for _, s := range h.evacuating {
		switch {
		case !s.evacuating.Load() || s.used == 0: // it is empty, or has another class already
		case h.tick-s.evacuatingSince < evacuateTicks:
			kept = append(kept, s)
		default:
			s.evacuating.Store(false)
			s.stuck = true
			h.list(s)
		}
	}
	clear(h.evacuating[len(kept):])
	h.evacuating = kept
}

// Evacuating reports whether slabs are being evacuated.
func (p *Pool) Evacuating() bool {
	p.heap.mu.Lock()
	defer p.heap.mu.Unlock()
	return len(p.heap.evacuating) > 0
}
