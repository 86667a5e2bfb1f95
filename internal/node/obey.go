package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// obedience does with the shards what the topology says, and hands over those that are empty and assigned elsewhere. A new topology goes to the shards first, then
// to whoever routes by it.
type obedience struct {
	self        topology.NodeID
	incarnation uint64
	store       *shard.Store
	log         *slog.Logger
	newest      func() *topology.Topology
	member      bool                                                 // this start of the node was in the topology that was last obeyed; the run's
	configure   func(*topology.Topology)                             // takes the cluster's settings over
	current     func(*topology.Topology)                             // makes one that the shards are in step with known
	routed      *topology.Topology                                   // what current was last given; the run's
	hears       func(context.Context, topology.NodeID, uint64) error // returns when another node routes by a topology
	propose     func(context.Context, topology.Command) ([]error, error)
	alive       func(topology.NodeID) bool

	news chan struct{} // one at most
	step chan struct{} // likewise: the shards are in step again

	mu      sync.Mutex                   // guards all below
	offered map[topology.ShardID]uint64  // shards that are being handed over, and the epoch in which they were closed
	parting map[topology.ShardID]parting // shards that were handed over, and are still shown as this node's
	inStep  bool                         // all shards that this node is to serve are open, and none that it could serve waits for a decision
}

func newObedience(n *Node) *obedience {
	return &obedience{
		self: n.id, incarnation: n.incarnation, store: n.store, log: n.log,
		newest: n.cluster.Topology, configure: n.adoptSettings, current: n.topology.Store, propose: n.cluster.Propose, hears: n.cluster.AwaitTopology,
		alive: func(id topology.NodeID) bool { alive, _, _ := n.cluster.Liveness(id); return alive },
		news:  make(chan struct{}, 1), step: make(chan struct{}, 1), offered: map[topology.ShardID]uint64{}, parting: map[topology.ShardID]parting{},
	}
}

// handoverInterval is how often a node looks for shards that have become empty.
const handoverInterval = time.Second

// wake says that there is a new topology, or that shards were read from disk.
func (o *obedience) wake() { nudge(o.news) }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (o *obedience) run(ctx context.Context) {
	tick := time.NewTicker(handoverInterval)
	defer tick.Stop()
	var handing sync.WaitGroup
	defer handing.Wait()
	busy := make(chan struct{}, 1) // holds one token while a handover is under way
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.news:
		case <-tick.C:
		}
		t := o.newest()
		for _, to := range o.obey(t) {
			handing.Go(func() { o.part(ctx, to, t) })
		}
		select {
		case busy <- struct{}{}:
			handing.Go(func() {
				o.handOver(ctx, t)
				<-busy
			})
		default:
		}
	}
}

// obey opens and closes shards. The settings come first: nothing is served, or evicted, by others than those of the cluster. It returns the nodes that have to
// hear of t before clients are sent to them.
func (o *obedience) obey(t *topology.Topology) (ask []topology.NodeID) {
	o.configure(t)
	row, known := t.Node(o.self)
	here := known && row.Incarnation == o.incarnation // what is said of an earlier start of this node is not meant for this one
	if o.member && !here {
		o.log.Warn("the cluster has let this node go, or knows a later start of it: this one serves nothing any more")
	}
	o.member = here
	inStep := here && len(t.Shards) > 0
	var lost []*shard.Shard
	for i, s := range t.Shards {
		id, sh := topology.ShardID(i), o.store.Shard(i)
		switch {
		case here && s.Primary == o.self:
			if !o.open(id, sh, s) {
				inStep = false
			}
		default:
			lost = append(lost, sh)
			if s.Primary == "" && o.could(s) {
				inStep = false
			}
		}
	}
	if !here {
		t = withoutPrimary(t, o.self)
	}
	o.routed, ask = o.keepBack(t)
	o.current(o.routed)
	for _, sh := range lost {
		sh.Role().Close()
	}
	for i, s := range t.Shards {
		if s.Primary != o.self && s.Born > 0 && o.store.Shard(i).Ready() {
			if err := o.store.Shard(i).Role().ClearStale(s.Born); err != nil {
				o.log.Warn("what is left of a shard that has begun anew cannot be cleared", "shard", i, "err", err)
			}
		}
	}
	o.mu.Lock()
	o.inStep = inStep
	o.mu.Unlock()
	nudge(o.step)
	return ask
}

