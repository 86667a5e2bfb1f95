package shard

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
)

// A scan walks the keys by position: slot, then a hash of the key. The position of a key never
// changes, so the cursor is a position and the server keeps no state: a scan returns every key that
// exists from its first call to its last, and every call makes progress.
const hashBits = 32

func position(key []byte) uint64 {
	return uint64(topology.Slot(key))<<hashBits | uint64(crc32c.Checksum(key))
}

// minScanShare bounds how often a scan with a small count passes over a large shard.
const minScanShare = 8

// Scan returns about count keys from a cursor on, and the cursor for the next call; 0 begins a scan
// and ends it. It skips shards that this node does not serve.
func (s *Store) Scan(cursor uint64, count int) (keys []string, next uint64) {
	width := uint64(topology.SlotsPerShard(len(s.shards))) << hashBits
	for id := cursor / width; id < uint64(len(s.shards)); id++ {
		var found []positioned
		if sh := s.shards[id]; sh.role.acquireSettled() {
			found = sh.index.keysFrom(cursor, s.clock())
			sh.Release()
		}
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

// keysFrom returns the keys from a position on, in order.
func (x *index) keysFrom(cursor uint64, now int64) (found []positioned) {
	x.eachLive(now, func(e *Entry) bool {
		if p := position(e.Key()); p >= cursor {
			found = append(found, positioned{p, string(e.Key())})
		}
		return true
	})
	slices.SortFunc(found, func(a, b positioned) int { return cmp.Compare(a.position, b.position) })
	return found
}

// KeysInSlot returns up to limit keys of a slot; none if this node does not serve it.
func (s *Store) KeysInSlot(slot, limit int) (keys []string) {
	sh := shardOf(s, slot)
	if !sh.role.acquireSettled() {
		return nil
	}
	defer sh.Release()
	sh.index.eachLive(s.clock(), func(e *Entry) bool {
		if len(keys) < limit && e.Slot() == slot {
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
	// Choose a shard by its size; if all its keys have expired, try the ones after it.
	first, at := 0, rand.IntN(total)
	for ; at >= sizes[first]; first++ {
		at -= sizes[first]
	}
	for i := range s.shards {
		sh := s.shards[(first+i)%len(s.shards)]
		if !sh.role.acquireSettled() {
			continue
		}
		key, ok := sh.index.randomKey(s.clock())
		sh.Release()
		if ok {
			return key, true
		}
	}
	return "", false
}

// randomKey chooses one of the live entries near a random position.
func (x *index) randomKey(now int64) (found string, ok bool) {
	x.mu.RLock()
	seen := 0
	x.table.random(64, func(e *Entry) {
		if e.expired(now) {
			return
		}
		if seen++; rand.IntN(seen) == 0 {
			found, ok = string(e.Key()), true
		}
	})
	x.mu.RUnlock()
	if ok {
		return found, ok
	}
	x.eachLive(now, func(e *Entry) bool { // most have expired
		found, ok = string(e.Key()), true
		return false
	})
	return found, ok
}

// LiveKeys returns how many keys have not expired, whether this node serves them or not.
func (s *Store) LiveKeys() (n int) {
	now := s.clock()
	for _, sh := range s.shards {
		sh.index.eachLive(now, func(*Entry) bool {
			n++
			return true
		})
	}
	return n
}
