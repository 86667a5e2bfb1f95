package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
)

// program simulates a Go runtime whose heap a test fills.
type program struct {
	live, dead  int64
	collections uint64
	asked       int // collections by the store
	time        time.Duration
}

// runBy makes the store of a cache measure the simulated runtime, with room bytes for entries
// besides its live objects.
func (p *program) runBy(c *cache, room int64) {
	found := p.live // as of the last collection
	e := &c.memory
	e.program = func() memory.Program {
		heap := found
		if memory.OnGoHeap {
			heap += c.memory.Buffers()
		}
		return memory.Program{Heap: heap, Collections: p.collections}
	}
	e.free = func() {
		p.asked++
		p.collections++
		found, p.dead = p.live, 0
	}
	e.since = func() time.Duration { return p.time }
	e.lowest.Store(0) // as before the first measurement
	c.memory.measure()
	config := *e.config.Load()
	config.Limit = c.memory.Used() + room
	e.config.Store(&config)
}

// collectedByItself simulates a collection that Go's runtime starts.
func (p *program) collectedByItself(c *cache) {
	was := p.asked
	c.memory.free()
	p.asked = was
	c.memory.measure()
}

const mib = 1 << 20

// Objects that have died since the last collection cause neither refused writes nor evictions.
func TestDeadHeapEvictsNothing(t *testing.T) {
	for _, policy := range []Policy{AllKeysLRU, NoEviction} {
		c := newCache(t, policy, 0)
		p := &program{live: 10 * mib}
		p.runBy(c, 64*mib)
		for i := range 300 {
			if !c.put(fmt.Sprint("k", i), 100_000, 0) {
				t.Fatalf("%s: no room for key %d", policy, i)
			}
		}
		p.live += 50 * mib // clients connect
		p.collectedByItself(c)
		p.live -= 50 * mib // and disconnect
		for i := range 100 {
			if !c.put(fmt.Sprint("l", i), 100_000, 0) {
				t.Fatalf("%s: no room for key %d while the heap is dead", policy, i)
			}
		}
		if s := c.Stats(); s.Keys != 400 || s.Evicted != 0 || p.asked != 1 {
			t.Errorf("%s: %d keys, %d evicted, %d collections; want 400, 0, 1", policy, s.Keys, s.Evicted, p.asked)
		}
	}
}

// A store at its limit evicts for every write but collects only if that may free something.
func TestEvictionRarelyCollects(t *testing.T) {
	c := newCache(t, AllKeysLRU, 0)
	p := &program{live: 10 * mib}
	p.runBy(c, 16*mib)
	fill := func(n int) {
		for i := range n {
			c.now += 10
			c.put(fmt.Sprint("k", c.now), 100_000+i, 0)
		}
	}
	fill(1000)
	if p.asked != 0 || c.Stats().Evicted == 0 {
		t.Errorf("%d collections, %d evicted", p.asked, c.Stats().Evicted)
	}
	p.live += 8 * mib // for good
	p.collectedByItself(c)
	fill(1000)
	if p.asked != 1 {
		t.Errorf("%d collections for one growth", p.asked)
	}
	p.time += collectAgain // objects may have died without a report
	fill(1000)
	if p.asked != 2 {
		t.Errorf("%d collections after a while, want 2", p.asked)
	}
}

// A report of much garbage leads to a collection: at once if memory is needed, otherwise with the
// next trim.
func TestAddGarbage(t *testing.T) {
	c := newCache(t, NoEviction, 0)
	p := &program{live: 10 * mib}
	p.runBy(c, 16*mib)
	p.live += 20 * mib
	p.collectedByItself(c)
	for range 2 {
		if c.EvictFor(1) {
			t.Fatal("a value was admitted while the heap is alive")
		}
	}
	if p.asked != 1 {
		t.Errorf("%d collections while the heap is alive, want 1", p.asked)
	}
	p.live -= 20 * mib
	for range 1000 {
		c.memory.AddGarbage(20 * mib / 1000)
	}
	if !c.EvictFor(mib) || p.asked != 2 {
		t.Errorf("no room after the objects died; %d collections", p.asked)
	}
	c.memory.AddGarbage(20 * mib)
	c.Trim(false)
	c.Trim(false)
	if p.asked != 3 {
		t.Errorf("%d collections, want 3", p.asked)
	}
}

// Buffers of other pools count as used while they are held.
func TestCountPool(t *testing.T) {
	c := newCache(t, NoEviction, 0)
	var others memory.Pool
	c.memory.CountPool(&others)
	before := c.memory.Used()
	b := others.New(mib)
	if got := c.memory.Used() - before; got != b.Cost() {
		t.Errorf("%d bytes more are used, want %d", got, b.Cost())
	}
	b.Release()
	if c.memory.Used() != before {
		t.Errorf("%d bytes are used, %d were", c.memory.Used(), before)
	}
}

// Dead objects and free memory of Go's runtime do not count.
func TestMeasureProgram(t *testing.T) {
	memory.Collect()
	before := memory.MeasureProgram()
	waste := 0
	for range 100 { // more garbage than live objects
		b := make([]byte, mib)
		waste += len(b)
	}
	memory.Collect()
	after := memory.MeasureProgram()
	if grown := after.Heap + after.Beside - before.Heap - before.Beside; grown > int64(waste)/4 || after.Heap <= 0 || after.Beside <= 0 || after.Collections <= before.Collections {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// During the pause no key expires or is evicted, but readers do not see expired keys.
func TestPauseRemovals(t *testing.T) {
	c := newCache(t, AllKeysLRU, 0)
	for i := range 100 {
		c.put(fmt.Sprint("k", i), 1000, c.now+1000)
	}
	config := *c.memory.config.Load()
	config.Limit = c.memory.Used() / 2
	c.memory.config.Store(&config)
	look := func() Stats {
		c.EvictFor(1)
		for _, sh := range c.shards {
			RemoveExpired(sh, 100)
		}
		return c.Stats()
	}
	c.PauseRemovals(time.Now().Add(time.Hour))
	c.now += 2000
	if s := look(); s.Keys != 100 || s.Expired+s.Evicted != 0 || c.has("k0") {
		t.Errorf("%+v during the pause; the first key is visible: %t", s, c.has("k0"))
	}
	c.PauseRemovals(time.Time{})
	if s := look(); s.Keys != 0 || s.Expired == 0 || s.Evicted == 0 {
		t.Errorf("%+v afterwards", s)
	}
	c.PauseRemovals(time.Now().Add(-time.Second))
	c.put("k", 1000, c.now+1000)
	c.now += 2000
	if s := look(); s.Keys != 0 {
		t.Errorf("%+v after the end of the pause", s)
	}
}
