package shard

import (
	"github.com/ndring/ndring/replica"
)

// A member never refuses what its primary appends, so the primary does: what would need room at a member that has none left, it
// evicts for, or refuses, before it appends.

// Full returns whether this node has memory and disk left for more values, as it tells the primaries of its copies.
func (s *Store) Full() (flags replica.AckFlags) {
	if m := &s.memory; m.config.Load().Limit > 0 && m.excess(0) > 0 {
		flags |= replica.AckMemoryFull
	}
	if s.disk.guard.full.Load() {
		flags |= replica.AckDiskFull
	}
	return flags
}

// roomAtCopies returns when the members of the ISR have room for n more bytes of values, or an error. It evicts what a write adds
// and no more, and only from shards that share a member that is full: otherwise each primary of such a member would evict for the
// writes of all. The caller holds no lock.
func (r *Role) roomAtCopies(n int64) error {
	replicator := r.store.replicator
	if replicator == nil || r.gate.Alone() {
		return nil
	}
	switch flags := replicator.Full(r.shard); {
	case flags&replica.AckDiskFull != 0:
		return ErrDiskFull
	case flags&replica.AckMemoryFull != 0 && !r.store.evictShared(replicator, n):
		return ErrMemoryFull
	}
	return nil
}

// evictShared evicts entries of n bytes, at least one, of shards with a member that has no memory left, and reports whether it
// did.
func (s *Store) evictShared(replicator Replicator, n int64) bool {
	config := s.memory.config.Load()
	if config.Policy == NoEviction {
		return false
	}
	if removalsPaused(s) { // as in EvictFor
		return true
	}
	if !s.memory.awaitGoing() {
		return false
	}
	shared := evictor{clock: s.evictor.clock}
	for _, sh := range s.shards {
		if sh.Serving() && replicator.Full(sh.id)&replica.AckMemoryFull != 0 {
			shared.shards = append(shared.shards, sh)
		}
	}
	for n = max(n, 1); n > 0 && len(shared.shards) > 0; {
		bytes := shared.evictOne(config)
		if bytes == 0 {
			return false
		}
		n -= bytes
	}
	return true
}

// addedBytes returns about how many bytes of memory writes add.
func addedBytes(writes ...Write) (n int64) {
	for i := range writes {
		n += int64(headBytes + len(writes[i].Key) + writes[i].Value.payloadBytes())
	}
	return n
}
