//go:build !goheap && !race

package memory

import (
	"math/rand/v2"
	"testing"
)

// Overwriting values again and again takes hardly more memory than the values.
func TestOverwritesReuse(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 2
	}
	for _, size := range []int{100, 1200, 30 << 10, 256<<10 + 100, 5 << 20} {
		var p Pool
		held := make([]*Buffer, max(2, 64<<20/size))
		for i := range held {
			held[i] = p.New(size)
		}
		allocated := p.Allocated()
		for range rounds * len(held) {
			i := rand.IntN(len(held))
			b := p.New(size) // before the old one is released, as an upload does
			held[i].Release()
			held[i] = b
		}
		if p.Allocated() != allocated || p.Idle() > int64(size+size/64+2*headerBytes)+int64(pageBytes) {
			t.Errorf("%d bytes: %d allocated before, %d after, %d idle", size, allocated, p.Allocated(), p.Idle())
		}
		for _, b := range held {
			b.Release()
		}
	}
}

// Memory of a size that is no longer requested serves other sizes: first by lending blocks, then by
// moving slabs to another class or returning them to the system.
func TestMemoryGoesWhereItIsNeeded(t *testing.T) {
	var p Pool
	fill := func(size, n int) (all []*Buffer) {
		for range n {
			all = append(all, p.New(size))
		}
		return all
	}
	release := func(all []*Buffer) {
		for _, b := range all {
			b.Release()
		}
	}
	release(fill(1000, 10_000))
	idle := p.Idle()
	other := fill(3000, 3000)
	if now := p.Idle(); now > idle-8<<20 {
		t.Errorf("%d bytes were idle before, and %d are idle after 9 MB of another size", idle, now)
	}
	release(other)
	for range idleTicks + 1 {
		p.Trim(false)
	}
	if p.Idle() != 0 {
		t.Errorf("%d bytes are idle after some seconds", p.Idle())
	}
	large := fill(100<<10, 100)
	release(large[1:]) // the slabs are still in use
	for range idleTicks + 1 {
		p.Trim(false)
	}
	if p.Idle() > 0 {
		t.Errorf("%d bytes of large blocks are idle after some seconds", p.Idle())
	}
	again := fill(100<<10, 99)
	for i, b := range again {
		stamp(b.Bytes(), uint64(i))
	}
	for i, b := range again {
		if !intact(b.Bytes(), uint64(i)) {
			t.Fatal("two buffers share a block whose pages were returned")
		}
	}
	release(again)
	large[0].Release()
}

// Scattered small blocks can be moved, which frees their slabs.
func TestScatteredBlocksCanBeMoved(t *testing.T) {
	var p Pool
	var held []*Buffer
	for i := range 40_000 {
		b := p.New(1200)
		stamp(b.Bytes(), uint64(i))
		held = append(held, b)
	}
	var kept []int
	for i, b := range held {
		if rand.IntN(4) > 0 {
			b.Release()
		} else {
			kept = append(kept, i)
		}
	}
	for range 2 * evacuateTicks {
		p.Trim(false)
		for _, i := range kept {
			if b := held[i]; b.Evacuating() {
				held[i] = p.Copy(b.Bytes())
				b.Release()
			}
		}
	}
	if p.Idle() > p.Allocated()/5 {
		t.Errorf("%d bytes are idle beside %d", p.Idle(), p.Allocated())
	}
	for _, i := range kept {
		if !intact(held[i].Bytes(), uint64(i)) {
			t.Fatal("a moved block has other bytes")
		}
		held[i].Release()
	}
}

// A slab whose blocks are not moved is used again after a while.
func TestSlabThatStaysInUseIsUsedAgain(t *testing.T) {
	var p Pool
	var held []*Buffer
	for range 20_000 {
		held = append(held, p.New(1200))
	}
	for i, b := range held {
		if i%10 != 0 {
			b.Release()
		}
	}
	p.Trim(false)
	if !p.Evacuating() {
		t.Fatal("no slab is being evacuated")
	}
	for range evacuateTicks + 1 {
		p.Trim(false)
	}
	idle := p.Idle()
	for range 9000 {
		held = append(held, p.New(1200))
	}
	if now := p.Idle(); now > idle-9<<20 {
		t.Errorf("%d bytes were idle before, %d still are", idle, now)
	}
	for i, b := range held {
		if i%10 == 0 || i >= 20_000 {
			b.Release()
		}
	}
}

// When the system has no memory, New panics, and the pool still serves other requests.
func TestPoolSurvivesOutOfMemory(t *testing.T) {
	var p Pool
	var held []*Buffer
	failed := func() (failed bool) {
		defer func() { failed = recover() != nil }()
		for range 64 { // 8 TiB each: more than the address space
			held = append(held, p.New(1<<43))
		}
		return false
	}()
	if !failed {
		t.Error("the system has allocated 512 TiB")
	}
	small := p.New(10)
	stamp(small.Bytes(), 1)
	if !intact(small.Bytes(), 1) {
		t.Error("a small buffer has other bytes")
	}
	small.Release()
	for _, b := range held {
		slabOf(b).unmap() // not Release: the poisoned build would fill it
	}
}
