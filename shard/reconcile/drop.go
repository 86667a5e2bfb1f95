package reconcile

import (
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// How long a node keeps what it has of a shard that is no longer its own, although all nodes that should have it do, and how many of these
// copies it drops at once. The time begins again if the node has not looked for dropGap: a process that did not run has not known the rows.
const (
	dropAfter = 10 * time.Second
	dropGap   = 5 * time.Second
	maxDrops  = 16
)

// drops are the copies that a node need not keep.
type drops struct {
	since  map[topology.ShardID]time.Time // when it was first seen of those that may be dropped
	looked time.Time
	now    func() time.Time
	busy   chan struct{} // holds a token while copies are dropped
}

func newDrops() drops {
	return drops{since: map[topology.ShardID]time.Time{}, now: time.Now, busy: make(chan struct{}, 1)}
}

// due returns the shards whose copies may be dropped now: a row has said so for long enough. Known says that the newest row is one to go by:
// without a leader of raft it may be long over, and before raft has decided that this process has the node's copies, a former one may count.
// What cannot be dropped is tried again after the same time.
func (d *drops) due(shards int, known bool, may func(topology.ShardID) bool) (due []topology.ShardID) {
	now := d.now()
	if !known || now.Sub(d.looked) > dropGap {
		clear(d.since)
	}
	if d.looked = now; !known {
		return nil
	}
	for i := range shards {
		id := topology.ShardID(i)
		if !may(id) {
			delete(d.since, id)
			continue
		}
		at, seen := d.since[id]
		switch {
		case !seen:
			d.since[id] = now
		case now.Sub(at) >= dropAfter && len(due) < maxDrops:
			due = append(due, id)
		}
	}
	return due
}

// drop drops copies that the node need not keep, in the background.
func drop(r *Reconciler, background *sync.WaitGroup) {
	due := r.drops.due(len(r.Applied().Shards), r.member && r.config.HearsLeader(), func(id topology.ShardID) bool { return shard.MayDrop(r.config.Store.Shard(int(id))) })
	if len(due) == 0 {
		return
	}
	select {
	case r.drops.busy <- struct{}{}:
	default:
		return
	}
	for _, id := range due {
		delete(r.drops.since, id)
	}
	background.Go(func() {
		defer func() { <-r.drops.busy }()
		var all shard.Dropped
		copies := 0
		for _, id := range due {
			dropped, err := shard.Drop(r.config.Store.Shard(int(id)))
			if err != nil {
				r.config.Log.Warn("the copy of a shard that other nodes have cannot be dropped yet", "shard", id, "err", err)
				continue
			}
			copies++
			all.Keys, all.Bytes = all.Keys+dropped.Keys, all.Bytes+dropped.Bytes
		}
		if copies > 0 {
			r.config.Log.Info("dropped copies of shards that other nodes have", "shards", copies, "keys", all.Keys, "bytes", all.Bytes)
		}
	})
}
