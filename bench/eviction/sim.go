package main

import (
	"math"
	"math/rand/v2"
)

// A score is the criterion by which a policy chooses among the sampled keys.
type score int

const (
	byIdle       score = iota // allkeys-lru: evict the least recently used
	byCounter                 // allkeys-lfu: evict the lowest logarithmic counter, as in Redis
	byHyperbolic              // evict the fewest hits per time in the cache (Blankstein et al., "Hyperbolic Caching", ATC 2017)
	byIdlePerHit              // evict the longest idle, where each hit reduces the weight of idle time
	bySketch                  // evict the lowest frequency, from a sketch that also remembers evicted keys (Einziger et al., "TinyLFU")
)

// A policy samples: it keeps no order, draws a few random keys and evicts the worst.
type policy struct {
	name       string
	score      score
	samples    int     // keys drawn for one eviction
	pool       int     // size of the pool of best candidates of earlier draws; 0: no pool
	rescore    bool    // drop a pool candidate that was used since; Redis evicts it nevertheless
	resolution int     // requests in one tick of the LRU clock: Redis has 1 s
	alpha      float64 // how much size counts: idle*size^alpha, frequency/size^alpha
	beta       float64 // how much hits count by idle per hit: idle/hits^beta
	unhit      float64 // factor for the idle time of a key without hits; 0: 1

	init      int  // a new key's counter: 5 in Redis
	decay     int  // requests until a counter decays by one; 0: never, as in a run of less than a minute
	tieIdle   bool // among equal frequencies evict the least recently used; Redis evicts any
	estimate  bool // convert the counter to the number of hits that it represents before size is applied
	remember  bool // a new key's counter starts at its frequency in the sketch, or at init if that is higher
	sketchAge int  // requests per cached key until the sketch is halved; 0: 10, as in TinyLFU
}

const logFactor = 10 // lfu-log-factor of Redis

// A result counts hits, and the contents at the end.
type result struct {
	hits, hitBytes int64
	keys           int
	used           int64 // bytes held at the end, overhead included
}

// resident is the state of a cached key.
type resident struct {
	at      int32 // place in keys, -1 when absent
	used    int32 // request of the last use
	since   int32 // request of the SET
	hits    int32
	counter uint8
	decayed int32 // request up to which decay is applied
}

type candidate struct {
	key   uint32
	score float64
	used  int32
}

// A sampled cache runs one policy over a trace.
type sampled struct {
	policy
	t       *trace
	rng     *rand.Rand
	keys    []uint32
	entries []resident
	pool    []candidate // worst last
	sketch  *sketch
	now     int32
	used    int64
}

// simulate runs the policy over the trace with cache-aside: it stores every miss. cost is the
// capacity that a key uses.
func simulate(t *trace, p policy, capacity int64, cost func(key uint32) int64, seed uint64) result {
	c := &sampled{policy: p, t: t, rng: random(seed, 100), entries: make([]resident, len(t.sizes))}
	for i := range c.entries {
		c.entries[i].at = -1
	}
	if p.score == bySketch || p.remember {
		c.sketch = newSketch(len(t.sizes))
	}
	var r result
	for i, key := range t.requests {
		c.now = int32(i)
		if c.sketch != nil {
			c.sketch.add(key)
			age := max(p.sketchAge, 0)
			if age == 0 {
				age = 10
			}
			if c.sketch.added > age*max(len(c.keys), 1000) {
				c.sketch.halve()
			}
		}
		if c.entries[key].at >= 0 {
			r.hits++
			r.hitBytes += int64(t.sizes[key])
			c.hit(key)
			continue
		}
		c.insert(key)
		c.used += cost(key)
		for c.used > capacity && len(c.keys) > 0 {
			victim := c.victim()
			c.remove(victim)
			c.used -= cost(victim)
		}
	}
	r.keys, r.used = len(c.keys), c.used
	return r
}

func (c *sampled) hit(key uint32) {
	e := &c.entries[key]
	e.counter = c.decayedCounter(e)
	e.decayed = c.now
	// LFULogIncr of Redis: the higher the counter, the less likely the next increment.
	base := max(int(e.counter)-max(c.init, 0), 0)
	if e.counter < 255 && c.rng.Float64() < 1/float64(base*logFactor+1) {
		e.counter++
	}
	e.used = c.now
	e.hits++
}

