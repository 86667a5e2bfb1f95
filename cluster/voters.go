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

// serverHistory is what the controller remembers of raft's servers in a term. All times are Unix
// milliseconds.
type serverHistory struct {
	deadSince map[string]int64 // by server id
	probedAt  map[string]int64 // by server id, of servers that did not answer
}

func newServerHistory() *serverHistory {
	return &serverHistory{deadSince: map[string]int64{}, probedAt: map[string]int64{}}
}

// deadFor returns for how many milliseconds a server has been dead.
func (h *serverHistory) deadFor(id string, alive bool, now int64) int64 {
	if alive {
		delete(h.deadSince, id)
		return 0
	}
	if h.deadSince[id] == 0 {
		h.deadSince[id] = now
	}
	return now - h.deadSince[id]
}

// reprobeAfter is for how many milliseconds the controller does not probe a server again that did
// not answer, since it waits for answers.
const reprobeAfter = 1000

// answering returns the servers that answer a probe. All are probed concurrently.
func (c *controller) answering(h *serverHistory, ids ...string) (all []string) {
	now := time.Now().UnixMilli()
	maps.DeleteFunc(h.probedAt, func(_ string, probed int64) bool { return now-probed >= reprobeAfter })
	var mu sync.Mutex // guards all
	var wait sync.WaitGroup
	for _, id := range ids {
		node, store, err := parseServerID(id)
		if _, silent := h.probedAt[id]; silent || err != nil {
			continue
		}
		wait.Go(func() {
			if c.answers(c.life.ctx, node, store) {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, id)
			}
		})
	}
	wait.Wait()
	for _, id := range ids {
		if _, silent := h.probedAt[id]; !silent && !slices.Contains(all, id) {
			h.probedAt[id] = time.Now().UnixMilli()
		}
	}
	slices.Sort(all)
	return all
}

// addMissingServers adds live members that are not raft servers. A starting node asks for that
// itself; after a recovery (OpenRecovery) members that kept running are missing too.
func (c *controller) addMissingServers(a *consensus, h *serverHistory, t *topology.Topology, known raft.Configuration) {
	var missing []string
	for _, n := range t.Nodes {
		if id := serverID(n.ID, n.Store); !hasServer(known, id) && n.ID != c.self.ID && c.peers.seesServer(n.ID, n.Store) {
			missing = append(missing, id)
		}
	}
	for _, id := range c.answering(h, missing...) {
		node, _, _ := parseServerID(id)
		if err := a.awaitChange(a.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, applyTimeout)); err != nil {
			c.log.Debug("cannot add a member to raft", "node", c.peers.name(node), "err", err)
			return
		}
		c.log.Info("added a member to raft again", "node", c.peers.name(node))
	}
}

// planVoters probes the candidates for a vote before one of them gets it. One that does not answer
// is planned for as dead: the next one gets the vote, and no step is taken towards a number of
// voters that only the dead one would make odd.
func (c *controller) planVoters(h *serverHistory, servers []topology.Server, members []topology.Node) (promote, demote, remove []string) {
	promote, demote, remove = topology.PlanVoters(servers, members)
	if len(promote) == 0 {
		return promote, demote, remove
	}
	var candidates []string
	for _, s := range servers {
		if !s.Voter && s.Alive {
			candidates = append(candidates, s.ID)
		}
	}
	answering := c.answering(h, candidates...)
	for i, s := range servers {
		servers[i].Alive = s.Alive && (s.Voter || slices.Contains(answering, s.ID))
	}
	return topology.PlanVoters(servers, members)
}

// decideServers changes raft's servers and voters to what package topology plans.
func (c *controller) decideServers(a *consensus, h *serverHistory) {
	future := a.GetConfiguration() // before the topology, which then knows the node of each server
	t, now := c.fsm.current.Load(), time.Now().UnixMilli()
	if t.Cluster == "" || future.Error() != nil {
		return
	}
	c.addMissingServers(a, h, t, future.Configuration())
	var servers []topology.Server
	for _, s := range future.Configuration().Servers {
		node, store, err := parseServerID(string(s.ID))
		if err != nil {
			continue
		}
		row, _ := t.Node(node)
		known := topology.Server{ID: string(s.ID), Node: node, Zone: row.Zone, Voter: s.Suffrage == raft.Voter, Alive: c.peers.seesServer(node, store)}
		known.DeadFor = h.deadFor(known.ID, known.Alive, now)
		servers = append(servers, known)
	}
	promote, demote, remove := c.planVoters(h, servers, t.Nodes)
	apply := func(change string, ids []string, do func(raft.ServerID) raft.IndexFuture) {
		ctx, cancel := context.WithTimeout(c.life.ctx, applyTimeout)
		defer cancel()
		for _, id := range ids {
			if ctx.Err() != nil {
				return
			}
			node, _, _ := parseServerID(id)
			if err := a.awaitChange(do(raft.ServerID(id))); err != nil {
				c.log.Debug("cannot change raft's servers", "change", change, "node", c.peers.name(node), "err", err)
				return
			}
			c.log.Info("changed raft's servers", "change", change, "node", c.peers.name(node))
		}
	}
	apply("vote granted", promote, func(id raft.ServerID) raft.IndexFuture {
		return a.AddVoter(id, raft.ServerAddress(id), 0, applyTimeout)
	})
	apply("vote revoked", demote, func(id raft.ServerID) raft.IndexFuture { return a.DemoteVoter(id, 0, applyTimeout) })
	c.awaitLearned(c.life.ctx, remove, servers, t)
	apply("server removed", remove, func(id raft.ServerID) raft.IndexFuture { return a.RemoveServer(id, 0, applyTimeout) })
}

// learnTime is how long the controller waits for a node that leaves. It decides about no other server meanwhile.
const learnTime = 3 * time.Second

// awaitLearned waits until the nodes that run among those of some servers have learned of a topology. A server that raft removes while
// it sends something else to it never hears that its removal from the topology is committed: the node would take itself for a member
// for ever.
func (c *controller) awaitLearned(ctx context.Context, ids []string, servers []topology.Server, t *topology.Topology) {
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	var wait sync.WaitGroup
	for _, s := range servers {
		if s.Alive && slices.Contains(ids, s.ID) {
			wait.Go(func() {
				retry := time.NewTicker(c.timing.Tick)
				defer retry.Stop()
				for {
					err := c.peers.awaitTopology(ctx, s.Node, t.Index)
					if err == nil {
						return
					}
					select {
					case <-retry.C:
					case <-ctx.Done():
						c.log.Debug("a node may not have learned that it has left", "node", c.peers.name(s.Node), "err", err)
						return
					}
				}
			})
		}
	}
	wait.Wait()
}
