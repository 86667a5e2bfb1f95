package main

import "sync"

// hashes is a set of hashes that several goroutines may use at once.
type hashes struct {
	parts [256]struct {
		mu sync.Mutex // guards set
		set
	}
}

func newHashes() *hashes {
	h := new(hashes)
	for i := range h.parts {
		h.parts[i].slots = make([]uint64, 1<<10)
	}
	return h
}

// add reports whether the hash is new.
func (h *hashes) add(hash uint64) bool {
	p := &h.parts[hash>>56]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set.add(hash)
}

// set is a table with open addressing: half the memory of a map, which decides how far a search
// gets. 0 marks a free slot.
type set struct {
	slots []uint64
	n     int
}

func (t *set) add(hash uint64) bool {
	if hash == 0 {
		hash = 1
	}
	if t.n*2 > len(t.slots) {
		t.grow()
	}
	mask := uint64(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		switch t.slots[i] {
		case hash:
			return false
		case 0:
			t.slots[i] = hash
			t.n++
			return true
		}
	}
}

func (t *set) grow() {
	old := t.slots
	t.slots, t.n = make([]uint64, 2*len(old)), 0
	for _, hash := range old {
		if hash != 0 {
			t.add(hash)
		}
	}
}
