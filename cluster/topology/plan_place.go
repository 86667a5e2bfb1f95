package topology

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Values of View.Rebalance: who decides that nodes get their shares after others joined.
const (
	RebalanceAuto     = "auto"     // the controller
	RebalanceOperator = "operator" // an operator; the controller only replaces nodes that are gone
)

// assign makes Assigned what it should be for the nodes that may have copies. A dead node is one of them until it counts as gone, or
// while there are not enough others.
func (p *planner) assign() {
	for i, row := range p.t.Shards {
		p.assigned[i] = row.Assigned
	}
	settled := p.v.Now-p.v.NodesChanged >= SettleTime
	switch {
	case !settled && !unassigned(p):
	case p.t.Format < Format2:
		p.assignEach()
	default:
		p.place()
	}
}

// unassigned reports whether no shard is assigned to any node.
func unassigned(p *planner) bool {
	return !slices.ContainsFunc(p.t.Shards, func(row Shard) bool { return len(row.Assigned) > 0 })
}

// assignEach assigns shards one by one. Programs before this one would level the copies in another way, so this one replaces nodes that
// are gone and leaves the rest until all nodes run it.
func (p *planner) assignEach() {
	want := Mend(p.assigned, p.t.Nodes, p.t.Replicas)
	for i, members := range want {
		if !p.complete(ShardID(i)) && !slices.Equal(members, p.assigned[i]) {
			p.ops = append(p.ops, Op{Kind: Assign, Shard: ShardID(i), Epoch: p.t.Shards[i].Epoch, Members: members})
			p.assigned[i] = members
		}
	}
}

// complete reports whether a shard is assigned to as many nodes as it should be, all of them active.
func (p *planner) complete(shard ShardID) bool {
	active := p.active()
	return within(p.assigned[shard], active) && len(p.assigned[shard]) == min(max(p.t.Replicas, 1), len(active))
}

// place proposes a new placement if the one that the topology has is for other nodes.
func (p *planner) place() {
	nodes, few := holders(p.t, p.v.Gone)
	digest := digestOf(nodes)
	level := p.v.Rebalance != RebalanceOperator && !few
	now := p.t.Placement
	if now.Nodes == digest && !(level && now.Kept) {
		return
	}
	op := p.t.placement(nodes, level)
	if now.At == 0 && allHaveShares(p, nodes) { // it is of an earlier format, and as good: an upgrade moves nothing
		op = p.t.placement(nodes, false)
		op.Placement.Kept = false
	}
	p.ops = append(p.ops, op)
	for _, placed := range op.Places {
		p.assigned[placed.Shard] = placed.Members
	}
}

// allHaveShares reports whether shards are assigned to each of the nodes.
func allHaveShares(p *planner, nodes []Node) bool {
	have := map[NodeID]bool{}
	for _, members := range p.assigned {
		for _, id := range members {
			have[id] = true
		}
	}
	return !slices.ContainsFunc(nodes, func(n Node) bool { return !have[n.ID] })
}

// holders returns the nodes that may have copies: those that are active and not gone. If these are too few for the copies that a shard should
// have, those that are gone stay among them.
func holders(t *Topology, gone map[NodeID]bool) (nodes []Node, few bool) {
	var active []Node
	for _, n := range t.Nodes {
		if n.State == Active {
			active = append(active, n)
			if !gone[n.ID] {
				nodes = append(nodes, n)
			}
		}
	}
	if len(nodes) < min(t.Replicas, len(active)) || len(nodes) == 0 {
		return active, len(nodes) < len(active)
	}
	return nodes, false
}

// placement returns the op that makes a placement for nodes, levelled or only mended.
func (t *Topology) placement(nodes []Node, level bool) Op {
	was := make([][]NodeID, len(t.Shards))
	for i, row := range t.Shards {
		was[i] = row.Assigned
	}
	return t.placementFrom(was, nodes, level)
}

// placementFrom is placement that starts from other nodes than those to which the shards are assigned.
func (t *Topology) placementFrom(was [][]NodeID, nodes []Node, level bool) Op {
	op := Op{Kind: SetPlacement, Base: t.Placement.At, Placement: Placement{Nodes: digestOf(nodes), Kept: !level}}
	for i, members := range place(was, nodes, max(t.Replicas, 1), level) {
		if !slices.Equal(members, t.Shards[i].Assigned) {
			op.Places = append(op.Places, Placed{ShardID(i), members})
		}
	}
	return op
}

// digestOf returns a digest of all that a placement depends on.
func digestOf(nodes []Node) string {
	h := xxhash.New()
	for _, n := range nodes { // by ID
		fmt.Fprintf(h, "%q %q %d\n", n.ID, n.Zone, n.Share())
	}
	return fmt.Sprintf("%016x", h.Sum64())
}
