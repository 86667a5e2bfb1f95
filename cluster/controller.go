package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// controller proposes what package topology plans, while this node leads. voters.go is the part
// that changes raft's servers.
type controller struct {
	life    *lifetime
	log     *slog.Logger
	timing  Timing
	self    *localNode
	members *members
	peers   *peers
	fsm     *fsm
	reports *reports

	loads *loads

	emptyShards func() string // the setting empty-shards
	moves       func() Moves
}

// format is the format of topologies that this program makes, and to which it brings earlier ones.
const format = topology.LatestFormat

// run waits for this node to lead.
func (c *controller) run(a *consensus) {
	for {
		select {
		case <-c.life.ctx.Done():
			return
		case leads := <-a.leads:
			if leads {
				c.lead(a)
			}
		}
	}
}

// lead runs one term.
func (c *controller) lead(a *consensus) {
	c.log.Info("this node is now the raft leader", "term", a.CurrentTerm())
	defer c.log.Info("this node is no longer the raft leader")
	defer c.reports.clear()
	seen := make(chan struct{}, 1)
	defer c.members.watch(seen)()
	decideServers, stop := c.startServers(a)
	defer stop()
	defer c.startLoads(seen)()
	next := time.NewTimer(c.timing.Tick)
	defer next.Stop()
	history := newHistory()
	wait := c.timing.Tick
	term := term{
		barrier: func() error { return a.Barrier(applyTimeout).Error() },
		decide: func() {
			wait = c.decideTopology(a, history)
			decideServers()
		},
	}
	for {
		wait = c.timing.Tick
		term.step()
		next.Reset(wait)
		select {
		case <-c.life.ctx.Done():
			return
		case leads := <-a.leads:
			if !leads {
				return
			}
			term.caughtUp = false
		case <-seen:
		case <-c.reports.news:
		case <-next.C:
		}
	}
}

// startServers decides about raft's servers beside the topology, because it waits for nodes that may
// not answer, and a promotion must not. Each call of decide causes a decision.
func (c *controller) startServers(a *consensus) (decide, stop func()) {
	wake, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		history := newServerHistory()
		for range wake {
			c.decideServers(a, history)
		}
	}()
	decide = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return decide, func() {
		close(wake)
		<-ended
	}
}

