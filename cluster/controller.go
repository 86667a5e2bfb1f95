package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// control decides while this node leads.
func (c *Cluster) control(a *agreement) {
	for {
		select {
		case <-c.context.Done():
			return
		case leads := <-a.leads:
			if leads {
				c.lead(a)
			}
		}
	}
}

// lead runs the controller for one term.
func (c *Cluster) lead(a *agreement) {
	c.log.Info("this node leads", "term", a.CurrentTerm())
	defer c.log.Info("this node leads no longer")
	seen := make(chan struct{}, 1)
	defer c.sights.watch(seen)()
	tick := time.NewTicker(c.timing.Tick)
	defer tick.Stop()
	members := newMembership()
	term := term{
		barrier: func() error { return a.Barrier(applyTimeout).Error() },
		decide: func() {
			c.decideTopology(a, members)
			c.decideVoters(a, members)
		},
	}
	for {
		term.step()
		select {
		case <-c.context.Done():
			return
		case leads := <-a.leads:
			if !leads {
				return
			}
			term.current = false
		case <-seen:
		case <-tick.C:
		}
	}
}

// term is one in which this node leads.
type term struct {
	barrier func() error // returns when this node has all that was decided in earlier terms
	decide  func()
	current bool // it has
}

// step decides, unless what is to be decided may have been decided already.
func (t *term) step() {
	if !t.current {
		t.current = t.barrier() == nil
	}
	if t.current {
		t.decide()
	}
}

// membership notes when the set of nodes has last changed, and since when servers are gone.
type membership struct {
	nodes   string
	changed int64            // ms
	dead    map[string]int64 // ms, by server id
	silent  map[string]int64 // ms, by server id: when it was asked last, of those that did not answer then
}

func newMembership() *membership {
	return &membership{dead: map[string]int64{}, silent: map[string]int64{}}
}

func (m *membership) note(t *topology.Topology, now int64) {
	key := ""
	for _, n := range t.Nodes {
		key += string(n.ID) + string(n.State) + n.Zone + ","
	}
	if key != m.nodes {
		m.nodes, m.changed = key, now
	}
}

func (c *Cluster) decideTopology(a *agreement, m *membership) {
	t, now := c.Topology(), time.Now().UnixMilli()
	if t.Cluster == "" {
		return
	}
	m.note(t, now)
	ops := t.Plan(topology.View{Now: now, Nodes: c.sights.view(), NodesChanged: m.changed})
	if len(ops) == 0 {
		return
	}
	d, err := a.decideOps(ops...)
	refused := 0
	for _, text := range d.Errs {
		if text != "" {
			refused++
		}
	}
	c.log.Debug("the controller has decided", "operations", len(ops), "refused", refused, "err", err)
}

// answers asks a node that gossip sees alive whether it is, with the data folder that a server is of. Gossip goes on seeing one for a second or two that was killed; a leader that has the
// only vote, after a recovery, and gives one to such a node, would be without a majority for good.
func (c *Cluster) answers(node topology.NodeID, store string) bool {
	if node == c.self.ID {
		return true
	}
	address, _ := c.resolve(node)
	ctx, cancel := context.WithTimeout(c.context, c.timing.Lease) // the controller waits
	defer cancel()
	who, err := c.bus.Probe(ctx, address)
	return err == nil && who.Node == node && who.Store == store
}

// silentTime is how many milliseconds a server that did not answer is not asked again. The controller waits for answers.
const silentTime = 1000

// answering returns those servers that answer. They are asked side by side.
func (c *Cluster) answering(m *membership, ids ...string) (all []string) {
	now := time.Now().UnixMilli()
	maps.DeleteFunc(m.silent, func(_ string, asked int64) bool { return now-asked >= silentTime })
	var mu sync.Mutex // guards all
	var wait sync.WaitGroup
	for _, id := range ids {
		node, store, err := parseServerID(id)
		if _, silent := m.silent[id]; silent || err != nil {
			continue
		}
		wait.Go(func() {
			if c.answers(node, store) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, id)
			}
		})
	}
	wait.Wait()
	for _, id := range ids {
		if _, silent := m.silent[id]; !silent && !slices.Contains(all, id) {
			m.silent[id] = time.Now().UnixMilli()
		}
	}
	slices.Sort(all)
	return all
}

