package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
)

// cache is a store with a limit and a clock that the test sets.
type cache struct {
	*Store
	t    *testing.T
	now  int64
	pool memory.Pool
}

func newCache(t *testing.T, policy Policy, limit int64) *cache {
	c := &cache{t: t, now: 1_000_000_000}
	c.Store = NewStore(16, epoch, func() int64 { return c.now }, &c.pool)
	config := MemoryConfig{Limit: limit, Policy: policy, Samples: DefaultSamples, LFULogFactor: DefaultLFULogFactor, LFUDecay: DefaultLFUDecay}
	c.memory.config.Store(&config) // without measuring the process: the limit applies to the entries
	t.Cleanup(func() {
		c.Flush()
		if n := c.pool.Buffers() + c.tablePool.Buffers(); n != 0 {
			t.Errorf("%d buffers are still held", n)
		}
	})
	return c
}

func (c *cache) of(key string) *Shard {
	return c.Shard(int(topology.ShardOfKey([]byte(key), 16)))
}

// put stores an array of n bytes as a client does: it first evicts for it.
func (c *cache) put(key string, n int, at int64) bool {
	if !c.EvictFor(int64(n)) {
		return false
	}
	c.of(key).Set(Write{Key: []byte(key), Value: Value{NPY: make([]byte, n)}, Expiry: Expiry{At: at}})
	return true
}

func (c *cache) get(key string) bool {
	e := c.of(key).Get([]byte(key), true)
	if e != nil {
		e.Release()
	}
	return e != nil
}

func (c *cache) has(key string) bool { return c.of(key).Exists(keys(key), false) == 1 }

func TestNoPolicyExceedsTheLimit(t *testing.T) {
	const limit = 1 << 20
	for _, policy := range Policies {
		t.Run(string(policy), func(t *testing.T) {
			c := newCache(t, policy, limit)
			refused := 0
			for i := range 5000 {
				c.now += 10
				if !c.put(fmt.Sprint("k", i), rand.IntN(2000), c.now+1_000_000+rand.Int64N(1000)) {
					refused++
				}
				if used := c.memory.Used(); used > limit+8<<10 { // the head of an entry and a table that grew
					t.Fatalf("%d bytes are used, the limit is %d", used, limit)
				}
			}
			stats := c.Stats()
			if policy == NoEviction && (refused == 0 || stats.Evicted > 0) || policy != NoEviction && (refused > 0 || stats.Evicted == 0) {
				t.Errorf("%d writes refused, %d keys evicted", refused, stats.Evicted)
			}
			if c.memory.Used() < limit*9/10 || stats.Keys < 300 {
				t.Errorf("only %d bytes are used for %d keys", c.memory.Used(), stats.Keys)
			}
			if c.EvictFor(limit + 1) {
				t.Error("a value larger than the limit was admitted")
			}
			if c.Stats().Keys != stats.Keys {
				t.Error("keys were evicted for a value that can never fit")
			}
		})
	}
}

func TestVolatilePoliciesKeepKeysWithoutDeadline(t *testing.T) {
	for _, policy := range []Policy{VolatileLRU, VolatileLFU, VolatileTTL, VolatileRandom} {
		c := newCache(t, policy, 1<<20)
		for i := range 300 {
			c.put(fmt.Sprint("stays", i), 1000, 0)
		}
		for i := range 3000 {
			c.now += 10
			if !c.put(fmt.Sprint("goes", i), 1000, c.now+100_000) {
				t.Fatalf("%s: no room for key %d", policy, i)
			}
		}
		for i := range 300 {
			if !c.has(fmt.Sprint("stays", i)) {
				t.Fatalf("%s: a key without a deadline was evicted", policy)
			}
		}
		c.of("stays0").Update(true, func(*Tx) {})
		for i := 300; c.put(fmt.Sprint("stays", i), 1000, 0); i++ {
			if i > 2000 {
				t.Fatalf("%s: writes are never refused", policy)
			}
		}
		if c.Stats().KeysWithTTL > 0 {
			t.Errorf("%s: refused while %d keys could be evicted", policy, c.Stats().KeysWithTTL)
		}
	}
}

