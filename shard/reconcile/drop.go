package reconcile

import (
	"context"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// A copy that no row names is dropped once that is known for dropAfter, without a gap of more than dropGap between two looks: a process that
// did not run has not known. At most dropsMost go in one batch, one after the other.
const (
	dropAfter = 10 * time.Second
	dropGap   = 5 * time.Second
	dropsMost = 64
)

// dropper drops the copies of this node that no row names any longer. Without it a node would keep in memory and on disk for ever
// what it once had.
type dropper struct {
	config *Config
	busy   chan struct{} // holds a token while a batch is dropped
	now    func() time.Time

	// Only the goroutine of Run uses these.
	looked time.Time
	since  map[topology.ShardID]time.Time // since when a copy may be dropped
}

func newDropper(config *Config) dropper {
	return dropper{config: config, busy: make(chan struct{}, 1), now: time.Now, since: map[topology.ShardID]time.Time{}}
}

// due returns the copies to drop now, by the newest topology, to which the shards have just been taken. Member says that it has this
// incarnation of the node. While raft's leader is not heard, the topology may be old, and no time counts.
func (d *dropper) due(t *topology.Topology, member bool) (due []topology.ShardID) {
	now := d.now()
	if gap := now.Sub(d.looked); !member || gap > dropGap || !d.config.HearsLeader() {
		clear(d.since)
	}
	d.looked = now
	if !member {
		return nil
	}
	for i := range t.Shards {
		id := topology.ShardID(i)
		if namesNode(&t.Shards[i], d.config.Self) || !d.config.Store.Shard(i).Copies().MayDrop() {
			delete(d.since, id)
			continue
		}
		since, known := d.since[id]
		if !known {
			d.since[id] = now
		} else if now.Sub(since) >= dropAfter && len(due) < dropsMost {
			due = append(due, id)
		}
	}
	return due
}

// namesNode reports whether a row has a node.
func namesNode(row *topology.Shard, id topology.NodeID) bool {
	return row.Primary == id || slices.Contains(row.ISR, id) || slices.Contains(row.Learners, id) || slices.Contains(row.Assigned, id)
}

// begin begins to drop the copies that are due, unless others are being dropped. It returns what drops them; nil for nothing.
func (d *dropper) begin(t *topology.Topology, member bool) func(context.Context) {
	due := d.due(t, member)
	if len(due) == 0 {
		return nil
	}
	select {
	case d.busy <- struct{}{}:
	default:
		return nil
	}
	for _, id := range due { // what cannot be dropped is tried again after the same time
		delete(d.since, id)
	}
	return func(ctx context.Context) {
		defer func() { <-d.busy }()
		d.drop(ctx, due)
	}
}

// drop drops copies. It rests after each as long as that took: clients come first.
func (d *dropper) drop(ctx context.Context, ids []topology.ShardID) {
	copies, failed, freed := 0, 0, int64(0)
	var failure error
	for _, id := range ids {
		if ctx.Err() != nil {
			break
		}
		began := time.Now()
		switch bytes, err := d.config.Store.Shard(int(id)).Copies().Drop(); {
		case err != nil:
			failed++
			failure = err
		default:
			copies++
			freed += bytes
		}
		pause(ctx, min(time.Since(began), time.Second))
	}
	if copies > 0 {
		d.config.Log.Info("dropped copies of shards that other nodes have", "shards", copies, "bytes", freed)
	}
	if failed > 0 {
		d.config.Log.Warn("cannot drop copies of shards that other nodes have; trying again", "shards", failed, "err", failure)
	}
}
