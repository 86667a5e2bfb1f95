package shard

import "github.com/ndring/ndring/cluster/topology"

// Usage is how large a copy of a shard is, and how much clients have done with it since the start.
type Usage struct {
	Bytes int64 // of memory
	Keys  int64
	// Reads are look-ups of keys, Writes are changes. Both only rise, and are of the time in which this node has served the shard or,
	// after READONLY, answered reads of its replica.
	Reads, Writes int64
}

// Usage returns the counts of this copy, served or not. It takes no lock, and costs the commands nothing: the bytes are those of its slots.
func (c Copies) Usage() Usage {
	s, n := c.s, &c.s.index.counts
	u := Usage{Keys: n.keys.Load(), Reads: n.before.Load() + n.hits.Load() + n.misses.Load(), Writes: s.writer.written.Load()}
	first, last := topology.ShardID(s.id).Slots(len(s.store.shards))
	for slot := first; slot <= last; slot++ {
		u.Bytes += s.store.stats.slots[slot].bytes.Load()
	}
	return u
}
