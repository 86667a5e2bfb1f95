package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// Config is what a Reconciler works on. All fields are required.
type Config struct {
	Self        topology.NodeID
	Incarnation uint64
	Store       *shard.Store
	Log         *slog.Logger

	Newest        func() *topology.Topology // the newest topology that the node knows
	HearsLeader   func() bool               // raft hears its leader, or this node leads
	Report        func([]topology.Report)   // tells raft's leader which primaries the node's copies do not hear; it never blocks
	Noticed       func()                    // is called once the cluster knows which copies of the node are damaged
	ApplySettings func(*topology.Topology)  // applies the cluster's settings to the node
	Alive         func(topology.NodeID) bool
	Stays         func(topology.NodeID) bool // alive, and not about to stop: it may get shards
	// Propose sends a command to the raft leader. It returns an error per op, or outcome.ErrUncertain.
	Propose func(context.Context, topology.Command) ([]error, error)
	// AwaitRemote returns when another node routes by the topology of an index or a later one.
	AwaitRemote func(context.Context, topology.NodeID, uint64) error
}

// Reconciler makes the shards of one node match the topology. New, then Run.
type Reconciler struct {
	config  Config
	process replica.Process // of the node
	applied atomic.Pointer[topology.Topology]
	copies  copies
	counts  Counts

	operator Operator

	wake    chan struct{} // capacity 1: reconcile again
	changed chan struct{} // capacity 1: settled may have changed

	// Only the goroutine of Tick uses these.
	noticed   bool // Noticed was called
	proposals proposals

	// Only the goroutine of Run uses these.
	member bool               // the topology of the last run had this incarnation of the node
	shown  *topology.Topology // nil before the first run; then equal to applied
	before history            // the rows of the last run
	drops  dropper

	mu      sync.Mutex                  // guards all below
	pending map[topology.ShardID]uint64 // pending handovers: the shard is closed; the value is the epoch in which it was
	held    redirects
	settled bool // the node serves all shards that it should, and none that it could serve is vacant
}

// New returns a Reconciler that does nothing before Run. Its applied topology is empty.
func New(config Config) *Reconciler {
	r := &Reconciler{
		config: config, process: replica.Process{Node: string(config.Self), Incarnation: config.Incarnation},
		copies: copies{changed: make(chan struct{}, 1)},
		wake:   make(chan struct{}, 1), changed: make(chan struct{}, 1),
		pending: map[topology.ShardID]uint64{}, held: redirects{},
	}
	r.proposals = proposals{config: &r.config, sent: map[topology.ShardID]sentProposal{}, slots: make(chan struct{}, maxProposals)}
	r.operator.r, r.operator.kept = r, map[topology.ShardID]time.Time{}
	r.drops = newDropper(&r.config)
	r.applied.Store(&topology.Topology{})
	config.Store.Identify(r.process)
	return r
}

// interval is how often a node looks for shards to hand over, and how long it waits before it repeats a proposal.
const interval = time.Second

// Wake makes Run reconcile at once: there is a new topology, or shards were read from disk. It never blocks.
func (r *Reconciler) Wake() { notify(r.wake) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run reconciles whenever it is woken, and once per interval, until ctx is done.
func (r *Reconciler) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var background sync.WaitGroup
	defer background.Wait()
	busy := make(chan struct{}, 1) // holds a token while a handover is pending
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
		t := r.config.Newest()
		for _, to := range r.reconcile(t) {
			background.Go(func() { r.awaitRouting(ctx, to, t) })
		}
		if drop := r.drops.begin(t, r.member); drop != nil {
			background.Go(func() { drop(ctx) })
		}
		select {
		case busy <- struct{}{}:
			background.Go(func() {
				r.move(ctx, t)
				<-busy
			})
		default:
		}
	}
}