// Each policy keeps the right keys among keys that differ only in what it compares.
func TestPoliciesChoose(t *testing.T) {
	const n = 2000
	for policy, prepare := range map[Policy]func(c *cache, key string, good bool){
		AllKeysLRU: func(c *cache, key string, good bool) {},
		AllKeysLFU: func(c *cache, key string, good bool) {
			for range 30 {
				if good {
					c.get(key)
				}
			}
		},
		VolatileTTL: func(c *cache, key string, good bool) {
			if good {
				c.of(key).Expire([]byte(key), c.now+math.MaxInt32, ExpireCondition{})
			}
		},
	} {
		t.Run(string(policy), func(t *testing.T) {
			c := newCache(t, policy, 0)
			good := func(i int) bool { return i%4 == 0 }
			for i := range n {
				c.put(fmt.Sprint("k", i), 1000, c.now+1_000_000)
			}
			for i := range n {
				prepare(c, fmt.Sprint("k", i), good(i))
			}
			c.now += 5000
			for i := range n {
				if good(i) && policy != VolatileTTL {
					c.get(fmt.Sprint("k", i))
				}
			}
			c.now += 5000
			config := *c.memory.config.Load()
			config.Limit = c.memory.Used() / 2
			c.memory.config.Store(&config)
			c.EvictFor(0)
			kept := [2]int{}
			for i := range n {
				if c.has(fmt.Sprint("k", i)) {
					kept[map[bool]int{true: 1}[good(i)]]++
				}
			}
			if kept[1] < n/4*98/100 || kept[0] > n/2 {
				t.Errorf("%d of %d good keys are kept, and %d of %d others", kept[1], n/4, kept[0], n*3/4)
			}
		})
	}
}

// A shard with few keys loses the same share of them as other shards, not the same number.
func TestSmallShardsAreNotEmptiedFirst(t *testing.T) {
	const few, many = 40, 4000
	c := newCache(t, AllKeysRandom, 0)
	for i := range few {
		c.put(fmt.Sprint("{small}", i), 1000, 0)
	}
	for i := range many {
		if key := fmt.Sprint("k", i); c.of(key) != c.of("{small}") {
			c.put(key, 1000, 0)
		}
	}
	config := *c.memory.config.Load()
	config.Limit = c.memory.Used() / 2
	c.memory.config.Store(&config)
	c.EvictFor(0)
	left := 0
	for i := range few {
		if c.has(fmt.Sprint("{small}", i)) {
			left++
		}
	}
	if left < few/10 { // about half of them are expected; so few by chance once in 10^8 runs
		t.Errorf("%d of %d are left", left, few)
	}
}

// Among unused arrays the large ones are evicted first. An array in use stays, however large.
func TestEvictionIsSizeAware(t *testing.T) {
	for _, policy := range []Policy{AllKeysLRU, AllKeysLFU} {
		c := newCache(t, policy, 32<<20)
		for i := range 100 {
			c.put(fmt.Sprint("large", i), 200_000, 0)
			c.put(fmt.Sprint("small", i), 1000, 0)
		}
		for range 50 {
			c.now += 1000
			c.get("large0")
		}
		c.now += 10_000
		c.EvictFor(24 << 20)
		large, small := 0, 0
		for i := range 100 {
			if c.has(fmt.Sprint("large", i)) {
				large++
			}
			if c.has(fmt.Sprint("small", i)) {
				small++
			}
		}
		if large > 45 || small < 70 || !c.has("large0") {
			t.Errorf("%s: %d large and %d small arrays are left; the one in use: %t", policy, large, small, c.has("large0"))
		}
	}
}

