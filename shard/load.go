package shard

import "github.com/ndring/ndring/cluster/topology"

// Load is what a copy has, and how it is used.
type Load struct {
	Bytes, Keys   int64 // bytes: what the values take in memory or on disk, whichever is more
	Reads, Writes int64 // look-ups of keys since the start or ResetStats, and changes since the shard began
}

// LoadOf returns what this node's copy of a shard has.
func LoadOf(s *Shard) Load {
	c := &s.index.counts
	inMemory := int64(0)
	first, last := topology.ShardID(s.id).Slots(len(s.store.shards))
	for slot := first; slot <= last; slot++ {
		inMemory += s.store.stats.slots[slot].bytes.Load()
	}
	return Load{Bytes: max(inMemory, c.liveBytes.Load()), Keys: c.keys.Load(), Reads: c.hits.Load() + c.misses.Load(), Writes: int64(s.localCopy.commitIndex())}
}
