package shard

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/memory"
)

// Memory knows how much memory the process uses and how much it may use. evict.go enforces the limit.
type Memory struct {
	config  atomic.Pointer[MemoryConfig]
	pools   []*memory.Pool // whose buffers count as used; fixed from Store.Open on
	other   atomic.Int64   // bytes of the process that are in no pool
	least   atomic.Int64   // lowest value of other since collect last ran
	lowest  atomic.Int64   // lowest value of other ever
	garbage atomic.Int64   // bytes of the Go heap that AddGarbage has reported since the last collection
	going   atomic.Int64   // bytes of entries whose removal is appended and not committed
	peak    atomic.Int64   // highest value of Used that was measured

	program func() memory.Program // memory.MeasureProgram, unless a test replaces it
	free    func()                // memory.Collect, unless a test replaces it
	since   func() time.Duration  // time since the process began, unless a test replaces it

	measuring   sync.Mutex // guards all below
	collections uint64     // as of the last measurement
	heap        int64      // what the program needs of the Go heap, as of the last collection

	collecting sync.Mutex   // held by the one goroutine that collects
	collected  atomic.Int64 // value of since when collect last ran
}

// MemoryConfig says how much memory the process may use.
type MemoryConfig struct {
	Limit        int64 // bytes of the process; 0 for no limit
	Policy       Policy
	Samples      int // entries that one eviction compares
	LFULogFactor int // the higher, the more accesses it takes to raise a counter
	LFUDecay     int // minutes without an access after which a counter is lowered; 0 for never
}

// Defaults of MemoryConfig.
const (
	DefaultSamples      = 16
	DefaultLFULogFactor = 10
	DefaultLFUDecay     = 1
)

// A collection is worth its work if it may free this many bytes, or this part of the limit.
const (
	minCollected  = 4 << 20 // bytes
	collectedPart = 64
	collectAgain  = 10 * time.Second // after which to collect once more if the program needs more than its lowest
)

func (m *Memory) init(pools ...*memory.Pool) {
	m.pools = pools
	m.program, m.free, m.since = memory.MeasureProgram, memory.Collect, sinceStart
	m.config.Store(&MemoryConfig{Policy: NoEviction, Samples: DefaultSamples, LFULogFactor: DefaultLFULogFactor, LFUDecay: DefaultLFUDecay})
}

// Configure sets the limit and what happens at it, from now on.
func (m *Memory) Configure(config MemoryConfig) {
	if config.Policy == "" {
		config.Policy = NoEviction
	}
	m.config.Store(&config)
	m.measure()
}

// Config returns the limit and what happens at it.
func (m *Memory) Config() MemoryConfig { return *m.config.Load() }

// CountPool makes the buffers of a pool count as used and trims the pool with the store's own. Call
// it before Store.Open.
func (m *Memory) CountPool(pool *memory.Pool) { m.pools = append(m.pools, pool) }

// MeasureBy replaces memory.MeasureProgram and turns collections off, for tests that share one
// heap. Call it before Store.Open.
func (m *Memory) MeasureBy(program func() memory.Program) {
	m.program, m.free = program, func() {}
	m.measure()
}

// Buffers returns how many bytes all buffers take.
func (m *Memory) Buffers() (sum int64) {
	for _, pool := range m.pools {
		sum += pool.Allocated()
	}
	return sum
}

// Used returns how many bytes of memory the process uses: those of all buffers, held by the store
// or by others, and what the program itself needs.
func (m *Memory) Used() int64 { return m.Buffers() + m.other.Load() }

// Peak returns the most memory that the process has used, measured ten times a second.
func (m *Memory) Peak() int64 {
	used := m.Used()
	for {
		before := m.peak.Load()
		if used <= before || m.peak.CompareAndSwap(before, used) {
			return max(used, before)
		}
	}
}

// AddGarbage reports that about n bytes of the Go heap are dead from now on. The collector may not
// notice soon: while nothing is allocated, it has no reason to run.
func (m *Memory) AddGarbage(n int64) { m.garbage.Add(n) }

// trim returns memory to the system that has been idle for some seconds, or at once: from the pools
// and from the Go heap.
func (m *Memory) trim(atOnce bool) {
	m.trimPools(atOnce)
	if atOnce || m.garbage.Load() >= m.collectStep() {
		m.collect(atOnce)
	}
}

func (m *Memory) trimPools(atOnce bool) {
	for _, pool := range m.pools {
		pool.Trim(atOnce)
	}
}

// measure finds out what the program itself needs besides its buffers.
func (m *Memory) measure() {
	m.measuring.Lock()
	defer m.measuring.Unlock()
	first := m.lowest.Load() == 0
	p := m.program()
	if first || p.Collections != m.collections {
		m.collections, m.heap = p.Collections, p.Heap
		if memory.OnGoHeap { // where the buffers are among the objects
			m.heap = max(0, p.Heap-m.Buffers())
		}
	}
	other := m.heap + p.Beside
	m.other.Store(other)
	if first || other < m.least.Load() {
		m.least.Store(other)
	}
	if first || other < m.lowest.Load() {
		m.lowest.Store(other)
	}
	m.Peak()
}

// collectStep returns how much a collection must promise to free.
func (m *Memory) collectStep() int64 {
	return max(minCollected, m.config.Load().Limit/collectedPart)
}

// worthCollecting reports whether a collection may show that the program needs much less than was
// measured: it needs more than after the last collection, or AddGarbage has reported that much. A
// store at its limit evicts all the time and must not collect each time.
func (m *Memory) worthCollecting() bool {
	step, other := m.collectStep(), m.other.Load()
	return m.garbage.Load() >= step || other >= m.least.Load()+step ||
		other >= m.lowest.Load()+step && m.since()-time.Duration(m.collected.Load()) >= collectAgain
}

// collect frees the dead objects of the Go heap, returns their memory to the system and measures
// again. Unless atOnce, it does nothing if that is not worth its work.
func (m *Memory) collect(atOnce bool) {
	m.collecting.Lock()
	defer m.collecting.Unlock()
	if !atOnce && !m.worthCollecting() { // another goroutine has just collected
		return
	}
	m.garbage.Store(0)
	m.free()
	m.collected.Store(int64(m.since()))
	m.measure()
	m.least.Store(m.other.Load())
}

var processStart = time.Now()

func sinceStart() time.Duration { return time.Since(processStart) }
