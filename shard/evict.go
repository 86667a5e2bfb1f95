package shard

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/ndring/ndring/persistence"
)

// Policy says which entries go when memory is short. The names are Redis'.
type Policy string

// The policies. Volatile ones take only entries with a time to live.
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

// Policies are all of them, in the order in which Redis lists them.
var Policies = []Policy{VolatileLRU, VolatileLFU, VolatileRandom, VolatileTTL, AllKeysLRU, AllKeysLFU, AllKeysRandom, NoEviction}

func (p Policy) volatile() bool {
	return p == VolatileLRU || p == VolatileLFU || p == VolatileTTL || p == VolatileRandom
}

// LFU reports whether the policy goes by how often an entry is used.
func (p Policy) LFU() bool { return p == AllKeysLFU || p == VolatileLFU }

// EvictFor evicts entries of the shards that this node serves until n more bytes fit, and reports whether they do. Before it evicts or refuses, it frees the dead
// objects of the Go heap. It must not be called while a shard is locked.
func (s *Store) EvictFor(n int64) bool {
	m := &s.memory
	config := m.config.Load()
	if config.Limit == 0 {
		return true
	}
	excess := m.Used() + n - config.Limit
	if excess > 0 && m.worthCollecting() {
		m.collect(false)
		excess = m.Used() + n - config.Limit
	}
	if excess <= 0 {
		return true
	}
	if config.Policy == NoEviction || n+m.other.Load() > config.Limit {
		return false
	}
	if s.removalsPaused() { // writes are paused too; one that was already admitted goes on, as in Redis
		return true
	}
	// The memory of an evicted entry becomes free only when its last reader has finished, so add up what was evicted instead of watching Used alone.
	for evicted := int64(0); evicted < excess; {
		if m.Used()+n <= config.Limit {
			return true
		}
		bytes := s.evict(config)
		if bytes == 0 {
			return m.Used()+n <= config.Limit
		}
		evicted += bytes
	}
	return true
}

// candidate is an entry that was looked at. It may have gone since: it is looked up before it is touched.
type candidate struct {
	shard *Shard
	entry *Entry
	hash  uint64
	score float64
}

// maxSamples bounds MemoryConfig.Samples.
const maxSamples = 64

// sampledShards is from how many shards the entries are taken that are looked at for one eviction.
const sampledShards = 4

// evict looks at some entries, lets the one go that is worth the least, and returns what it took; 0 if there is none that may go.
func (s *Store) evict(config *MemoryConfig) int64 {
	for range 64 { // an attempt fails only when others remove the same entries at the same time
		var space [maxSamples]candidate
		found := s.sample(config, space[:0])
		if len(found) == 0 {
			return 0
		}
		worst := slices.MaxFunc(found, func(a, b candidate) int { return cmp.Compare(a.score, b.score) })
		if n := worst.shard.evict(worst.entry, worst.hash); n > 0 {
			return n
		}
	}
	return 0
}

// sample appends entries that may go, of some shards. A shard is chosen the more often the more of them it has: else those of a small one would go first, however much
// they are used.
func (s *Store) sample(config *MemoryConfig, found []candidate) []candidate {
	want := min(max(config.Samples, 1), maxSamples)
	if config.Policy == VolatileTTL { // the first of each shard is known
		return s.inTurn(config, want, found)
	}
	total := int64(0)
	for _, sh := range s.shards {
		total += sh.evictable(config)
	}
	if total == 0 {
		return found
	}
	var places [sampledShards]int64
	for i := range places {
		places[i] = rand.Int64N(total)
	}
	slices.Sort(places[:])
	passed, next := int64(0), 0
	for _, sh := range s.shards {
		passed += sh.evictable(config)
		for ; next < sampledShards && places[next] < passed; next++ {
			found = sh.candidates(config, (want+next)/sampledShards, found)
		}
	}
	if len(found) == 0 { // what was there has gone meanwhile
		return s.inTurn(config, want, found)
	}
	return found
}

// inTurn appends up to n entries that may go, of shards in turn.
func (s *Store) inTurn(config *MemoryConfig, n int, found []candidate) []candidate {
	first := rand.IntN(len(s.shards))
	for i := range s.shards {
		if found = s.shards[(first+i)%len(s.shards)].candidates(config, n-len(found), found); len(found) == n {
			break
		}
	}
	return found
}