// reconcile makes settings, shards and routing match t, in the order that the package comment gives. It returns the nodes
// that must route by t before clients are redirected to them.
func (r *Reconciler) reconcile(t *topology.Topology) (ask []topology.NodeID) {
	r.config.ApplySettings(t)
	r.dropDecided(t)
	r.counts.note(&r.before, t, r.config.Self)
	read := r.allRead(len(t.Shards))
	d := decide(t, r.config.Self, r.config.Incarnation, r.state)
	if r.member && !d.member {
		r.config.Log.Warn("serving nothing: the cluster has removed this node or knows a later incarnation of it")
	}
	r.member = d.member
	for _, id := range d.lead {
		if !r.lead(t, id) {
			d.settled = false
		}
	}
	r.mu.Lock()
	r.shown, ask = r.held.hold(d.topology, r.shown, r.config.Self, r.config.Alive)
	r.mu.Unlock()
	r.applied.Store(r.shown)
	for _, id := range d.follow {
		r.follow(t, id)
	}
	counted := copiesOf(t, r.process, r.state)
	r.copies.set(counted, r.waiting(counted), d.member && read)
	r.mu.Lock()
	r.settled = d.settled
	r.mu.Unlock()
	notify(r.changed)
	return ask
}

// allRead reports whether the shards, of which there are some, have been read from disk.
func (r *Reconciler) allRead(shards int) bool {
	for i := range shards {
		if !r.config.Store.Shard(i).Ready() {
			return false
		}
	}
	return shards > 0
}

// dropDecided forgets pending handovers that t has decided: they are of epochs that are over.
func (r *Reconciler) dropDecided(t *topology.Topology) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, epoch := range r.pending {
		if int(id) < len(t.Shards) && epoch < t.Shards[id].Epoch {
			delete(r.pending, id)
		}
	}
}

func (r *Reconciler) state(id topology.ShardID) shardState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return shardState{ready: r.config.Store.Shard(int(id)).Ready(), pending: r.pending[id]}
}

// lead takes a shard to a row that names this node as the primary, and reports whether the shard is open. A new
// primary may have to wait before it opens.
func (r *Reconciler) lead(t *topology.Topology, id topology.ShardID) bool {
	of := r.config.Store.Shard(int(id))
	switch err := of.Role().Configure(configOf(t, id)); {
	case errors.Is(err, shard.ErrHandoverPending): // a handover has begun since decide
		return false
	case err != nil:
		r.config.Log.Error("cannot serve a shard", "shard", id, "err", err)
		return false
	}
	return of.Serving()
}

// follow takes a shard to a row of which this node is not the primary.
func (r *Reconciler) follow(t *topology.Topology, id topology.ShardID) {
	err := r.config.Store.Shard(int(id)).Role().Configure(configOf(t, id))
	if err != nil && !errors.Is(err, shard.ErrNotRecovered) { // the end of the recovery wakes Run
		r.config.Log.Error("the copy of a shard cannot follow its row", "shard", id, "err", err)
	}
}

// awaitRouting waits until a node routes by t, or does not say so in time. Then clients are redirected to it.
func (r *Reconciler) awaitRouting(ctx context.Context, to topology.NodeID, t *topology.Topology) {
	if err := r.config.AwaitRemote(ctx, to, t.Index); err != nil {
		r.config.Log.Debug("redirecting clients to a node that may not know its new shards yet", "node", to, "err", err)
	}
	r.mu.Lock()
	r.held.release(to, t)
	r.mu.Unlock()
	r.Wake()
}

// Applied returns the newest topology that the shards match: the one by which the node routes clients. It is never nil.
func (r *Reconciler) Applied() *topology.Topology { return r.applied.Load() }

// AwaitApplied returns when the node routes by the topology of an index or a later one.
func (r *Reconciler) AwaitApplied(ctx context.Context, index uint64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for r.Applied().Index < index {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node routes by topology %d, not yet by %d: %w", r.Applied().Index, index, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// AwaitSettled returns when the node serves all shards that it should.
func (r *Reconciler) AwaitSettled(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		r.mu.Lock()
		settled := r.settled
		r.mu.Unlock()
		if settled {
			return nil
		}
		select {
		case <-r.changed:
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the node is waiting for its shards: %w", ctx.Err())
		}
	}
}
