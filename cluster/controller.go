package cluster

import (
	"context"
	"log/slog"
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
}

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
	seen := make(chan struct{}, 1)
	defer c.members.watch(seen)()
	tick := time.NewTicker(c.timing.Tick)
	defer tick.Stop()
	history := newHistory()
	term := term{
		barrier: func() error { return a.Barrier(applyTimeout).Error() },
		decide: func() {
			c.decideTopology(a, history)
			c.decideServers(a, history)
		},
	}
	for {
		term.step()
		select {
		case <-c.life.ctx.Done():
			return
		case leads := <-a.leads:
			if !leads {
				return
			}
			term.caughtUp = false
		case <-seen:
		case <-tick.C:
		}
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

// history is what the controller remembers between two decisions of a term. All times are Unix
// milliseconds.
type history struct {
	nodes     string           // the nodes of the topology, with state and zone
	changedAt int64            // when nodes last changed
	deadSince map[string]int64 // by server id
	probedAt  map[string]int64 // by server id, of servers that did not answer
}

func newHistory() *history {
	return &history{deadSince: map[string]int64{}, probedAt: map[string]int64{}}
}

func (h *history) recordNodes(t *topology.Topology, now int64) {
	key := ""
	for _, n := range t.Nodes {
		key += string(n.ID) + string(n.State) + n.Zone + ","
	}
	if key != h.nodes {
		h.nodes, h.changedAt = key, now
	}
}

// deadFor returns for how many milliseconds a server has been dead.
func (h *history) deadFor(id string, alive bool, now int64) int64 {
	if alive {
		delete(h.deadSince, id)
		return 0
	}
	if h.deadSince[id] == 0 {
		h.deadSince[id] = now
	}
	return now - h.deadSince[id]
}

func (c *controller) decideTopology(a *consensus, h *history) {
	t, now := c.fsm.current.Load(), time.Now().UnixMilli()
	if t.Cluster == "" {
		return
	}
	h.recordNodes(t, now)
	ops := t.Plan(topology.View{Now: now, Nodes: c.members.liveness(), NodesChanged: h.changedAt})
	if len(ops) == 0 {
		return
	}
	result, err := a.commitOps(ops...)
	refused := 0
	for _, text := range result.Errs {
		if text != "" {
			refused++
		}
	}
	c.log.Debug("controller proposed", "operations", len(ops), "refused", refused, "err", err)
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