// startLoads asks the members for their loads, beside the decisions, until stop.
func (c *controller) startLoads(news chan<- struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(c.life.ctx)
	var running sync.WaitGroup
	running.Go(func() {
		c.loads.watch(ctx, func() {
			select {
			case news <- struct{}{}:
			default:
			}
		})
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// term is a term in which this node leads.
type term struct {
	barrier  func() error // returns when this node has applied everything that earlier terms committed
	decide   func()
	caughtUp bool // the barrier has passed
}

// step decides once the barrier has passed: before, it could repeat decisions that are committed
// already.
func (t *term) step() {
	if !t.caughtUp {
		t.caughtUp = t.barrier() == nil
	}
	if t.caughtUp {
		t.decide()
	}
}

// history is what the controller remembers of the topology's nodes in a term. All times are Unix
// milliseconds.
type history struct {
	nodes      string                    // the nodes of the topology, with all that a placement depends on
	changedAt  int64                     // when nodes last changed
	wipedSince map[topology.NodeID]int64 // see topology.View
	deadSince  map[topology.NodeID]int64 // nodes that are not seen alive, and since when at the latest
}

func newHistory() *history {
	return &history{wipedSince: map[topology.NodeID]int64{}, deadSince: map[topology.NodeID]int64{}}
}

// recordDead records since when nodes have not been seen alive, and returns those for which that is long enough. A node that gossip has
// never seen alive counts from the first look.
func (h *history) recordDead(t *topology.Topology, now int64, seen map[topology.NodeID]topology.Liveness, after time.Duration) (gone map[topology.NodeID]bool) {
	gone, dead := map[topology.NodeID]bool{}, map[topology.NodeID]int64{}
	for _, n := range t.Nodes {
		sight := seen[n.ID]
		if sight.Alive {
			continue
		}
		since := now
		if at, known := h.deadSince[n.ID]; known {
			since = at
		}
		if sight.Since > 0 {
			since = min(since, sight.Since)
		}
		dead[n.ID] = since
		gone[n.ID] = after > 0 && now-since >= after.Milliseconds()
	}
	h.deadSince = dead
	return gone
}

func (h *history) recordNodes(t *topology.Topology, now int64, gone map[topology.NodeID]bool) {
	key := ""
	for _, n := range t.Nodes {
		key += fmt.Sprint(n.ID, n.State, n.Zone, n.Weight, gone[n.ID], ",")
	}
	if key != h.nodes {
		h.nodes, h.changedAt = key, now
	}
}

// recordWiped records of the nodes whose wiped copies shards wait for that each is seen as it joined,
// and no other process of its id, since now at the latest. Such a process might still have the arrays.
func (h *history) recordWiped(t *topology.Topology, now int64, sole func(topology.NodeID, uint64) bool) {
	since := map[topology.NodeID]int64{}
	for _, id := range t.WipedNodes() {
		n, member := t.Node(id)
		if !member || !sole(id, n.Incarnation) {
			continue
		}
		since[id] = now
		if at, known := h.wipedSince[id]; known {
			since[id] = at
		}
	}
	h.wipedSince = since
}

// decideTopology proposes what package topology plans, and returns how long the next decision may wait.
func (c *controller) decideTopology(a *consensus, h *history) time.Duration {
	t, now := c.fsm.current.Load(), time.Now().UnixMilli()
	if t.Cluster == "" {
		return c.timing.Tick
	}
	moves, seen := c.moves(), c.members.liveness()
	gone := h.recordDead(t, now, seen, moves.ReplaceAfter)
	h.recordNodes(t, now, gone)
	h.recordWiped(t, now-topology.EmptyAfter+c.timing.BeginEmpty.Milliseconds(), c.members.sole)
	view := topology.View{
		Now: now, Nodes: seen, NodesChanged: h.changedAt, Reports: c.reports.view(t), EmptyShards: c.emptyShards(), WipedSince: h.wipedSince,
		Format: format, Gone: gone, Rebalance: moves.Rebalance, Paused: moves.Paused, Loads: c.loads.get(),
	}
	if ops := t.Plan(view); len(ops) > 0 {
		result, err := a.commitOps(ops...)
		c.log.Debug("controller proposed", "operations", len(ops), "refused", len(refusedOps(result)), "err", err)
		if err == nil {
			c.logLosses(t, ops, refusedOps(result))
		}
	}
	return min(c.timing.Tick, untilReportsDue(view))
}

// untilReportsDue returns how long it takes until Plan no longer waits for more reports about the
// shard whose first one came last.
func untilReportsDue(v topology.View) time.Duration {
	wait := int64(topology.ReportWait)
	for _, list := range v.Reports {
		for _, r := range list {
			if left := r.At + topology.ReportWait - v.Now; left > 0 {
				wait = min(wait, left)
			}
		}
	}
	if len(v.Reports) == 0 {
		return time.Hour
	}
	return time.Duration(wait) * time.Millisecond
}

// refusedOps returns the positions of the operations that were refused.
func refusedOps(result committed) map[int]bool {
	refused := map[int]bool{}
	for i, text := range result.Errs {
		if text != "" {
			refused[i] = true
		}
	}
	return refused
}

// logLosses logs the decisions by which shards may have lost acknowledged writes.
func (c *controller) logLosses(t *topology.Topology, ops []topology.Op, refused map[int]bool) {
	unclean, empty := map[topology.NodeID]int{}, map[topology.NodeID]int{}
	for i, op := range ops {
		switch row := t.Shards[op.Shard]; {
		case op.Kind != topology.Promote || refused[i]:
		case op.Unclean:
			unclean[op.Node]++
		case op.Empty && len(row.Wiped) > 0:
			empty[op.Node]++
		}
	}
	for node, shards := range unclean {
		c.log.Warn("shards had no clean copy left: their best copy was promoted, and acknowledged writes may be lost", "node", c.peers.name(node), "shards", shards)
	}
	for node, shards := range empty {
		c.log.Warn("shards begin empty: the nodes that had their last copies came back with other data folders", "node", c.peers.name(node), "shards", shards)
	}
}

// answers probes a node that gossip sees alive, with the store of a raft server. Gossip sees a
// killed node alive for another second or two. After a recovery the leader has the only vote: if it
// gave a second vote to such a node, it would lose its majority for good.
func (c *controller) answers(ctx context.Context, node topology.NodeID, store string) bool {
	if node == c.self.ID {
		return true
	}
	address, _ := c.peers.resolve(node)
	caller, err := c.peers.probe(ctx, address, c.timing.Lease) // short, since the controller waits
	return err == nil && caller.Node == node && caller.Store == store
}
