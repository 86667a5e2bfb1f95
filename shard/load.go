package shard

// NoLimit is the room of a node that nothing bounds.
const NoLimit = -1

// RoomOf returns how many bytes of values the node has room for, in memory and on disk. A node that evicts has room in memory.
func RoomOf(s *Store) (memory, disk int64) {
	memory, disk = NoLimit, NoLimit
	if config := s.memory.config.Load(); config.Limit > 0 && config.Policy == NoEviction {
		memory = max(config.Limit-s.memory.Used(), 0)
	}
	if d := &s.disk; d.folder != nil {
		disk = max(d.guard.free.Load()-d.config.Load().Reserve, 0)
	}
	return memory, disk
}

// Load is what a copy has, and how it is used.
type Load struct {
	Bytes, Keys   int64
	Reads, Writes int64 // look-ups of keys since the start or ResetStats, and changes since the shard began
}

// LoadOf returns what this node's copy of a shard has.
func LoadOf(s *Shard) Load {
	c := &s.index.counts
	return Load{Bytes: c.liveBytes.Load(), Keys: c.keys.Load(), Reads: c.hits.Load() + c.misses.Load(), Writes: int64(s.localCopy.commitIndex())}
}