func TestScore(t *testing.T) {
	if lruScore(100, true, 1000) <= lruScore(99, true, 1000) || lruScore(100, false, 1000) <= lruScore(100, true, 1000) ||
		lruScore(100, true, 2000) <= lruScore(100, true, 1000) || lruScore(100, true, 1<<20) >= lruScore(10_000, true, 1000) {
		t.Error("LRU")
	}
	scores := []float64{}
	for counter := range uint32(256) {
		scores = append(scores, -lfuScore(counter, 10, 0, 1000))
	}
	if !slices.IsSorted(scores) {
		t.Error("a higher counter is worth less")
	}
	if lfuScore(20, 10, 5, 1000) <= lfuScore(20, 10, 4, 1000) || lfuScore(20, 10, 0, 1<<20) >= lfuScore(10, 10, 0, 1000) {
		t.Error("LFU")
	}
}

func TestFrequency(t *testing.T) {
	var u accessInfo
	now := int64(1_700_000_000_000)
	u.init(now)
	for range 1000 {
		u.count(now, 10, 1)
	}
	used := u.counter(now, 1)
	if used < 12 || used > 40 { // Redis' table has 18 after 1000 hits
		t.Errorf("the counter is %d after 1000 accesses", used)
	}
	if got := u.counter(now+5*minute, 1); got != used-5 {
		t.Errorf("%d after 5 minutes, it was %d", got, used)
	}
	if u.counter(now+500*minute, 1) != 0 || u.counter(now+500*minute, 0) != used || u.counter(now-minute, 0) != used {
		t.Error("the decay is wrong at its ends")
	}
	for range 1_000_000 {
		u.count(now, 0, 0)
	}
	if u.counter(now, 0) != 255 {
		t.Errorf("the counter is %d after a million accesses", u.counter(now, 0))
	}
	if u.accessed() {
		t.Error("counting an access sets accessedBit")
	}
	if u.touch(now - 1000); u.idle(now) != 100 || u.idle(now-5000) != 0 || !u.accessed() {
		t.Errorf("idle for %d", u.idle(now))
	}
}

// Defragmentation changes nothing that readers see.
func TestDefragmentKeepsEverything(t *testing.T) {
	if memory.OnGoHeap {
		t.Log("entries are on Go's heap, where nothing is moved")
	}
	c := newCache(t, NoEviction, 0)
	text := func(i int) string { return strings.Repeat(fmt.Sprint(i, " "), 100) }
	mask := func() []Part { return []Part{{"mask", c.pool.Copy([]byte("MMM"))}} }
	const n = 20_000
	for i := range n {
		key := fmt.Sprint("k", i)
		w := Write{Key: []byte(key), Value: Value{NPY: []byte(text(i)), Attrs: []byte(`{}`), Parts: mask()}}
		if i%2 == 0 {
			w.Expiry.At = c.now + 1000 + int64(i)
		}
		c.of(key).Set(w)
	}
	for i := range n {
		if i%7 != 0 {
			key := fmt.Sprint("k", i)
			c.of(key).Delete(keys(key))
		}
	}
	before := c.pool.Idle()
	for range 30 {
		c.Trim(false)
	}
	if after := c.pool.Idle(); after > before/4 && !memory.OnGoHeap {
		t.Errorf("%d bytes are idle after, %d before", after, before)
	}
	left := 0
	for i := 0; i < n; i += 7 {
		key := fmt.Sprint("k", i)
		e := c.of(key).Get([]byte(key), true)
		if e == nil || string(e.NPY()) != text(i) || string(e.Attrs()) != `{}` || string(e.Parts()[0].Data.Bytes()) != "MMM" ||
			(e.ExpireAt() != 0) != (i%2 == 0) {
			t.Fatalf("%s has changed", key)
		}
		e.Release()
		left++
	}
	c.now += 10_000_000
	for _, sh := range c.shards {
		for RemoveExpired(sh, 100) {
		}
	}
	if s := c.Stats(); s.KeysWithTTL != 0 || s.Expired != int64((left+1)/2) {
		t.Errorf("%+v, of %d", s, left)
	}
}
