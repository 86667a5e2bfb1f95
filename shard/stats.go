package shard

import (
	"math/bits"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
)

// counts is what a shard counts. They are atomic so that whoever asks for them takes no lock.
type counts struct {
	keys, keysWithTTL atomic.Int64
	hits, misses      atomic.Int64
}

// recount follows a change of the maps. The shard is held.
func (s *Shard) recount() {
	s.counts.keys.Store(int64(s.entries.count))
	s.counts.keysWithTTL.Store(int64(s.deadlines.Len()))
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
	KeysAside                      int   // of the shards that it has and does not serve
	Hits, Misses, Expired, Evicted int64 // since the start, or since ResetStats
}

// Stats returns the counts of all shards. It takes no lock.
func (s *Store) Stats() Stats {
	var sum Stats
	for _, sh := range s.shards {
		if keys := sh.Keys(); sh.Serving() {
			sum.Keys += keys
			sum.KeysWithTTL += int(sh.counts.keysWithTTL.Load())
		} else {
			sum.KeysAside += keys
		}
		sum.Hits += sh.counts.hits.Load()
		sum.Misses += sh.counts.misses.Load()
		sum.Expired += sh.expired.Load()
		sum.Evicted += sh.evicted.Load()
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