// evictable returns how many entries of the shard may go.
func (s *Shard) evictable(config *MemoryConfig) int64 {
	if !s.role.ready.Load() || !s.Serving() {
		return 0
	}
	if config.Policy.volatile() {
		return s.counts.keysWithTTL.Load()
	}
	return s.counts.keys.Load()
}

// candidates appends up to n entries of the shard that may go.
func (s *Shard) candidates(config *MemoryConfig, n int, found []candidate) []candidate {
	if n == 0 || s.evictable(config) == 0 {
		return found
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.clock()
	add := func(e *Entry) {
		found = append(found, candidate{s, e, hashOf(e.Key()), e.score(config, now)})
	}
	switch {
	case !config.Policy.volatile():
		s.entries.random(n, add)
	case len(s.deadlines) == 0:
	case config.Policy == VolatileTTL:
		add(s.deadlines[0])
	default:
		first := rand.IntN(len(s.deadlines))
		for i := range min(n, len(s.deadlines)) {
			add(s.deadlines[(first+i)%len(s.deadlines)])
		}
	}
	return found
}

// score says how little an entry is worth: the highest goes first.
func (e *Entry) score(config *MemoryConfig, now int64) float64 {
	u := &e.head().use
	switch {
	case e.expired(now):
		return math.Inf(1)
	case config.Policy == AllKeysRandom, config.Policy == VolatileRandom:
		return rand.Float64()
	case config.Policy == VolatileTTL:
		return -float64(e.ExpireAt())
	case config.Policy.LFU():
		return lfuScore(u.counter(now, config.LFUDecay), config.LFULogFactor, u.idle(now), e.Footprint())
	}
	return lruScore(u.idle(now), u.hit(), e.Footprint())
}

// What disuse is weighed with. An array that takes more room has to be used more to stay, though not in proportion: that would keep
// small ones for ever. One that nobody has read since it came counts as idle for longer, so that a scan does not push out what is in use.
// bench/eviction has a simulation of these and other weights.
const (
	lruSize  = 0.25
	lfuSize  = 0.1
	neverHit = 4
)

func lruScore(idle uint32, hit bool, bytes int64) float64 {
	score := (float64(idle) + 1) * math.Pow(float64(bytes), lruSize)
	if !hit {
		score *= neverHit
	}
	return score
}

func lfuScore(counter uint32, logFactor int, idle uint32, bytes int64) float64 {
	n := max(float64(counter)-lfuInitial, 0)
	hits := n + float64(logFactor)*n*(n-1)/2 // that it takes on average to raise the counter so far
	below := max(lfuInitial-float64(counter), 0)
	score := math.Pow(float64(bytes), lfuSize) / (hits + 1) * (1 + below)
	return score * (1 + float64(idle)/(1<<32)) // between equals, who was used longer ago
}

// evict lets an entry go if it is still there, and returns what it took. What this node does not serve stays: a copy must come back as it was when its node may
// serve it again, and only who serves a shard knows which of its entries are in use. That such copies may leave little room to the others is for an operator
// to see (Stats.KeysNotServed); void ones go by ClearVoid.
func (s *Shard) evict(e *Entry, hash uint64) int64 {
	if !s.Acquire() {
		return 0
	}
	defer s.Release()
	s.writing.Lock()
	defer s.writing.Unlock()
	if !s.entries.has(e, hash) {
		return 0
	}
	n := e.Footprint()
	if _, err := s.record(change{kind: persistence.Delete, reason: persistence.Evicted, key: e.Key()}); err != nil {
		return 0 // it would be back after a restart
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(e.Key())
	s.evicted.Add(1)
	return n
}

// touch notes that an entry is used.
func (s *Shard) touch(e *Entry, now int64) {
	u := &e.head().use
	if config := s.store.memory.config.Load(); config.Policy.LFU() {
		u.count(now, config.LFULogFactor, config.LFUDecay)
	}
	u.touch(now)
}

// Freq returns the counter of how often an entry is used, as Redis' OBJECT FREQ does.
func (e *Entry) Freq(config MemoryConfig, now int64) int64 {
	return int64(e.head().use.counter(now, config.LFUDecay))
}