// letIn makes servers of the members that live and are none. A node asks for that when it starts; after a recovery (OpenRecovery) there are others that have run all the time.
func (c *Cluster) letIn(a *agreement, m *membership, t *topology.Topology, known raft.Configuration) {
	var missing []string
	for _, n := range t.Nodes {
		if id := serverID(n.ID, n.Store); !hasServer(known, id) && n.ID != c.self.ID && c.seesServer(n.ID, n.Store) {
			missing = append(missing, id)
		}
	}
	for _, id := range c.answering(m, missing...) {
		node, _, _ := parseServerID(id)
		if err := a.settled(a.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, applyTimeout)); err != nil {
			c.log.Debug("a member could not be let in", "node", c.name(node), "err", err)
			return
		}
		c.log.Info("a member is told of the topology again", "node", c.name(node))
	}
}

// planVoters asks those that could have a vote whether they are there, before one of them gets it: one that does not answer counts for nothing, so that the next
// one has it, and a number of voters is not begun that it alone could make odd.
func (c *Cluster) planVoters(m *membership, servers []topology.Server, members []topology.Node) (promote, demote, remove []string) {
	promote, demote, remove = topology.PlanVoters(servers, members)
	if len(promote) == 0 {
		return promote, demote, remove
	}
	var heirs []string
	for _, s := range servers {
		if !s.Voter && s.Alive {
			heirs = append(heirs, s.ID)
		}
	}
	there := c.answering(m, heirs...)
	for i, s := range servers {
		servers[i].Alive = s.Alive && (s.Voter || slices.Contains(there, s.ID))
	}
	return topology.PlanVoters(servers, members)
}

func (c *Cluster) decideVoters(a *agreement, m *membership) {
	future := a.GetConfiguration() // before the topology, which knows each server's node
	t, now := c.Topology(), time.Now().UnixMilli()
	if t.Cluster == "" || future.Error() != nil {
		return
	}
	c.letIn(a, m, t, future.Configuration())
	var servers []topology.Server
	for _, s := range future.Configuration().Servers {
		node, store, err := parseServerID(string(s.ID))
		if err != nil {
			continue
		}
		row, _ := t.Node(node)
		known := topology.Server{ID: string(s.ID), Node: node, Zone: row.Zone, Voter: s.Suffrage == raft.Voter, Alive: c.seesServer(node, store)}
		if known.Alive {
			delete(m.dead, known.ID)
		} else {
			if m.dead[known.ID] == 0 {
				m.dead[known.ID] = now
			}
			known.DeadFor = now - m.dead[known.ID]
		}
		servers = append(servers, known)
	}
	promote, demote, remove := c.planVoters(m, servers, t.Nodes)
	ctx, cancel := context.WithTimeout(c.context, applyTimeout)
	defer cancel()
	apply := func(what string, ids []string, do func(raft.ServerID) raft.IndexFuture) {
		for _, id := range ids {
			if ctx.Err() != nil {
				return
			}
			node, _, _ := parseServerID(id)
			if err := a.settled(do(raft.ServerID(id))); err != nil {
				c.log.Debug("the voters could not be changed", "what", what, "node", c.name(node), "err", err)
				return
			}
			c.log.Info("the voters have changed", "what", what, "node", c.name(node))
		}
	}
	apply("votes now", promote, func(id raft.ServerID) raft.IndexFuture {
		return a.AddVoter(id, raft.ServerAddress(id), 0, applyTimeout)
	})
	apply("votes no longer", demote, func(id raft.ServerID) raft.IndexFuture { return a.DemoteVoter(id, 0, applyTimeout) })
	apply("was removed", remove, func(id raft.ServerID) raft.IndexFuture { return a.RemoveServer(id, 0, applyTimeout) })
}