// withoutPrimary returns a topology in which a node serves nothing: what an earlier start of it served nobody serves until the topology knows of this one.
func withoutPrimary(t *topology.Topology, id topology.NodeID) *topology.Topology {
	changed := *t
	changed.Shards = slices.Clone(t.Shards)
	for i := range changed.Shards {
		if s := &changed.Shards[i]; s.Primary == id {
			s.Primary = ""
		}
	}
	return &changed
}

// could reports whether this node may be given a shard that nobody serves.
func (o *obedience) could(s topology.Shard) bool {
	return slices.Contains(s.ISR, o.self) || len(s.ISR) == 0 && (len(s.Assigned) == 0 || s.Assigned[0] == o.self)
}

// open opens a shard of this node's, and reports whether it is open.
func (o *obedience) open(id topology.ShardID, sh *shard.Shard, s topology.Shard) bool {
	o.mu.Lock()
	epoch, offered := o.offered[id]
	if offered && epoch < s.Epoch {
		delete(o.offered, id)
		offered = false
	}
	o.mu.Unlock()
	if offered || !sh.Ready() {
		return false
	}
	switch err := sh.Role().Open(s.Epoch, s.Born); {
	case errors.Is(err, shard.ErrHandoverPending): // a handover has just begun
		return false
	case err != nil:
		o.log.Error("a shard of this node's cannot be served", "shard", id, "err", err)
		return false
	}
	return true
}

// settled returns when all shards that are this node's are open.
func (o *obedience) settled(ctx context.Context) error {
	tick := time.NewTicker(handoverInterval)
	defer tick.Stop()
	for {
		o.mu.Lock()
		inStep := o.inStep
		o.mu.Unlock()
		if inStep {
			return nil
		}
		select {
		case <-o.step:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the node waits for its shards: %w", ctx.Err())
		}
	}
}

// handOver gives up shards that are empty, and returns when it is known who serves them.
func (o *obedience) handOver(ctx context.Context, t *topology.Topology) {
	if row, known := t.Node(o.self); !known || row.Incarnation != o.incarnation {
		return
	}
	ops := t.Handover(o.self, o.alive, func(id topology.ShardID) bool {
		epoch := t.Shards[id].Epoch // t may be older than what the shards are in step with
		if !o.store.Shard(int(id)).Role().CloseIfEmpty(epoch) {
			return false
		}
		o.mu.Lock()
		o.offered[id] = epoch
		o.mu.Unlock()
		return true
	})
	if len(ops) == 0 {
		return
	}
	errs, err := o.propose(ctx, topology.Command{Ops: ops})
	if errors.Is(err, cluster.ErrUncertain) && !o.resign(ctx, ops) {
		return // the node stops
	}
	for i, op := range ops {
		if refused := err != nil || errs[i] != nil; refused {
			o.takeBack(op)
		}
	}
	if err == nil || errors.Is(err, cluster.ErrUncertain) { // otherwise nothing has changed, and the next try has time
		o.wake()
	}
	o.log.Debug("empty shards were handed over", "shards", len(ops), "err", err)
}

// resign gives up shards of which nobody knows whether they were handed over, and returns when that is decided: it raises their epochs, so that the handover
// either has happened by then or never will. It reports false when the node stops.
func (o *obedience) resign(ctx context.Context, handed []topology.Op) bool {
	var ops []topology.Op
	for _, op := range handed {
		ops = append(ops, topology.Op{Kind: topology.Resign, Shard: op.Shard, Epoch: op.Epoch, Node: o.self})
	}
	for ctx.Err() == nil {
		if _, err := o.propose(ctx, topology.Command{Ops: ops}); err == nil {
			return true
		}
		pause(ctx, handoverInterval)
	}
	return false
}

// takeBack opens a shard again whose handover was refused, if nothing else was decided about it meanwhile.
func (o *obedience) takeBack(op topology.Op) {
	o.mu.Lock()
	delete(o.offered, op.Shard)
	o.mu.Unlock()
	if row := o.newest().Shards[op.Shard]; row.Primary == o.self && row.Epoch == op.Epoch {
		o.store.Shard(int(op.Shard)).Role().Reopen()
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
