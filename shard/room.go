package shard

import (
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
)

// room is what whole copies that are on their way to this node still need. Without it several that begin together would all find the
// same room.
type room struct {
	memory *Memory
	disk   *Disk

	mu      sync.Mutex   // held to look for room and to take it
	awaited atomic.Int64 // bytes, a part more than what the copies have
}

// Room returns how many bytes of copies the node has room for, in memory and on disk, beside those that are on their way to it; topology.NoLimit
// where nothing bounds that. A node that evicts has room in memory: the primaries evict for it.
func (r *room) Room() (memory, disk int64) {
	memory, disk = topology.NoLimit, topology.NoLimit
	awaited := r.awaited.Load()
	if c := r.memory.config.Load(); c.Limit > 0 && c.Policy == NoEviction {
		memory = max(0, c.Limit-r.memory.Used()-awaited)
	}
	if d := r.disk; d.folder != nil {
		free, err := d.folder.Free()
		if err != nil {
			free = d.guard.free.Load()
		}
		disk = max(0, free-d.config.Load().Reserve-awaited)
	}
	return memory, disk
}

// reserve reserves room for a whole copy of so many bytes of memory, and a tenth more, until release. On disk it takes about as much. Bytes is
// 0 if the sender does not say: then there is room unless the node is full.
func (r *room) reserve(bytes int64) (reserved int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.disk.guard.checkFull(); err != nil {
		return 0, err
	}
	reserved = bytes + bytes/10
	memory, disk := r.Room()
	switch {
	case disk != topology.NoLimit && disk < reserved:
		return 0, ErrDiskFull
	case memory != topology.NoLimit && (memory < reserved || r.memory.excess(0) > 0):
		return 0, ErrMemoryFull
	}
	r.awaited.Add(reserved)
	return reserved, nil
}

// release gives back so much of what is reserved.
func (r *room) release(bytes int64) { r.awaited.Add(-bytes) }
