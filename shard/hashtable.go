package shard

import (
	"bytes"
	"hash/maphash"
	"math/rand/v2"
	"unsafe"

	"github.com/ndring/ndring/memory"
)

// hashTable finds entries by key. It uses linear probing; a slot holds the 48 bits of a memory.Addr
// and 16 bits of the key's hash, so that a lookup visits a wrong entry once in 65,536 times. It
// takes 10 to 20 bytes per entry, off Go's heap. The zero value is empty.
type hashTable struct {
	slots  []uint64       // a power of two of them; 0 for an empty one
	memory *memory.Buffer // holds the slots
	count  int            // entries
}

const (
	addrBits  = 48
	firstSize = 16 // slots
)

// seed keeps clients from choosing keys that collide.
var seed = maphash.MakeSeed()

func hashOf(key []byte) uint64 { return maphash.Bytes(seed, key) }

func (t *hashTable) entry(i uint64) *Entry {
	return (*Entry)(memory.Addr(t.slots[i] & (1<<addrBits - 1)).Buffer())
}

func (t *hashTable) mask() uint64 { return uint64(len(t.slots) - 1) }

// find returns the slot of a key and true, or an empty slot and false. The table must have slots.
func (t *hashTable) find(key []byte) (slot uint64, found bool) {
	hash := hashOf(key)
	mask := t.mask()
	for i := hash & mask; ; i = (i + 1) & mask {
		if t.slots[i] == 0 {
			return i, false
		}
		if t.slots[i]>>addrBits == hash>>addrBits && bytes.Equal(t.entry(i).Key(), key) {
			return i, true
		}
	}
}

// get returns the entry of a key; nil if it is missing.
func (t *hashTable) get(key []byte) *Entry {
	if t.count == 0 {
		return nil
	}
	if i, found := t.find(key); found {
		return t.entry(i)
	}
	return nil
}

// has reports whether exactly this entry is stored.
func (t *hashTable) has(e *Entry, hash uint64) bool {
	if t.count == 0 {
		return false
	}
	want := uint64(e.buffer().Addr()) | hash>>addrBits<<addrBits
	mask := t.mask()
	for i := hash & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if t.slots[i] == want {
			return true
		}
	}
	return false
}

// put stores an entry under its key and returns the entry that it replaces; nil for none.
func (t *hashTable) put(pool *memory.Pool, e *Entry) (old *Entry) {
	if (t.count+1)*5 > len(t.slots)*4 {
		t.resize(pool, max(firstSize, 2*len(t.slots)))
	}
	key := e.Key()
	i, found := t.find(key)
	if found {
		old = t.entry(i)
	} else {
		t.count++
	}
	t.slots[i] = uint64(e.buffer().Addr()) | hashOf(key)>>addrBits<<addrBits
	return old
}

// remove removes a key and returns its entry; nil if it is missing.
func (t *hashTable) remove(pool *memory.Pool, key []byte) *Entry {
	if t.count == 0 {
		return nil
	}
	hole, found := t.find(key)
	if !found {
		return nil
	}
	e := t.entry(hole)
	t.count--
	// Entries between this hole and the next empty slot may sit where they do only because this
	// slot was taken.
	mask := t.mask()
	for i := (hole + 1) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		home := hashOf(t.entry(i).Key()) & mask
		if (i-home)&mask >= (i-hole)&mask {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = 0
	if t.count == 0 {
		t.release()
	} else if len(t.slots) > firstSize && t.count*8 < len(t.slots) {
		t.resize(pool, len(t.slots)/2)
	}
	return e
}

func (t *hashTable) resize(pool *memory.Pool, size int) {
	old := *t
	t.memory = pool.New(8 * size)
	b := t.memory.Bytes()
	clear(b)
	t.slots = unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), size)
	mask := t.mask()
	for i, slot := range old.slots {
		if slot == 0 {
			continue
		}
		to := hashOf(old.entry(uint64(i)).Key()) & mask
		for t.slots[to] != 0 {
			to = (to + 1) & mask
		}
		t.slots[to] = slot
	}
	if old.memory != nil {
		old.memory.Release()
	}
}

// release empties the table; the entries become the caller's.
func (t *hashTable) release() {
	if t.memory != nil {
		t.memory.Release()
	}
	*t = hashTable{}
}

// each calls do with every entry until it returns false. Do must not change the table.
func (t *hashTable) each(do func(*Entry) bool) {
	for i, slot := range t.slots {
		if slot != 0 && !do(t.entry(uint64(i))) {
			return
		}
	}
}

// random calls do with up to n neighbours from a random position.
func (t *hashTable) random(n int, do func(*Entry)) {
	if t.count == 0 {
		return
	}
	mask := t.mask()
	at := rand.Uint64() & mask
	for left := min(n, t.count); left > 0; at = (at + 1) & mask {
		if t.slots[at] != 0 {
			do(t.entry(at))
			left--
		}
	}
}
