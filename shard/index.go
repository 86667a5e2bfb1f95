package shard

import (
	"bytes"
	"hash/maphash"
	"math/rand/v2"
	"unsafe"

	"github.com/ndring/ndring/memory"
)

// index finds entries by their keys. It is a hash table with linear probing whose slots are the 48 bits of a memory.Addr and 16 bits of the
// key's hash, so that a wrong entry is looked at once in 65,536 times. It costs 10 to 20 bytes an entry, off Go's heap. The zero value is empty.
type index struct {
	slots  []uint64       // a power of two of them; 0 for an empty one
	memory *memory.Buffer // in which they lie
	count  int
}

const (
	refBits   = 48
	firstSize = 16 // slots
)

// seed keeps who chooses keys from choosing which of them collide.
var seed = maphash.MakeSeed()

func hashOf(key []byte) uint64 { return maphash.Bytes(seed, key) }

func (x *index) entry(i uint64) *Entry {
	return (*Entry)(memory.Addr(x.slots[i] & (1<<refBits - 1)).Buffer())
}

func (x *index) mask() uint64 { return uint64(len(x.slots) - 1) }

// find returns the slot of a key and whether it is there; if it is not, the slot is empty. The index must have slots.
func (x *index) find(key []byte) (slot uint64, found bool) {
	hash := hashOf(key)
	mask := x.mask()
	for i := hash & mask; ; i = (i + 1) & mask {
		if x.slots[i] == 0 {
			return i, false
		}
		if x.slots[i]>>refBits == hash>>refBits && bytes.Equal(x.entry(i).Key(), key) {
			return i, true
		}
	}
}

// get returns the entry of a key, nil if there is none.
func (x *index) get(key []byte) *Entry {
	if x.count == 0 {
		return nil
	}
	if i, found := x.find(key); found {
		return x.entry(i)
	}
	return nil
}

// has reports whether exactly this entry is stored.
func (x *index) has(e *Entry, hash uint64) bool {
	if x.count == 0 {
		return false
	}
	want := uint64(e.buffer().Addr()) | hash>>refBits<<refBits
	mask := x.mask()
	for i := hash & mask; x.slots[i] != 0; i = (i + 1) & mask {
		if x.slots[i] == want {
			return true
		}
	}
	return false
}

// put stores an entry under its key and returns the one that was there, nil if none was.
func (x *index) put(pool *memory.Pool, e *Entry) (old *Entry) {
	if (x.count+1)*5 > len(x.slots)*4 {
		x.resize(pool, max(firstSize, 2*len(x.slots)))
	}
	key := e.Key()
	i, found := x.find(key)
	if found {
		old = x.entry(i)
	} else {
		x.count++
	}
	x.slots[i] = uint64(e.buffer().Addr()) | hashOf(key)>>refBits<<refBits
	return old
}

// remove takes a key out and returns its entry, nil if there is none.
func (x *index) remove(pool *memory.Pool, key []byte) *Entry {
	if x.count == 0 {
		return nil
	}
	hole, found := x.find(key)
	if !found {
		return nil
	}
	e := x.entry(hole)
	x.count--
	// What stands behind the hole, up to the next one, may be there only because of it.
	mask := x.mask()
	for i := (hole + 1) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		home := hashOf(x.entry(i).Key()) & mask
		if (i-home)&mask >= (i-hole)&mask {
			x.slots[hole] = x.slots[i]
			hole = i
		}
	}
	x.slots[hole] = 0
	if x.count == 0 {
		x.release()
	} else if len(x.slots) > firstSize && x.count*8 < len(x.slots) {
		x.resize(pool, len(x.slots)/2)
	}
	return e
}

func (x *index) resize(pool *memory.Pool, size int) {
	old := *x
	x.memory = pool.New(8 * size)
	b := x.memory.Bytes()
	clear(b)
	x.slots = unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), size)
	mask := x.mask()
	for i, slot := range old.slots {
		if slot == 0 {
			continue
		}
		to := hashOf(old.entry(uint64(i)).Key()) & mask
		for x.slots[to] != 0 {
			to = (to + 1) & mask
		}
		x.slots[to] = slot
	}
	if old.memory != nil {
		old.memory.Release()
	}
}

// release empties the index; the entries are the caller's.
func (x *index) release() {
	if x.memory != nil {
		x.memory.Release()
	}
	*x = index{}
}

// each calls do with all entries until it returns false. Do must not change the index.
func (x *index) each(do func(*Entry) bool) {
	for i, slot := range x.slots {
		if slot != 0 && !do(x.entry(uint64(i))) {
			return
		}
	}
}

// random calls do with up to n entries that stand together at a random place.
func (x *index) random(n int, do func(*Entry)) {
	if x.count == 0 {
		return
	}
	mask := x.mask()
	at := rand.Uint64() & mask
	for left := min(n, x.count); left > 0; at = (at + 1) & mask {
		if x.slots[at] != 0 {
			do(x.entry(at))
			left--
		}
	}
}
