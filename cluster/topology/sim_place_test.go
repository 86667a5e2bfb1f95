package topology

import (
	"fmt"
	"slices"
)

// Operators and loads in the simulation: who should have copies, and who has room for them.

// seeMoves adds to a view what the controller knows about moves. What nodes said may be old or missing.
func (s *sim) seeMoves(v *View) {
	v.Gone, v.Loads = map[NodeID]bool{}, map[NodeID]*Load{}
	t := s.newest()
	for _, n := range s.nodes {
		v.Gone[n.id] = !n.up && (s.calm || s.chance(50))
		if v.Gone[n.id] {
			s.counts["replaced a dead node"]++
		}
		if !n.up || !s.calm && s.chance(20) {
			continue
		}
		load := &Load{Incarnation: n.incarnation, Memory: NoLimit, Disk: NoLimit}
		if !s.calm && s.chance(30) {
			load.Memory = s.r.Int64N(100)
		}
		for i := range t.Shards {
			if t.Shards[i].Primary == n.id && s.chance(90) {
				load.Shards = append(load.Shards, ShardLoad{Shard: ShardID(i), Bytes: s.r.Int64N(60)})
			}
		}
		if s.chance(5) { // what a node says may be nonsense
			load.Shards = append(load.Shards, ShardLoad{Shard: ShardID(s.r.IntN(3*simShards) - simShards), Bytes: 1 << 40})
		}
		v.Loads[n.id] = load
	}
	if !s.calm {
		v.Paused = s.chance(20)
		v.Rebalance = []string{RebalanceAuto, RebalanceOperator, ""}[s.r.IntN(3)]
	}
}

// operate does what an operator may do about the placement, by a topology that may be old.
func (s *sim) operate(n *simNode) {
	t := s.newest()
	if n.applied < len(s.history) && s.chance(30) {
		t = s.history[n.applied]
	}
	if len(t.Nodes) == 0 {
		return
	}
	node := t.Nodes[s.r.IntN(len(t.Nodes))]
	var ops []Op
	switch s.r.IntN(5) {
	case 0:
		ops = []Op{{Kind: NodeDrain, Node: node.ID, Base: t.Placement.At}}
		s.counts["drained"]++
	case 1, 2:
		ops = []Op{{Kind: NodeStay, Node: node.ID}}
	case 3:
		ops = []Op{s.placement()}
	default:
		op := Op{Kind: SetPlacement, Base: t.Placement.At, Placement: t.Placement}
		members := []NodeID{node.ID}
		for range s.r.IntN(3) {
			if id := t.Nodes[s.r.IntN(len(t.Nodes))].ID; !slices.Contains(members, id) {
				members = append(members, id)
			}
		}
		op.Places = []Placed{{ShardID(s.r.IntN(simShards)), members}}
		ops = []Op{op}
		s.counts["placed by an operator"]++
	}
	s.inFlight = append(s.inFlight, simMessage{command: Command{ops}})
}

// placement returns a level placement.
func (s *sim) placement() Op {
	t := s.newest()
	gone := map[NodeID]bool{}
	for _, n := range s.nodes {
		gone[n.id] = !n.up
	}
	nodes, few := holders(t, gone)
	return t.placement(nodes, !few)
}

// checkWaits checks that a copy which does not begin to move waits for something.
func checkWaits(t *Topology, v View) error {
	p := &planner{t: t, v: v}
	for _, row := range t.Shards {
		p.assigned = append(p.assigned, row.Assigned)
	}
	b := p.underWay()
	for _, m := range p.missing() {
		if b.takes(m) == "" && !v.Paused {
			return fmt.Errorf("%s waits for nothing, and gets no copy of shard %d", m.to, m.shard)
		}
	}
	return nil
}
