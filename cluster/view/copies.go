package view

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
)

// Clean returns the nodes with a copy in sync that lacks nothing that it acknowledged.
func (s *Shard) Clean() (clean []topology.NodeID) {
	for _, id := range s.InSync {
		if !slices.Contains(s.Unclean, id) {
			clean = append(clean, id)
		}
	}
	return clean
}

// Degraded reports whether the shard is served and has only one clean copy, although more nodes should have one.
func (c *Cluster) Degraded(shard int) bool {
	s := &c.Shards[shard]
	return c.Served(shard) && len(s.Assigned) > 1 && len(s.Clean()) <= 1
}

// Copies are the shards of which one node has copies.
type Copies struct {
	Primaries int
	Replicas  int // in sync, of shards that another node serves
	Learners  int // that catch up
	Behind    int // that the node should have clean and in sync, and has not
}

// CopiesOf counts the copies of a node.
func (c *Cluster) CopiesOf(id topology.NodeID) (n Copies) {
	for i := range c.Shards {
		s := &c.Shards[i]
		switch {
		case s.Primary == id:
			n.Primaries++
		case slices.Contains(s.InSync, id):
			n.Replicas++
		case slices.Contains(s.Learners, id):
			n.Learners++
		}
		if s.Primary != "" && slices.Contains(s.Assigned, id) && !slices.Contains(s.Clean(), id) {
			n.Behind++
		}
	}
	return n
}

// degraded says how many shards would be lost with one node, and who is behind; "" if there are none.
func (c *Cluster) degraded() string {
	n := 0
	behind := map[topology.NodeID]bool{}
	for i := range c.Shards {
		if !c.Degraded(i) {
			continue
		}
		n++
		for _, id := range c.Shards[i].Assigned {
			if !slices.Contains(c.Shards[i].Clean(), id) {
				behind[id] = true
			}
		}
	}
	if n == 0 {
		return ""
	}
	var who []string
	for i := range c.Nodes {
		if node := &c.Nodes[i]; behind[node.ID] {
			state := "catches up"
			if !node.Up {
				state = "is down"
			}
			who = append(who, node.Label()+" "+state)
		}
	}
	text := fmt.Sprintf("%d of %s with only one clean copy in sync", n, count(len(c.Shards), "shard"))
	if len(who) > 0 {
		text += ": " + strings.Join(who, ", ")
	}
	return text
}

// Notes says what is not wrong, and what operators should know: the limits of a cluster of two nodes.
func (c *Cluster) Notes() []string {
	notes := []string{}
	copied := slices.ContainsFunc(c.Shards, func(s Shard) bool { return len(s.Assigned) > 1 })
	if len(c.Nodes) == 2 && len(c.Voters) == 1 && copied {
		notes = append(notes, fmt.Sprintf("two nodes have one voter, %s: if it dies, nothing can be promoted, and the shards of the other node stop too. Failover in both directions needs three nodes", c.Label(c.Voters[0])))
	}
	return notes
}
