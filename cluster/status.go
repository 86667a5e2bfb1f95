package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// Status is how a node stands in its cluster.
type Status struct {
	Waiting          string // what for; empty when the node serves
	Starting         bool   // Waiting is for nothing but this node itself, which is short
	Leader           topology.NodeID
	Term             uint64
	Voters           int
	VoterNodes       []topology.NodeID // theirs
	Quorum           bool              // the leader was heard from lately, so that the topology can change
	Proposed, Failed int64
}

// Status never waits for another node.
func (c *Cluster) Status() Status {
	s := Status{Waiting: c.Waiting(), Proposed: c.proposals.proposed.Load(), Failed: c.proposals.failed.Load()}
	if s.Waiting == "" {
		s.Waiting = c.displaced()
	}
	s.Starting = s.Waiting == starting
	a := c.agreement.Load()
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
	switch {
	case s.Leader == c.self.ID:
		s.Quorum = a.State() == raft.Leader
	case s.Leader != "":
		s.Quorum = time.Since(a.LastContact()) < 2*c.timing.Heartbeat
	}
	return s
}

// displaced says why a node that was part of the topology is so no longer; nothing if it is.
func (c *Cluster) displaced() string {
	switch row, member := c.Topology().Node(c.self.ID); {
	case !member:
		return "its end: the cluster has let it go (CLUSTER LEAVE or FORGET), so that it may be stopped; started anew, it joins again"
	case row.Incarnation != c.self.Incarnation:
		return fmt.Sprintf("its end: a later start of this node has taken its place, at %s", c.busOf(row))
	}
	return ""
}

// Liveness returns whether gossip sees a node alive, and since when; false if it has never heard of it.
func (c *Cluster) Liveness(id topology.NodeID) (alive bool, since time.Time, known bool) {
	if id == c.self.ID {
		return true, time.Time{}, true
	}
	i, known := c.sights.get(id)
	return i.alive, i.since, known
}

var (
	errForgetAlive = errors.New("the node is alive: stop it first, or send it CLUSTER LEAVE")
	errForgetSelf  = errors.New("a node cannot forget itself: send it CLUSTER LEAVE")
)

// Forget gives a dead node up for good, with all copies that it had.
func (c *Cluster) Forget(ctx context.Context, id topology.NodeID) error {
	if id == c.self.ID {
		return errForgetSelf
	}
	if alive, _, _ := c.Liveness(id); alive {
		return errForgetAlive
	}
	row, _ := c.Topology().Node(id) // a later start of it is not meant
	return c.one(ctx, topology.Op{Kind: topology.NodeForget, Node: id, Incarnation: row.Incarnation})
}

// Leave says that this node is to have no shards any more. It is forgotten once it holds no copy.
func (c *Cluster) Leave(ctx context.Context) error {
	return c.one(ctx, topology.Op{Kind: topology.NodeLeave, Node: c.self.ID})
}

// one has a single operation decided.
func (c *Cluster) one(ctx context.Context, op topology.Op) error {
	errs, err := c.Propose(ctx, topology.Command{Ops: []topology.Op{op}})
	if err == nil && len(errs) == 1 && errs[0] != nil {
		err = fmt.Errorf("refused: %w", errs[0])
	}
	return err
}
