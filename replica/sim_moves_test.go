package replica

import (
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// assign changes which nodes should have copies of a shard. Often the primary stays the first, so that the leader epoch goes on.
func (s *sim) assign() {
	t := s.newest()
	if t.Cluster == "" || s.noLeader {
		return
	}
	shard := s.r.IntN(simShards)
	primary := t.Shards[shard].Primary
	var ids []topology.NodeID
	for _, n := range t.Nodes {
		ids = append(ids, n.ID)
	}
	s.r.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	if i := slices.Index(ids, primary); i >= 0 && s.chance(80) {
		ids[0], ids[i] = ids[i], ids[0]
		s.slow = ""
	}
	s.addProposal(simProposal{shard: -1, op: []topology.Op{placeOp(t, shard, ids[:min(s.replicas, len(ids))]...)}})
}

// placeOp returns the op by which an operator chooses the nodes for the copies of a shard.
func placeOp(t *topology.Topology, shard int, members ...topology.NodeID) topology.Op {
	placed := topology.Placed{Shard: topology.ShardID(shard), Members: members}
	return topology.Op{Kind: topology.SetPlacement, Base: t.Placement.At, Placement: t.Placement, Places: []topology.Placed{placed}}
}

// bringBack makes a process a learner that has dropped its copy, while the primary has learned of no row without it.
func (s *sim) bringBack() {
	for _, p := range s.running() {
		for _, c := range p.copies {
			t, row := s.newest(), c.c.Config()
			if !c.c.Primary() || s.noLeader || t.Shards[c.shard].LeaderEpoch != row.LeaderEpoch || p.cut {
				continue
			}
			for _, q := range s.running() {
				if of := q.copies[c.shard].c; of.Owed() == 0 || of.Config().LeaderEpoch != row.LeaderEpoch || q.cut || !row.has(q.self) || named(&t.Shards[c.shard], q.host.id) {
					continue
				}
				s.counts["brought back"]++
				members := []topology.NodeID{p.host.id, q.host.id}
				for _, n := range t.Nodes {
					if len(members) < s.replicas && !slices.Contains(members, n.ID) {
						members = append(members, n.ID)
					}
				}
				s.decide(simProposal{op: []topology.Op{placeOp(t, c.shard, members...)}})
				s.decide(simProposal{op: []topology.Op{{
					Kind: topology.AddLearner, Shard: topology.ShardID(c.shard), Epoch: s.newest().Shards[c.shard].Epoch, Node: q.host.id, Incarnation: q.self.Incarnation,
				}}})
				s.learn(p, len(s.history)-1)
				return
			}
		}
	}
}

// named reports whether a row has a node.
func named(row *topology.Shard, id topology.NodeID) bool {
	return row.Primary == id || slices.Contains(row.ISR, id) || slices.Contains(row.Learners, id) || slices.Contains(row.Assigned, id)
}

// checkExpanded: a copy comes into the ISR with all that is committed.
func (s *sim) checkExpanded(op *topology.Op) {
	for _, p := range s.running() {
		c, sh := p.copies[op.Shard], &s.shards[op.Shard]
		if p.self == (Process{string(op.Node), op.Incarnation}) && sh.pending == 0 && len(c.log) < len(sh.log) {
			s.fail("%v comes into the ISR of shard %d with %d of %d records", p.self, op.Shard, len(c.log), len(sh.log))
		}
	}
}

// moveCopies lets primaries propose what brings copies to where they are assigned.
func (s *sim) moveCopies() {
	for _, p := range s.running() {
		t := s.history[p.applied]
		for _, op := range t.Moves(p.host.id, func(topology.NodeID) bool { return true }, func(topology.ShardID) bool { return false }) {
			if int(op.Shard) >= simShards || !p.copies[op.Shard].gate {
				continue
			}
			c, to := p.copies[op.Shard], Process{string(op.Node), op.Incarnation}
			if op.Kind == topology.ShrinkISR {
				c.apply(c.c.Lagging(to))
				s.slow = p.host.id // it is slow to learn of that
			} else {
				c.apply(c.c.Transfer(to))
			}
		}
	}
}

// dropCopies lets processes drop copies that their rows do not name.
func (s *sim) dropCopies() {
	for _, p := range s.running() {
		n, known := s.history[p.applied].Node(p.host.id)
		if !known || n.Incarnation != p.self.Incarnation {
			continue
		}
		for _, c := range p.copies {
			if len(c.log) > 0 && c.c.MayDrop(s.now) {
				s.event("%v drops its copy of shard %d with %v", p.self, c.shard, c.c.End())
				s.counts["dropped"]++
				c.drop()
			}
		}
	}
}

func (c *simCopy) drop() {
	c.c.Drop()
	c.log, c.visible, c.asks = nil, 0, c.c.Owed() > 0
	c.p.host.folder.broken[c.shard] = false
	c.store()
}

// settleMoves lets copies come to where they are assigned before a run looks whether all is at rest.
func (s *sim) settleMoves() {
	if s.moves {
		s.moveCopies()
		s.dropCopies()
	}
}

// misplaced reports whether a copy of a shard is not where it is assigned.
func (s *sim) misplaced(row *topology.Shard) bool {
	return s.moves && slices.ContainsFunc(row.ISR, func(id topology.NodeID) bool { return !slices.Contains(row.Assigned, id) })
}
