package reconcile

import (
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// How long a node keeps what it has of a shard that is no longer its own, although all nodes that should have it do, and how many of these
// copies it drops at once.
const (
	dropAfter = 10 * time.Second
	maxDrops  = 16
)

// drops are the copies that a node need not keep.
type drops struct {
	since map[topology.ShardID]time.Time // when it was first seen of those that may be dropped
	busy  chan struct{}                  // holds a token while copies are dropped
}

func newDrops() drops {
	return drops{since: map[topology.ShardID]time.Time{}, busy: make(chan struct{}, 1)}
}

// due returns the shards whose copies may be dropped now: a row has said so for long enough. Without a leader of raft, the newest row may be
// long over.
func (d *drops) due(shards int, now time.Time, hearsLeader bool, may func(topology.ShardID) bool) (due []topology.ShardID) {
	for i := range shards {
		id := topology.ShardID(i)
		if !hearsLeader || !may(id) {
			delete(d.since, id)
			continue
		}
		at, known := d.since[id]
		switch {
		case !known:
			d.since[id] = now
		case now.Sub(at) >= dropAfter && len(due) < maxDrops:
			due = append(due, id)
		}
	}
	return due
}

// drop drops copies that the node need not keep, in the background.
func drop(r *Reconciler, background *sync.WaitGroup) {
	due := r.drops.due(len(r.Applied().Shards), time.Now(), r.config.HearsLeader(), func(id topology.ShardID) bool { return shard.MayDrop(r.config.Store.Shard(int(id))) })
	if len(due) == 0 {
		return
	}
	select {
	case r.drops.busy <- struct{}{}:
	default:
		return
	}
	background.Go(func() {
		defer func() { <-r.drops.busy }()
		var all shard.Dropped
		for _, id := range due {
			dropped, err := shard.Drop(r.config.Store.Shard(int(id)))
			if err != nil {
				r.config.Log.Warn("the copy of a shard that other nodes have cannot be dropped yet", "shard", id, "err", err)
			}
			all.Keys, all.Bytes = all.Keys+dropped.Keys, all.Bytes+dropped.Bytes
		}
		r.config.Log.Info("dropped copies of shards that other nodes have", "shards", len(due), "keys", all.Keys, "bytes", all.Bytes)
	})
}
