package shard

import (
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// RoomOf returns how many bytes of values the node has room for, in memory and on disk; topology.NoLimit where nothing bounds that. A node that
// evicts always has room in memory, because the primaries evict for it. What is reserved for copies on their way counts as room, because the planner
// of moves subtracts these copies itself.
func RoomOf(s *Store) (memory, disk int64) {
	memory, disk = topology.NoLimit, topology.NoLimit
	if config := s.memory.config.Load(); config.Limit > 0 && config.Policy == NoEviction {
		memory = max(config.Limit-s.memory.Used(), 0)
	}
	if d := &s.disk; d.folder != nil {
		free, err := d.folder.Free()
		if err != nil {
			free = d.guard.free.Load()
		}
		disk = max(free-d.config.Load().Reserve, 0)
	}
	return memory, disk
}

// room is what whole copies that are on their way to this node still need. Without it several that begin together would all find the
// same room.
type room struct {
	mu      sync.Mutex   // held to look for room and to take it
	awaited atomic.Int64 // bytes of copies that have not arrived, and a tenth more
}

// reserve reserves room for a whole copy of so many bytes of memory, and a tenth more, until release. On disk a copy takes about as much. Bytes is
// 0 if the sender does not say: then there is room unless the node is full.
func (r *room) reserve(s *Store, bytes int64) (reserved int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := notFull(s); err != nil {
		return 0, err
	}
	reserved = bytes + bytes/10
	memory, disk := RoomOf(s)
	awaited := r.awaited.Load()
	switch {
	case disk != topology.NoLimit && disk-awaited < reserved && bytes > 0:
		return 0, ErrDiskFull
	case memory != topology.NoLimit && memory-awaited < reserved && bytes > 0:
		return 0, ErrMemoryFull
	}
	r.awaited.Add(reserved)
	return reserved, nil
}

// release gives back so much of what is reserved.
func (r *room) release(bytes int64) { r.awaited.Add(-bytes) }

// notFull returns an error if a node is full, so that it can take nothing more of a whole copy. Where entries are evicted, the primaries evict
// for it.
func notFull(s *Store) error {
	switch flags := s.Full(); {
	case flags&replica.AckDiskFull != 0:
		return ErrDiskFull
	case flags&replica.AckMemoryFull != 0 && s.memory.config.Load().Policy == NoEviction:
		return ErrMemoryFull
	}
	return nil
}
