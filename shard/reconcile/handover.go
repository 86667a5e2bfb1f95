package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/outcome"
	"github.com/ndring/ndring/replica"
)

// move does what brings the copies of the shards that this node serves to where they are assigned, and returns when the outcome
// is known or the copies propose it.
func (r *Reconciler) move(ctx context.Context, t *topology.Topology) {
	row, known := t.Node(r.config.Self)
	if !known || row.Incarnation != r.config.Incarnation || r.operator.leaving.Load() {
		return
	}
	if !r.config.HearsLeader() { // a shard is closed from the proposal of its handover until that is decided
		return
	}
	silent := r.silent(ctx, t)
	stays := func(id topology.NodeID) bool { return r.config.Stays(id) && !silent[id] }
	moves := t.Moves(r.config.Self, stays, func(id topology.ShardID) bool {
		epoch := t.Shards[id].Epoch // t may be older than the topology that the shards match
		if !r.config.Store.Shard(int(id)).Role().CloseIfEmpty(epoch) {
			return false
		}
		r.mu.Lock()
		r.pending[id] = epoch
		r.mu.Unlock()
		return true
	})
	var empty []topology.Op
	var transfers sync.WaitGroup
	slots := make(chan struct{}, maxTransfers)
	for _, op := range moves {
		role, to := r.config.Store.Shard(int(op.Shard)).Role(), replica.Process{Node: string(op.Node), Incarnation: op.Incarnation}
		switch {
		case op.Empty:
			empty = append(empty, op)
		case op.Kind == topology.ShrinkISR:
			role.Remove(to)
		case row.State != topology.Leaving && r.operator.keeps(op.Shard):
		default:
			transfers.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				if err := role.Transfer(ctx, op.Epoch, to); err != nil {
					r.config.Log.Debug("a shard is not handed over yet", "shard", op.Shard, "to", op.Node, "err", err)
				}
			})
		}
	}
	r.handOver(ctx, empty)
	transfers.Wait()
}

// answerTime is how long a node that may get an empty shard has to answer.
const answerTime = 500 * time.Millisecond

// silent returns the nodes that could get an empty shard of this node, but do not say that they route by t. Gossip sees a
// dead node alive for a second. An empty shard that goes to it has no primary until the node returns. With several copies no
// shard is handed over empty (topology.Moves).
func (r *Reconciler) silent(ctx context.Context, t *topology.Topology) map[topology.NodeID]bool {
	silent := map[topology.NodeID]bool{}
	if t.Replicas > 1 && t.Format != topology.Format0 {
		return silent
	}
	for _, row := range t.Shards {
		if row.Primary != r.config.Self || len(row.ISR) != 1 {
			continue
		}
		for _, id := range row.Assigned {
			if id != r.config.Self && r.config.Stays(id) {
				silent[id] = true
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var (
		all sync.WaitGroup
		mu  sync.Mutex // guards silent
	)
	for _, id := range slices.Collect(maps.Keys(silent)) {
		all.Go(func() {
			if r.config.AwaitRemote(ctx, id, t.Index) == nil {
				mu.Lock()
				defer mu.Unlock()
				delete(silent, id)
			}
		})
	}
	all.Wait()
	return silent
}

// maxTransfers is how many shards with arrays one request, or one round of moves, hands over at once.
const maxTransfers = 32

// handOver proposes the handover of shards that are empty and assigned to other nodes, and returns when the outcome
// is known.
func (r *Reconciler) handOver(ctx context.Context, ops []topology.Op) {
	if len(ops) == 0 {
		return
	}
	errs, err := r.config.Propose(ctx, topology.Command{Ops: ops})
	uncertain := errors.Is(err, outcome.ErrUncertain)
	if uncertain && !r.resign(ctx, ops) {
		return // the node is stopping
	}
	for i, op := range ops {
		if refused := err != nil || errs[i] != nil; refused {
			r.takeBack(op)
		}
	}
	if err == nil || uncertain { // otherwise the topology is unchanged, and the next attempt can wait
		r.Wake()
	}
	r.config.Log.Debug("handed over empty shards", "shards", len(ops), "err", err)
}

// resign gives up shards whose handover has an unknown outcome, and returns when the cluster has decided that. Resigning
// raises the epochs: afterwards the handover has either happened or never will. It reports false if the node is stopping.
func (r *Reconciler) resign(ctx context.Context, handed []topology.Op) bool {
	var ops []topology.Op
	for _, op := range handed {
		ops = append(ops, topology.Op{Kind: topology.Resign, Shard: op.Shard, Epoch: op.Epoch, Node: r.config.Self})
	}
	for ctx.Err() == nil {
		if _, err := r.config.Propose(ctx, topology.Command{Ops: ops}); err == nil {
			return true
		}
		pause(ctx, interval)
	}
	return false
}

// takeBack reopens a shard whose handover was refused, unless the topology has changed its row meanwhile.
func (r *Reconciler) takeBack(op topology.Op) {
	r.mu.Lock()
	delete(r.pending, op.Shard)
	r.mu.Unlock()
	if row := r.config.Newest().Shards[op.Shard]; row.Primary == r.config.Self && row.Epoch == op.Epoch {
		r.config.Store.Shard(int(op.Shard)).Role().Reopen()
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
