package shard

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ndring/ndring/persistence"
)

// Policy says which entries to evict when memory is short. The names are Redis'.
type Policy string

// The policies. The volatile ones evict only entries that have a deadline.
const (
	NoEviction     Policy = "noeviction"
	AllKeysLRU     Policy = "allkeys-lru"
	AllKeysLFU     Policy = "allkeys-lfu"
	AllKeysRandom  Policy = "allkeys-random"
	VolatileLRU    Policy = "volatile-lru"
	VolatileLFU    Policy = "volatile-lfu"
	VolatileRandom Policy = "volatile-random"
	VolatileTTL    Policy = "volatile-ttl"
)

// Policies lists all of them in Redis' order.
var Policies = []Policy{VolatileLRU, VolatileLFU, VolatileRandom, VolatileTTL, AllKeysLRU, AllKeysLFU, AllKeysRandom, NoEviction}

func (p Policy) volatile() bool {
	return p == VolatileLRU || p == VolatileLFU || p == VolatileTTL || p == VolatileRandom
}

// LFU reports whether the policy goes by how often an entry is accessed.
func (p Policy) LFU() bool { return p == AllKeysLFU || p == VolatileLFU }

// EvictFor evicts entries of the shards that this node serves until n more bytes fit, and reports
// whether they do. Before it evicts or refuses, it frees the dead objects of the Go heap. It must
// not be called while a shard is locked.
func (s *Store) EvictFor(n int64) bool {
	m := &s.memory
	config := m.config.Load()
	if config.Limit == 0 {
		return true
	}
	excess := m.excess(n)
	if excess > 0 && m.worthCollecting() {
		m.collect(false)
		excess = m.excess(n)
	}
	if excess <= 0 {
		return true
	}
	if config.Policy == NoEviction || n+m.other.Load() > config.Limit {
		return false
	}
	if removalsPaused(s) { // writes are paused too; one that was already admitted goes on, as in Redis
		return true
	}
	if !m.awaitGoing() {
		return false
	}
	excess = m.excess(n)
	// The memory of an evicted entry becomes free only when its last reader has finished, so add up
	// what was evicted instead of watching Used alone.
	for evicted := int64(0); evicted < excess; {
		if m.excess(n) <= 0 {
			return true
		}
		bytes := s.evictor.evictOne(config)
		if bytes == 0 {
			return m.excess(n) <= 0
		}
		evicted += bytes
	}
	return true
}

// maxGoing is how much of what is about to be freed counts as free. A writer that needs more room waits: the removals
// are not committed yet, and other copies may be slow or gone.
const maxGoing = 32 << 20

// How long a writer waits for removals to be committed, and how often it looks.
const (
	goingWait = 5 * time.Second
	goingStep = 2 * time.Millisecond
)

// excess returns by how many bytes n more would exceed the limit.
func (m *Memory) excess(n int64) int64 {
	return m.Used() - min(m.going.Load(), maxGoing) + n - m.config.Load().Limit
}

// awaitGoing returns when little enough is about to be freed, or false if that takes too long.
func (m *Memory) awaitGoing() bool {
	for began := time.Now(); m.going.Load() > maxGoing; time.Sleep(goingStep) {
		if time.Since(began) > goingWait {
			return false
		}
	}
	return true
}

// evictor chooses the entries to evict. It samples, as Redis does: no order of all entries is kept.
type evictor struct {
	shards []*Shard
	clock  Clock
}

// candidate is an entry that may be evicted. It may be gone since: look it up before touching it.
type candidate struct {
	shard *Shard
	entry *Entry
	hash  uint64
	score float64
}

// maxSamples bounds MemoryConfig.Samples.
const maxSamples = 64

// sampledShards is from how many shards one eviction takes its samples.
const sampledShards = 4

// evictOne evicts the entry with the highest score of a sample and returns how many bytes it took;
// 0 if no entry can be evicted.
func (v *evictor) evictOne(config *MemoryConfig) int64 {
	for range 64 { // an attempt fails only when other goroutines remove the same entries at the same time
		var space [maxSamples]candidate
		found := v.sample(config, space[:0])
		if len(found) == 0 {
			return 0
		}
		worst := slices.MaxFunc(found, func(a, b candidate) int { return cmp.Compare(a.score, b.score) })
		if n := v.evict(&worst); n > 0 {
			return n
		}
	}
	return 0
}

// sample appends candidates of some shards. A shard is chosen in proportion to its evictable
// entries; otherwise those of a small shard would be evicted first, however often they are
// accessed.
func (v *evictor) sample(config *MemoryConfig, found []candidate) []candidate {
	want := min(max(config.Samples, 1), maxSamples)
	if config.Policy == VolatileTTL { // the next to expire of each shard is known
		return v.sampleAll(config, want, found)
	}
	total := int64(0)
	for _, sh := range v.shards {
		total += evictable(sh, config)
	}
	if total == 0 {
		return found
	}
	var ranks [sampledShards]int64
	for i := range ranks {
		ranks[i] = rand.Int64N(total)
	}
	slices.Sort(ranks[:])
	passed, next := int64(0), 0
	for _, sh := range v.shards {
		passed += evictable(sh, config)
		for ; next < sampledShards && ranks[next] < passed; next++ {
			found = v.candidates(sh, config, (want+next)/sampledShards, found)
		}
	}
	if len(found) == 0 { // those entries are gone since
		return v.sampleAll(config, want, found)
	}
	return found
}