func (c *sampled) insert(key uint32) {
	start := c.init
	if c.remember {
		start += counterOf(float64(c.sketch.count(key)) - 1)
	}
	c.entries[key] = resident{at: int32(len(c.keys)), used: c.now, since: c.now, counter: uint8(min(start, 255)), decayed: c.now}
	c.keys = append(c.keys, key)
}

func (c *sampled) remove(key uint32) {
	at := c.entries[key].at
	last := c.keys[len(c.keys)-1]
	c.keys[at] = last
	c.entries[last].at = at
	c.keys = c.keys[:len(c.keys)-1]
	c.entries[key].at = -1
}

func (c *sampled) decayedCounter(e *resident) uint8 {
	if c.decay == 0 {
		return e.counter
	}
	return uint8(max(int(e.counter)-int(c.now-e.decayed)/c.decay, 0))
}

// hitsOf returns the mean number of hits that a counter represents: each increment from b takes 10*b+1 hits.
func hitsOf(above float64) float64 {
	if above <= 0 {
		return 0
	}
	return above + logFactor*above*(above-1)/2
}

// counterOf is the inverse of hitsOf.
func counterOf(hits float64) int {
	n := 0
	for hitsOf(float64(n+1)) <= hits {
		n++
	}
	return n
}

// goes is the eviction priority of a key: the highest is evicted.
func (c *sampled) goes(key uint32) float64 {
	e := &c.entries[key]
	tick := int32(max(c.resolution, 1))
	idle := float64(c.now/tick - e.used/tick + 1)
	weight := 1.0
	if c.alpha != 0 {
		weight = math.Pow(float64(c.t.sizes[key]), c.alpha)
	}
	var frequency float64
	switch c.score {
	case byIdle:
		if c.unhit > 0 && e.hits == 0 {
			idle *= c.unhit
		}
		return idle * weight
	case byHyperbolic:
		return weight * float64(c.now-e.since+1) / float64(e.hits+1)
	case byIdlePerHit:
		return idle * weight / math.Pow(1+hitsOf(float64(c.decayedCounter(e))-float64(c.init)), c.beta)
	case bySketch:
		frequency = float64(c.sketch.count(key))
	case byCounter:
		counter := float64(c.decayedCounter(e))
		frequency = counter + 1
		if c.estimate {
			// Below init a counter has only decayed: less than one hit.
			frequency = 1 + hitsOf(counter-float64(c.init))
			if counter < float64(c.init) {
				frequency = (counter + 1) / float64(c.init+1)
			}
		}
	}
	if c.tieIdle {
		// Smaller than any difference of frequency: idle is at most a few million.
		return weight/frequency + idle*1e-12*weight
	}
	return weight / frequency
}

// victim samples and returns the key to evict, which is always cached.
func (c *sampled) victim() uint32 {
	if c.policy.pool == 0 {
		var best uint32
		bestScore := -1.0
		for range c.samples {
			key := c.keys[c.rng.IntN(len(c.keys))]
			if s := c.goes(key); s > bestScore {
				best, bestScore = key, s
			}
		}
		return best
	}
	for {
		for range c.samples {
			c.offer(c.keys[c.rng.IntN(len(c.keys))])
		}
		for len(c.pool) > 0 {
			first := c.pool[0]
			c.pool = c.pool[:copy(c.pool, c.pool[1:])]
			e := c.entries[first.key]
			if e.at >= 0 && (!c.rescore || e.used == first.used) {
				return first.key
			}
		}
	}
}

// offer inserts a key into the pool, which keeps its maximum size.
func (c *sampled) offer(key uint32) {
	for _, held := range c.pool {
		if held.key == key {
			return
		}
	}
	s := c.goes(key)
	at := len(c.pool)
	for at > 0 && c.pool[at-1].score < s {
		at--
	}
	if at >= c.policy.pool {
		return
	}
	if len(c.pool) < c.policy.pool {
		c.pool = append(c.pool, candidate{})
	}
	copy(c.pool[at+1:], c.pool[at:])
	c.pool[at] = candidate{key: key, score: s, used: c.entries[key].used}
}
