package topology

import (
	"cmp"
	"slices"
)

// Times of the controller, in milliseconds.
const (
	// SettleTime is how long the set of members must have been as it is before copies are assigned anew: nodes that are started together then count once.
	SettleTime = 1_000
	// FlapPenalty is how long a node gets no primaries after its last coming or going, once there were MaxFlaps of them within a minute.
	FlapPenalty = 60_000
	// MaxFlaps is how often a node may come and go in a minute.
	MaxFlaps = 3
)

// Liveness is what the controller sees of one node.
type Liveness struct {
	Alive       bool
	Incarnation uint64 // of the process that is alive
	Since       int64  // ms since when it is as it is
	Flaps       int    // comings and goings in the last minute
	LastFlap    int64  // ms of the last of them
}

// View is what the controller sees of the world. Its times are of one clock, the controller's.
type View struct {
	Now          int64 // ms
	Nodes        map[NodeID]Liveness
	NodesChanged int64 // ms of the last change of the set of members
}

// Plan returns what the controller proposes now. Done, it leaves nothing to be planned for the same view.
//
// A node that flaps comes last where a primary is to be given out, but it is not left out: a shard whose only copy it has, or one when nobody else lives, would be down for a minute for nothing.
func (t *Topology) Plan(v View) []Op {
	if t.Cluster == "" {
		return nil
	}
	p := planner{t: t, v: v, assigned: make([][]NodeID, len(t.Shards)), load: map[NodeID]int{}}
	p.assign()
	p.promote()
	p.forget()
	return p.ops
}

type planner struct {
	t        *Topology
	v        View
	ops      []Op
	assigned [][]NodeID     // as this plan has it
	load     map[NodeID]int // primaries, as this plan has it
}

// assign brings Assigned to what Rebalance says of the members, dead ones too: they may come back, and it is for NodeForget to say that they will not.
func (p *planner) assign() {
	never := true
	for i, row := range p.t.Shards {
		p.assigned[i] = row.Assigned
		never = never && len(row.Assigned) == 0
	}
	if !never && p.v.Now-p.v.NodesChanged < SettleTime {
		return
	}
	for i, want := range Rebalance(p.assigned, p.t.Nodes, p.t.Replicas) {
		if !slices.Equal(want, p.assigned[i]) {
			p.ops = append(p.ops, Op{Kind: Assign, Shard: ShardID(i), Epoch: p.t.Shards[i].Epoch, Members: want})
			p.assigned[i] = want
		}
	}
}

// promote gives each shard without a primary to a live copy; one without any copy begins empty where it is assigned, or else anywhere.
func (p *planner) promote() {
	for _, row := range p.t.Shards {
		if row.Primary != "" {
			p.load[row.Primary]++
		}
	}
	for i, row := range p.t.Shards {
		if row.Primary != "" {
			continue
		}
		op := Op{Kind: Promote, Shard: ShardID(i), Epoch: row.Epoch}
		if len(row.ISR) > 0 {
			op.Members = p.live(row.ISR)
			op.Node = p.best(op.Members, p.assigned[i])
		} else {
			op.Empty = true
			op.Node = p.best(p.live(p.active()), p.assigned[i])
		}
		if op.Node == "" {
			continue // until one comes back, or is forgotten
		}
		n, _ := p.t.Node(op.Node)
		op.Incarnation = n.Incarnation
		p.load[op.Node]++
		p.ops = append(p.ops, op)
	}
}

// live returns those of the nodes that live as the process that the topology knows. One that lives as a later process has not joined yet.
func (p *planner) live(nodes []NodeID) []NodeID {
	var out []NodeID
	for _, id := range nodes {
		n, ok := p.t.Node(id)
		if sight := p.v.Nodes[id]; ok && sight.Alive && sight.Incarnation == n.Incarnation {
			out = append(out, id)
		}
	}
	return out
}

func (p *planner) active() []NodeID {
	var out []NodeID
	for _, n := range p.t.Nodes {
		if n.State == Active {
			out = append(out, n.ID)
		}
	}
	return out
}

// best returns which of the nodes is to serve a shard: one that does not flap, is not leaving, comes early in assigned, has few primaries.
func (p *planner) best(nodes, assigned []NodeID) NodeID {
	if len(nodes) == 0 {
		return ""
	}
	return slices.MinFunc(nodes, func(a, b NodeID) int {
		return cmp.Or(p.doubt(a)-p.doubt(b), rank(a, assigned)-rank(b, assigned), p.load[a]-p.load[b], cmp.Compare(a, b))
	})
}

func (p *planner) doubt(id NodeID) int {
	doubt := 0
	if s := p.v.Nodes[id]; s.Flaps >= MaxFlaps && p.v.Now-s.LastFlap < FlapPenalty {
		doubt += 2
	}
	if n, _ := p.t.Node(id); n.State == Leaving {
		doubt++
	}
	return doubt
}

func rank(id NodeID, assigned []NodeID) int {
	if i := slices.Index(assigned, id); i >= 0 {
		return i
	}
	return len(assigned)
}

// forget takes out the leaving nodes that hold nothing, and are to hold nothing, once the rest of the plan is done. The last node of a cluster stays. Apply looks again whether they hold something.
func (p *planner) forget() {
	if !slices.ContainsFunc(p.t.Nodes, func(n Node) bool { return n.State == Leaving }) {
		return
	}
	then, _ := p.t.Apply(p.t.Index, Command{p.ops})
	left := len(then.Nodes)
	for _, n := range then.Nodes {
		needed := then.holds(n.ID) || slices.ContainsFunc(then.Shards, func(row Shard) bool { return slices.Contains(row.Assigned, n.ID) })
		if n.State == Leaving && !needed && left > 1 {
			p.ops = append(p.ops, Op{Kind: NodeForget, Node: n.ID, Incarnation: n.Incarnation, Empty: true})
			left--
		}
	}
}