// sampleAll appends up to n candidates from all shards, beginning with a random one.
func (v *evictor) sampleAll(config *MemoryConfig, n int, found []candidate) []candidate {
	first := rand.IntN(len(v.shards))
	for i := range v.shards {
		if found = v.candidates(v.shards[(first+i)%len(v.shards)], config, n-len(found), found); len(found) == n {
			break
		}
	}
	return found
}

// evictable returns how many entries of a shard may be evicted.
func evictable(sh *Shard, config *MemoryConfig) int64 {
	if !sh.Ready() || !sh.Serving() {
		return 0
	}
	if config.Policy.volatile() {
		return sh.index.counts.keysWithTTL.Load()
	}
	return sh.index.counts.keys.Load()
}

// candidates appends up to n candidates of a shard.
func (v *evictor) candidates(sh *Shard, config *MemoryConfig, n int, found []candidate) []candidate {
	if n == 0 || evictable(sh, config) == 0 {
		return found
	}
	x := &sh.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	now := v.clock()
	add := func(e *Entry) {
		if sh.suffix.changes(e.Key()) { // its entry goes anyway
			return
		}
		found = append(found, candidate{sh, e, hashOf(e.Key()), e.score(config, now)})
	}
	switch {
	case !config.Policy.volatile():
		x.table.random(n, add)
	case len(x.deadlines) == 0:
	case config.Policy == VolatileTTL:
		add(x.deadlines[0])
	default:
		first := rand.IntN(len(x.deadlines))
		for i := range min(n, len(x.deadlines)) {
			add(x.deadlines[(first+i)%len(x.deadlines)])
		}
	}
	return found
}

// evict evicts a candidate if it is still stored and returns how many bytes it took. Shards that
// this node does not serve keep their entries: the copy must be unchanged when its node serves it
// again, and only the primary knows which entries are in use. Such copies may leave little memory
// to the other shards; Stats.KeysNotServed shows them to operators, and Role.Configure empties the
// stale ones.
func (v *evictor) evict(c *candidate) int64 {
	if !c.shard.Acquire() {
		return 0
	}
	defer c.shard.Release()
	w := &c.shard.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.shard.stillHas(c.entry, c.hash) {
		return 0
	}
	defer c.entry.Release()
	n := c.entry.Footprint()
	gone := []change{{kind: persistence.Delete, reason: persistence.Evicted, key: c.entry.Key()}}
	if err := w.commitNow(gone, v.clock()); err != nil {
		return 0 // a restart would bring it back
	}
	w.index.counts.evicted.Add(1)
	return n
}

// stillHas reports whether exactly this entry is stored and nothing in the suffix changes its key. Then it returns with a
// reference to it.
func (c *contents) stillHas(e *Entry, hash uint64) bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if !c.index.table.has(e, hash) || c.suffix.changes(e.Key()) {
		return false
	}
	e.retain()
	return true
}

// score says how little an entry is worth: the highest score is evicted first.
func (e *Entry) score(config *MemoryConfig, now int64) float64 {
	a := &e.head().access
	switch {
	case e.expired(now):
		return math.Inf(1)
	case config.Policy == AllKeysRandom, config.Policy == VolatileRandom:
		return rand.Float64()
	case config.Policy == VolatileTTL:
		return -float64(e.ExpireAt())
	case config.Policy.LFU():
		return lfuScore(a.counter(now, config.LFUDecay), config.LFULogFactor, a.idle(now), e.Footprint())
	}
	return lruScore(a.idle(now), a.accessed(), e.Footprint())
}

// Weights of idle time. A larger array needs more accesses to stay, though not in proportion: that
// would keep small arrays forever. An array that was never accessed counts as idle for longer, or a
// scan would push out arrays in use. bench/eviction simulates these and other weights.
const (
	lruSize       = 0.25
	lfuSize       = 0.1
	neverAccessed = 4
)

func lruScore(idle uint32, accessed bool, bytes int64) float64 {
	score := (float64(idle) + 1) * math.Pow(float64(bytes), lruSize)
	if !accessed {
		score *= neverAccessed
	}
	return score
}

func lfuScore(counter uint32, logFactor int, idle uint32, bytes int64) float64 {
	n := max(float64(counter)-lfuInitial, 0)
	hits := n + float64(logFactor)*n*(n-1)/2 // accesses that raise the counter this far on average
	below := max(lfuInitial-float64(counter), 0)
	score := math.Pow(float64(bytes), lfuSize) / (hits + 1) * (1 + below)
	return score * (1 + float64(idle)/(1<<32)) // between equals, the one accessed longer ago
}

// Freq returns the access counter of an entry, as Redis' OBJECT FREQ does.
func (e *Entry) Freq(config MemoryConfig, now int64) int64 {
	return int64(e.head().access.counter(now, config.LFUDecay))
}
