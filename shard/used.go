package shard

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/memory"
)

// eviction keeps a store within its limit.
type eviction struct {
	config  atomic.Pointer[MemoryConfig]
	other   atomic.Int64 // bytes of the process that are in no pool
	least   atomic.Int64 // of other since the last collection that collect made
	lowest  atomic.Int64 // of other ever
	garbage atomic.Int64 // bytes of the Go heap that others have said to be dead (LetGo) since the last collection
	peak    atomic.Int64 // the most that Used was when it was measured

	program func() memory.Program // memory.MeasureProgram; tests say otherwise
	free    func()                // memory.Collect, likewise
	since   func() time.Duration  // time since the process began, likewise

	measuring   sync.Mutex // guards all below
	collections uint64     // as of the last measurement
	heap        int64      // what the program needs of the Go heap, as of the last collection

	collecting sync.Mutex   // held by the one goroutine that collects
	collected  atomic.Int64 // since, as of the last time that collect did
}

// When a collection is worth its work: what may come of it is at least so much, or this part of the limit.
const (
	leastCollected = 4 << 20 // bytes
	collectedPart  = 64
	collectAgain   = 10 * time.Second // after which one more is made if the program needs more than it once did
)

// Count makes the buffers of a pool count as used, and trims it with the store's own. It must be called before Open.
func (s *Store) Count(pool *memory.Pool) { s.beside = append(s.beside, pool) }

// MeasureBy has the program's own memory measured by another function than memory.MeasureProgram, and nothing collected: for tests, which share one heap. It must be
// called before Open.
func (s *Store) MeasureBy(program func() memory.Program) {
	s.eviction.program, s.eviction.free = program, func() {}
	s.measure()
}

// pools are those whose buffers count as used.
func (s *Store) pools() []*memory.Pool {
	return append([]*memory.Pool{s.pool, &s.tablePool}, s.beside...)
}

// Buffers returns how many bytes all buffers take.
func (s *Store) Buffers() int64 {
	sum := s.pool.Allocated() + s.tablePool.Allocated()
	for _, pool := range s.beside {
		sum += pool.Allocated()
	}
	return sum
}

// Used returns how many bytes of memory the process uses: those of all buffers, whoever holds them, and what the program itself needs.
func (s *Store) Used() int64 { return s.Buffers() + s.eviction.other.Load() }

// Peak returns the most memory that the process has used, as seen ten times a second.
func (s *Store) Peak() int64 {
	used := s.Used()
	for {
		before := s.eviction.peak.Load()
		if used <= before || s.eviction.peak.CompareAndSwap(before, used) {
			return max(used, before)
		}
	}
}

// LetGo says that about n bytes of the Go heap are dead from now on. The collector need not find that out soon by itself: where nothing is allocated, it has no
// reason to run.
func (s *Store) LetGo(n int64) { s.eviction.garbage.Add(n) }

// measure finds out what the program itself needs, beside its buffers.
func (s *Store) measure() {
	e := &s.eviction
	e.measuring.Lock()
	defer e.measuring.Unlock()
	first := e.lowest.Load() == 0
	p := e.program()
	if first || p.Collections != e.collections {
		e.collections, e.heap = p.Collections, p.Heap
		if memory.OnGoHeap { // where the buffers are among the objects
			e.heap = max(0, p.Heap-s.Buffers())
		}
	}
	other := e.heap + p.Beside
	e.other.Store(other)
	if first || other < e.least.Load() {
		e.least.Store(other)
	}
	if first || other < e.lowest.Load() {
		e.lowest.Store(other)
	}
	s.Peak()
}

// collectStep is how much a collection must promise.
func (s *Store) collectStep() int64 {
	return max(leastCollected, s.eviction.config.Load().Limit/collectedPart)
}

// worthCollecting reports whether a collection may show that the program needs much less than was measured: it needs more than after the last one, or others have said
// that much is dead. A store at its limit evicts all the time, and must not collect each time.
func (s *Store) worthCollecting() bool {
	e, step := &s.eviction, s.collectStep()
	other := e.other.Load()
	return e.garbage.Load() >= step || other >= e.least.Load()+step ||
		other >= e.lowest.Load()+step && e.since()-time.Duration(e.collected.Load()) >= collectAgain
}

// collect has Go's collector find out what is dead, gives that back to the system, and measures; not if it is not worth it, unless at once.
func (s *Store) collect(atOnce bool) {
	e := &s.eviction
	e.collecting.Lock()
	defer e.collecting.Unlock()
	if !atOnce && !s.worthCollecting() { // another goroutine has just done it
		return
	}
	e.garbage.Store(0)
	e.free()
	e.collected.Store(int64(e.since()))
	s.measure()
	e.least.Store(e.other.Load())
}

var begun = time.Now()

func sinceBegin() time.Duration { return time.Since(begun) }
