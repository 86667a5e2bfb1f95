package shard

import (
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
)

// counts are numbers of one shard. They are atomic, so reading them takes no lock.
type counts struct {
	keys, keysWithTTL              atomic.Int64
	expirySum                      atomic.Uint64 // index.expirySum as math.Float64bits
	hits, misses, expired, evicted atomic.Int64  // since the start or ResetStats
	before                         atomic.Int64  // hits and misses before ResetStats
	liveBytes                      atomic.Int64  // that the present values take on disk
}

// expiryBase is near all deadlines: a sum of their distances from it stays exact for long and
// cannot overflow.
const expiryBase = 1_700_000_000_000 // Unix time in ms

// syncCounts copies the sizes of the index into its counts. The caller holds index.mu.
func (x *index) syncCounts() {
	x.counts.keys.Store(int64(x.table.count))
	x.counts.keysWithTTL.Store(int64(x.deadlines.Len()))
	if x.deadlines.Len() == 0 {
		x.expirySum = 0 // drop the rounding error
	}
	x.counts.expirySum.Store(math.Float64bits(x.expirySum))
}

// SizeClasses is the number of size classes: class i has values of 2^(i-1) to 2^i - 1 bytes, class
// 0 empty ones.
const SizeClasses = 48

// storeStats are sums over all shards, by slot and by size.
type storeStats struct {
	slots [topology.Slots]struct {
		keys  atomic.Int32
		bytes atomic.Int64
	}
	sizes     [SizeClasses]atomic.Int64
	liveBytes atomic.Int64 // that the present values take on disk
}

// addStats counts an entry that joins the index (1) or leaves it (-1).
func (x *index) addStats(e *Entry, sign int64) {
	slot := &x.stats.slots[e.Slot()]
	slot.keys.Add(int32(sign))
	slot.bytes.Add(sign * e.Footprint())
	bytes := sign * e.recordBytes()
	x.counts.liveBytes.Add(bytes)
	x.stats.liveBytes.Add(bytes)
	x.stats.sizes[sizeClass(e)].Add(sign)
}

// replaceStats counts an entry that takes the place of another of its key. Usually nothing that counts differs, and all
// shards share these counters.
func (x *index) replaceStats(old, e *Entry) {
	if more := e.Footprint() - old.Footprint(); more != 0 {
		x.stats.slots[e.Slot()].bytes.Add(more)
	}
	if more := e.recordBytes() - old.recordBytes(); more != 0 {
		x.counts.liveBytes.Add(more)
		x.stats.liveBytes.Add(more)
	}
	if from, to := sizeClass(old), sizeClass(e); from != to {
		x.stats.sizes[from].Add(-1)
		x.stats.sizes[to].Add(1)
	}
}

func sizeClass(e *Entry) int { return min(bits.Len64(uint64(e.NPYBytes())), SizeClasses-1) }

// Stats is what a store counts.
type Stats struct {
	Keys, KeysWithTTL              int   // of the shards that this node serves, including expired keys that are not freed yet
	KeysNotServed                  int   // of the shards that it has and does not serve
	AverageTTL                     int64 // ms that KeysWithTTL have left on average; 0 if there are none
	Hits, Misses, Expired, Evicted int64 // since the start or ResetStats
}

// Stats returns the counts of all shards. It takes no lock.
func (s *Store) Stats() Stats {
	var sum Stats
	expirySum := float64(0)
	for _, sh := range s.shards {
		if keys := sh.Keys(); sh.Serving() {
			sum.Keys += keys
			sum.KeysWithTTL += int(sh.index.counts.keysWithTTL.Load())
			expirySum += math.Float64frombits(sh.index.counts.expirySum.Load())
		} else {
			sum.KeysNotServed += keys
		}
		sum.Hits += sh.index.counts.hits.Load()
		sum.Misses += sh.index.counts.misses.Load()
		sum.Expired += sh.index.counts.expired.Load()
		sum.Evicted += sh.index.counts.evicted.Load()
	}
	if sum.KeysWithTTL > 0 {
		sum.AverageTTL = int64(max(0, math.Round(expirySum/float64(sum.KeysWithTTL)+float64(expiryBase-s.clock()))))
	}
	return sum
}

// ResetStats sets the counts of events to zero.
func (s *Store) ResetStats() {
	for _, sh := range s.shards {
		c := &sh.index.counts
		c.before.Add(c.hits.Swap(0) + c.misses.Swap(0))
		sh.index.counts.expired.Store(0)
		sh.index.counts.evicted.Store(0)
	}
}

// SlotStats returns how many keys a slot has and about how many bytes they take; 0 if this node
// does not serve it.
func (s *Store) SlotStats(slot int) (keys int, bytes int64) {
	if !shardOf(s, slot).Serving() {
		return 0, 0
	}
	t := &s.stats.slots[slot]
	return int(t.keys.Load()), t.bytes.Load()
}

// Sizes returns the number of .npy files in each size class.
func (s *Store) Sizes() (counts [SizeClasses]int64) {
	for i := range counts {
		counts[i] = s.stats.sizes[i].Load()
	}
	return counts
}
