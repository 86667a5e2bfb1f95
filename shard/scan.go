package shard

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
)

// A scan walks the keys in the order of their position: slot, then a hash of the key. A key's position never changes, so a cursor that is a position
// needs no state: what is there from the first call to the last is returned, and each call gets further.
const hashBits = 32

func position(key []byte) uint64 {
	return uint64(topology.Slot(key))<<hashBits | uint64(crc32c.Checksum(key))
}

// minScanShare keeps a scan with a small count from passing over a large shard too many times.
const minScanShare = 8

// Scan returns about count keys from a cursor on, and the cursor for the next call; 0 begins a scan and ends it. It passes over shards that this node does not
// serve.
func (s *Store) Scan(cursor uint64, count int) (keys []string, next uint64) {
	width := uint64(topology.SlotsPerShard(len(s.shards))) << hashBits
	for id := cursor / width; id < uint64(len(s.shards)); id++ {
		found := s.shards[id].scan(cursor)
		want := max(count-len(keys), len(found)/minScanShare)
		for i, f := range found {
			if i >= want && f.position != found[i-1].position {
				return keys, f.position
			}
			keys = append(keys, f.key)
		}
		cursor = (id + 1) * width
		if len(keys) >= count && id+1 < uint64(len(s.shards)) {
			return keys, cursor
		}
	}
	return keys, 0
}

type positioned struct {
	position uint64
	key      string
}

// scan returns the keys at a position and behind it, in order.
func (s *Shard) scan(cursor uint64) []positioned {
	if !s.role.acquireSettled() {
		return nil
	}
	defer s.Release()
	s.mu.RLock()
	now := s.clock()
	var found []positioned
	s.entries.each(func(e *Entry) bool {
		if p := position(e.Key()); p >= cursor && !e.expired(now) {
			found = append(found, positioned{p, string(e.Key())})
		}
		return true
	})
	s.mu.RUnlock()
	slices.SortFunc(found, func(a, b positioned) int { return cmp.Compare(a.position, b.position) })
	return found
}

// ofSlot returns the shard that holds a slot.
func (s *Store) ofSlot(slot int) *Shard { return s.shards[topology.ShardOf(slot, len(s.shards))] }

// KeysInSlot returns up to limit keys of a slot; none if this node does not serve it.
func (s *Store) KeysInSlot(slot, limit int) []string { return s.ofSlot(slot).keysInSlot(slot, limit) }

func (s *Shard) keysInSlot(slot, limit int) (keys []string) {
	if !s.role.acquireSettled() {
		return nil
	}
	defer s.Release()
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.clock()
	s.entries.each(func(e *Entry) bool {
		if len(keys) < limit && e.Slot() == slot && !e.expired(now) {
			keys = append(keys, string(e.Key()))
		}
		return len(keys) < limit
	})
	return keys
}

// RandomKey returns one of the keys that this node serves; false if there is none.
func (s *Store) RandomKey() (string, bool) {
	sizes := make([]int, len(s.shards))
	total := 0
	for i, sh := range s.shards {
		if sh.role.acquireSettled() {
			sizes[i] = sh.Keys()
			total += sizes[i]
			sh.Release()
		}
	}
	if total == 0 {
		return "", false
	}
	// The shard by its size, then the next ones if all that it had has expired.
	first, at := 0, rand.IntN(total)
	for ; at >= sizes[first]; first++ {
		at -= sizes[first]
	}
	for i := range s.shards {
		if key, ok := s.shards[(first+i)%len(s.shards)].randomKey(); ok {
			return key, true
		}
	}
	return "", false
}

// randomKey chooses among the entries that stand together at a random place.
func (s *Shard) randomKey() (found string, ok bool) {
	if !s.role.acquireSettled() {
		return "", false
	}
	defer s.Release()
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.clock()
	seen := 0
	s.entries.random(64, func(e *Entry) {
		if e.expired(now) {
			return
		}
		if seen++; rand.IntN(seen) == 0 {
			found, ok = string(e.Key()), true
		}
	})
	if ok {
		return found, ok
	}
	s.entries.each(func(e *Entry) bool { // most have expired
		if !e.expired(now) {
			found, ok = string(e.Key()), true
		}
		return !ok
	})
	return found, ok
}
