package shard

import (
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
)

// counts is what a shard counts. They are atomic so that whoever asks for them takes no lock.
type counts struct {
	keys, keysWithTTL atomic.Int64
	expiries          atomic.Uint64 // Shard.expiries, as math.Float64bits
	hits, misses      atomic.Int64
}

// expiryBase is near all deadlines, so that a sum of their distances from it is exact for long, and no sum overflows.
const expiryBase = 1_700_000_000_000 // Unix time in ms

// recount follows a change of the maps. The shard is held.
func (s *Shard) recount() {
	s.counts.keys.Store(int64(s.entries.count))
	s.counts.keysWithTTL.Store(int64(s.deadlines.Len()))
	if s.deadlines.Len() == 0 {
		s.expiries = 0 // whatever rounding has left
	}
	s.counts.expiries.Store(math.Float64bits(s.expiries))
}

// SizeClasses is the number of classes by which Sizes counts values: class i holds those of 2^(i-1) to 2^i - 1 bytes, class 0 empty ones.
const SizeClasses = 48

// tables are the counts of a store that do not follow its shards.
type tables struct {
	slots [topology.Slots]struct {
		keys  atomic.Int32
		bytes atomic.Int64
	}
	sizes [SizeClasses]atomic.Int64
}

// account adds an entry that comes (1) to the tables, or takes one away that goes (-1).
func (s *Shard) account(e *Entry, sign int64) {
	slot := &s.store.tables.slots[e.Slot()]
	slot.keys.Add(int32(sign))
	slot.bytes.Add(sign * e.Footprint())
	bytes := sign * e.recordBytes()
	s.live.Add(bytes)
	s.store.disk.live.Add(bytes)
	s.store.tables.sizes[min(bits.Len64(uint64(e.NPYBytes())), SizeClasses-1)].Add(sign)
}

// Keys returns how many keys the shard has, whether it is served or not, expired ones that are not freed yet included. It takes no lock.
func (s *Shard) Keys() int { return int(s.counts.keys.Load()) }

// Stats is what a store counts.
type Stats struct {
	Keys, KeysWithTTL              int   // of the shards that this node serves, expired ones that are not freed yet included
	KeysNotServed                  int   // of the shards that it has and does not serve
	AverageTTL                     int64 // ms that those of KeysWithTTL have left on average; 0 if there are none
	Hits, Misses, Expired, Evicted int64 // since the start, or since ResetStats
}

// Stats returns the counts of all shards. It takes no lock.
func (s *Store) Stats() Stats {
	var sum Stats
	expiries := float64(0)
	for _, sh := range s.shards {
		if keys := sh.Keys(); sh.Serving() {
			sum.Keys += keys
			sum.KeysWithTTL += int(sh.counts.keysWithTTL.Load())
			expiries += math.Float64frombits(sh.counts.expiries.Load())
		} else {
			sum.KeysNotServed += keys
		}
		sum.Hits += sh.counts.hits.Load()
		sum.Misses += sh.counts.misses.Load()
		sum.Expired += sh.expired.Load()
		sum.Evicted += sh.evicted.Load()
	}
	if sum.KeysWithTTL > 0 {
		sum.AverageTTL = int64(max(0, math.Round(expiries/float64(sum.KeysWithTTL)+float64(expiryBase-s.clock()))))
	}
	return sum
}

// ResetStats sets the counts of what has happened to zero.
func (s *Store) ResetStats() {
	for _, sh := range s.shards {
		sh.counts.hits.Store(0)
		sh.counts.misses.Store(0)
		sh.expired.Store(0)
		sh.evicted.Store(0)
	}
}

// SlotStats returns how many keys a slot has and about how many bytes they take; none if this node does not serve it.
func (s *Store) SlotStats(slot int) (keys int, bytes int64) {
	if !s.ofSlot(slot).Serving() {
		return 0, 0
	}
	t := &s.tables.slots[slot]
	return int(t.keys.Load()), t.bytes.Load()
}

// Sizes returns how many .npy files there are of each size class.
func (s *Store) Sizes() (counts [SizeClasses]int64) {
	for i := range counts {
		counts[i] = s.tables.sizes[i].Load()
	}
	return counts
}
