package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// Status is the state of a node in its cluster.
type Status struct {
	Waiting          string // completes "waiting for"; empty while the node serves
	Starting         bool   // the node waits only for itself, which is short
	Leader           topology.NodeID
	Term             uint64
	Voters           int
	VoterNodes       []topology.NodeID
	Quorum           bool // this node leads, or heard from the leader lately: the topology can change
	Proposed, Failed int64
}

// Status never waits for another node.
func (c *Cluster) Status() Status {
	s := Status{Waiting: c.Waiting(), Proposed: c.proposer.proposed.Load(), Failed: c.proposer.failed.Load()}
	if s.Waiting == "" {
		s.Waiting = removed(c)
	}
	s.Starting = s.Waiting == starting
	a := c.consensus.Load()
	if a == nil {
		return s
	}
	s.Leader, s.Term = a.leader(), a.CurrentTerm()
	if future := a.GetConfiguration(); future.Error() == nil {
		for _, server := range future.Configuration().Servers {
			if server.Suffrage == raft.Voter {
				s.Voters++
				if node, _, err := parseServerID(string(server.ID)); err == nil {
					s.VoterNodes = append(s.VoterNodes, node)
				}
			}
		}
	}
	if c.Waiting() != "" && s.Voters == 1 && len(s.VoterNodes) == 1 && s.VoterNodes[0] == c.self.ID {
		s.Starting = true
	}
	s.Quorum = a.hearsLeader(s.Leader, 2*a.timing.Heartbeat)
	return s
}

// HearsLeader reports whether raft on this node leads, or heard from its leader within the time of an election. Without a leader a
// report has no use. The time is shorter than the 20 ticks after which a primary removes a silent member: a primary that stops
// receiving anything notices that here first.
func (c *Cluster) HearsLeader() bool {
	a := c.consensus.Load()
	return a != nil && a.hearsLeader(a.leader(), a.timing.Heartbeat)
}

// hearsLeader reports whether this node leads, or heard from the leader within a time.
func (a *consensus) hearsLeader(leader topology.NodeID, within time.Duration) bool {
	if node, _, err := parseServerID(a.local); err == nil && node == leader {
		return a.State() == raft.Leader
	}
	return leader != "" && time.Since(a.LastContact()) < within
}

// removed says why this incarnation is no longer a member; empty while it is.
func removed(c *Cluster) string {
	switch row, member := c.Topology().Node(c.self.ID); {
	case !member && c.config.Removed != nil:
		return "its shutdown: the cluster has removed it (CLUSTER LEAVE or FORGET), so it can be stopped; its certificate counts no more, unless an operator lets it come back (setting readmit)"
	case !member:
		return "its shutdown: the cluster has removed it (CLUSTER LEAVE or FORGET), so it can be stopped; after a restart it joins again"
	case row.Incarnation != c.self.Incarnation:
		return fmt.Sprintf("its shutdown: a later incarnation of this node has replaced it, at %s", busAddress(row))
	}
	return ""
}

// Liveness returns whether gossip sees a node alive, and since when. A node that gossip has never
// seen is not known.
func (c *Cluster) Liveness(id topology.NodeID) (alive bool, since time.Time, known bool) {
	if id == c.self.ID {
		return true, time.Time{}, true
	}
	i, known := c.members.get(id)
	return i.alive, i.since, known
}

var (
	errForgetAlive = errors.New("the node is alive: stop it first, or send it CLUSTER LEAVE")
	errForgetSelf  = errors.New("a node cannot forget itself: send it CLUSTER LEAVE")
)

// Forget removes a dead node from the cluster for good, with all its copies.
func (c *Cluster) Forget(ctx context.Context, id topology.NodeID) error {
	if id == c.self.ID {
		return errForgetSelf
	}
	if alive, _, _ := c.Liveness(id); alive {
		return errForgetAlive
	}
	row, _ := c.Topology().Node(id) // a later incarnation is not forgotten
	return c.proposer.proposeOne(ctx, topology.Op{Kind: topology.NodeForget, Node: id, Incarnation: row.Incarnation})
}

// Leave asks the cluster to assign no shards to this node. The cluster forgets the node once it
// holds no copy.
func (c *Cluster) Leave(ctx context.Context) error {
	return c.proposer.proposeOne(ctx, topology.Op{Kind: topology.NodeLeave, Node: c.self.ID})
}
