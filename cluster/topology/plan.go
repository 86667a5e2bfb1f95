package topology

import (
	"cmp"
	"slices"
)

// Times of the controller, in milliseconds.
const (
	// SettleTime is how long the set of members must have been unchanged before the controller assigns
	// copies again: nodes that start together then cause one change.
	SettleTime = 1_000
	// FlapPenalty is how long a node gets no primaries after its last flap, once it had MaxFlaps within a minute.
	FlapPenalty = 60_000
	// MaxFlaps is how often the liveness of a node may change in a minute.
	MaxFlaps = 3
	// ReportWait is how long after the first report of a shard the controller waits for the other members of the
	// ISR that gossip sees alive.
	ReportWait = 100
	// UncleanWait is how long a shard without a clean copy waits for copies outside the ISR, once the ISR has reported.
	UncleanWait = 60_000
	// EmptyAfter is how long a shard whose last copy was wiped waits before it starts empty without an operator.
	EmptyAfter = 60_000
)

// Values of View.EmptyShards: who decides that a shard whose last copy was wiped starts empty.
const (
	EmptyAuto     = "auto"     // the controller, after EmptyAfter
	EmptyOperator = "operator" // an operator
)

// Liveness is what gossip knows about one node.
type Liveness struct {
	Alive       bool
	Stopping    bool   // it is about to stop, and hands its shards over
	Incarnation uint64 // of the live process
	Since       int64  // ms; when Alive last changed
	Flaps       int    // changes of Alive in the last minute
	LastFlap    int64  // ms of the last of them
	Format      int    // the latest format of a topology that all live processes of the node know; 0 stands for Format1
}

// View is what the controller knows beside the topology. Its times are from the controller's clock.
type View struct {
	Now          int64 // ms
	Nodes        map[NodeID]Liveness
	NodesChanged int64 // ms of the last change of the set of members
	// Reports has the newest report of each process, by shard. Plan ignores those of another epoch or incarnation.
	Reports map[ShardID][]Report
	// EmptyShards is EmptyAuto or EmptyOperator; anything else counts as EmptyOperator.
	EmptyShards string
	// WipedSince says of the nodes that WipedNodes returns since when, in ms, gossip has seen the node as it joined
	// and no other process of its id. No entry: it does not.
	WipedSince map[NodeID]int64
	// Format is the format that the topology should have; an earlier one changes nothing. One after Format1 waits for all members: each
	// must be alive and know it.
	Format int
	// Gone has the nodes that have been dead for so long that others get their copies.
	Gone map[NodeID]bool
	// Rebalance is RebalanceAuto or RebalanceOperator; anything else counts as RebalanceAuto.
	Rebalance string
	// Paused: no copy begins to move.
	Paused bool
	// Loads is what nodes have said about their room and their shards.
	Loads map[NodeID]*Load
}

// Plan returns the ops that the controller should propose: who should have copies of each shard, who becomes the primary,
// who catches up, and which nodes are gone. Once they are applied, the same view needs no more, except for the learners of
// shards that they gave a primary.
//
// A flapping node is the last choice for a primary, but it is a choice: otherwise a shard whose only live
// copy it has would be down for a minute for nothing. A topology of an earlier format than the view's gets the
// new format first.
func (t *Topology) Plan(v View) []Op {
	if t.Cluster == "" {
		return nil
	}
	if want := nextFormat(t, v); t.Format < want {
		first := Op{Kind: SetFormat, Format: want}
		next, _ := t.Apply(t.Index, Command{[]Op{first}})
		return append([]Op{first}, next.Plan(v)...)
	}
	p := &planner{t: t, v: v, assigned: make([][]NodeID, len(t.Shards)), load: map[NodeID]int{}}
	p.assign()
	for _, row := range t.Shards {
		if row.Primary != "" {
			p.load[row.Primary]++
		}
	}
	if t.Format == Format0 {
		p.promote0()
	} else {
		p.promote()
		p.copies()
	}
	p.forget()
	return p.ops
}

// nextFormat returns the format that all nodes know by now.
func nextFormat(t *Topology, v View) int {
	want := min(v.Format, LatestFormat)
	for _, n := range t.Nodes {
		sight := v.Nodes[n.ID]
		if !sight.Alive {
			return min(want, Format1)
		}
		want = min(want, max(sight.Format, Format1))
	}
	return want
}

type planner struct {
	t        *Topology
	v        View
	ops      []Op
	assigned [][]NodeID     // after the ops
	load     map[NodeID]int // primaries after the ops
}

// live returns the nodes that are alive in the incarnation of the topology. A later incarnation has not joined yet.
func (p *planner) live(nodes []NodeID) []NodeID {
	var out []NodeID
	for _, id := range nodes {
		if p.alive(id) {
			out = append(out, id)
		}
	}
	return out
}

// alive reports whether gossip sees a node alive in the incarnation of the topology.
func (p *planner) alive(id NodeID) bool {
	n, ok := p.t.Node(id)
	sight := p.v.Nodes[id]
	return ok && sight.Alive && sight.Incarnation == n.Incarnation
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

// best returns the best primary: a node that does not flap, is not leaving, comes early in assigned, and has few primaries.
func (p *planner) best(nodes, assigned []NodeID) NodeID {
	if len(nodes) == 0 {
		return ""
	}
	return slices.MinFunc(nodes, func(a, b NodeID) int {
		return cmp.Or(p.demerits(a)-p.demerits(b), rank(a, assigned)-rank(b, assigned), p.load[a]-p.load[b], cmp.Compare(a, b))
	})
}

// demerits ranks nodes for best: fewer are better.
func (p *planner) demerits(id NodeID) int {
	n := 0
	s := p.v.Nodes[id]
	if s.Flaps >= MaxFlaps && p.v.Now-s.LastFlap < FlapPenalty {
		n += 2
	}
	if s.Stopping {
		n += 4
	}
	if node, _ := p.t.Node(id); node.State != Active {
		n++
	}
	return n
}

func rank(id NodeID, assigned []NodeID) int {
	if i := slices.Index(assigned, id); i >= 0 {
		return i
	}
	return len(assigned)
}

// forget removes leaving nodes that have no copy in an ISR and are assigned none, once the other ops are applied. It
// keeps the last node, and learners that may have what all of the ISR lost. Apply checks again that they have no copy.
func (p *planner) forget() {
	if !slices.ContainsFunc(p.t.Nodes, func(n Node) bool { return n.State == Leaving }) {
		return
	}
	then, _ := p.t.Apply(p.t.Index, Command{p.ops})
	left := len(then.Nodes)
	for _, n := range then.Nodes {
		needed := then.holds(n.ID) || slices.ContainsFunc(then.Shards, func(row Shard) bool {
			return slices.Contains(row.Assigned, n.ID) || row.AsksAll() && slices.Contains(row.Learners, n.ID)
		})
		if n.State == Leaving && !needed && left > 1 {
			p.ops = append(p.ops, Op{Kind: NodeForget, Node: n.ID, Incarnation: n.Incarnation, Empty: true})
			left--
		}
	}
}
