package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// KeepTime is how long a node keeps a shard that an operator had handed over to it, although another node is the preferred
// primary.
const KeepTime = time.Minute

// maxEvacuated is how many shards a node that stops hands over at once, and evacuateStep how long it waits before it looks
// again.
const (
	maxEvacuated = 64
	evacuateStep = 10 * time.Millisecond
)

// Operator is what operators make the node of a Reconciler do with its shards.
type Operator struct {
	r       *Reconciler
	leaving atomic.Bool // Evacuate was called: the node moves no shard but by that

	mu   sync.Mutex                     // guards kept
	kept map[topology.ShardID]time.Time // shards that stay here until a time although others are preferred
}

// Operator returns what operators make the node do.
func (r *Reconciler) Operator() *Operator { return &r.operator }

// Keep makes the node keep shards, which it is about to serve, for KeepTime from now on: an operator wants it to. A node that leaves
// the cluster or stops hands them over anyway.
func (o *Operator) Keep(ids []topology.ShardID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	until := time.Now().Add(KeepTime)
	for _, id := range ids {
		o.kept[id] = until
	}
}

// keeps reports whether an operator wants this node to serve a shard for a while.
func (o *Operator) keeps(id topology.ShardID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, kept := o.kept[id]
	if kept && !time.Now().Before(until) {
		delete(o.kept, id)
		return false
	}
	return kept
}

// Transfer hands shards over to another process, which has asked for them, and returns an error for each one that was not
// handed over. Nil says that the handover is proposed.
func (o *Operator) Transfer(ctx context.Context, to replica.Process, ids []topology.ShardID) []error {
	r := o.r
	errs := make([]error, len(ids))
	var waiting sync.WaitGroup
	slots := make(chan struct{}, maxTransfers)
	for i, id := range ids {
		waiting.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for range transferTries {
				if errs[i] = r.transfer(ctx, to, id); !errors.Is(errs[i], shard.ErrOtherEpoch) {
					return
				}
				pause(ctx, evacuateStep) // the shard is about to learn of its newest row
			}
		})
	}
	waiting.Wait()
	return errs
}

// transferTries is how often a handover is tried while the shard and the topology are in different epochs.
const transferTries = 10

// transfer hands over one shard.
func (r *Reconciler) transfer(ctx context.Context, to replica.Process, id topology.ShardID) error {
	t := r.config.Newest()
	if id < 0 || int(id) >= len(t.Shards) || t.Shards[id].Primary != r.config.Self {
		return fmt.Errorf("this node does not serve shard %d", id)
	}
	node, _ := t.Node(topology.NodeID(to.Node))
	if node.Incarnation != to.Incarnation || node.State != topology.Active { // raft would refuse it for ever
		return fmt.Errorf("%s is leaving the cluster, or has been restarted", topology.Label(node.Name, topology.NodeID(to.Node)))
	}
	return r.config.Store.Shard(int(id)).Role().Transfer(ctx, t.Shards[id].Epoch, to)
}

// Evacuate hands over all shards that have another clean copy, until none is left or ctx is done. It returns once clients are
// sent to the new primaries, and how many such shards are left. From its beginning on, the node moves no other shard.
func (o *Operator) Evacuate(ctx context.Context) (left int) {
	r := o.r
	o.leaving.Store(true)
	var moved sync.WaitGroup
	defer moved.Wait()
	slots := make(chan struct{}, maxEvacuated)
	under := map[topology.ShardID]uint64{} // the epoch in which a handover was begun
	var mu sync.Mutex                      // guards under
	for {
		t := r.config.Newest()
		ops := t.Evacuate(r.config.Self, r.config.Stays)
		for _, op := range ops {
			mu.Lock()
			begun := under[op.Shard] == op.Epoch
			under[op.Shard] = op.Epoch
			mu.Unlock()
			if begun {
				continue
			}
			moved.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				err := r.config.Store.Shard(int(op.Shard)).Role().Transfer(ctx, op.Epoch, replica.Process{Node: string(op.Node), Incarnation: op.Incarnation})
				if err != nil { // the next round tries again
					mu.Lock()
					delete(under, op.Shard)
					mu.Unlock()
				}
			})
		}
		if left = len(ops) + o.heldRedirects(t); left == 0 || ctx.Err() != nil {
			return left
		}
		pause(ctx, evacuateStep)
	}
}

// heldRedirects returns how many shards clients still find here although the node has handed them over.
func (o *Operator) heldRedirects(t *topology.Topology) (n int) {
	r := o.r
	shown := r.Applied()
	for i := range min(len(shown.Shards), len(t.Shards)) {
		if now := t.Shards[i].Primary; shown.Shards[i].Primary == r.config.Self && now != r.config.Self && now != "" {
			n++
		}
	}
	return n
}
