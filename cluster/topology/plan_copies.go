package topology

import (
	"cmp"
	"slices"
)

// copies makes assigned nodes without a copy learners, and drops learners that are not assigned any longer. Both wait
// for a primary. It fills the copies of learners; and as long as a shard has none, a learner may have what all of the
// ISR lost.
//
// A promotion raises the epoch of its row, so what its row needs comes with the next plan.
func (p *planner) copies() {
	b := p.underWay()
	promoted := map[ShardID]bool{}
	for _, op := range p.ops {
		promoted[op.Shard] = promoted[op.Shard] || op.Kind == Promote
	}
	for _, m := range p.missing() {
		if !promoted[m.shard] && !p.v.Paused && b.takes(m) == "" {
			b.add(m)
			n, _ := p.t.Node(m.to)
			p.ops = append(p.ops, Op{Kind: AddLearner, Shard: m.shard, Epoch: p.t.Shards[m.shard].Epoch, Node: m.to, Incarnation: n.Incarnation})
		}
	}
	for i, row := range p.t.Shards {
		if shard := ShardID(i); row.Primary != "" && !promoted[shard] {
			p.dropLearners(shard, row)
		}
	}
}

// missingCopy is a copy that a node should have and does not begin to have.
type missingCopy struct {
	shard    ShardID
	from, to NodeID // the primary and the node that should have the copy
	urgency  int    // lower comes first
}

// missing returns the copies that could begin to catch up, the most urgent first: those of shards with too few clean copies, then those
// that nodes have which should have none, then all others. A dead node becomes a learner when it is back.
func (p *planner) missing() (all []missingCopy) {
	for i, row := range p.t.Shards {
		for _, id := range p.assigned[i] {
			n, _ := p.t.Node(id)
			if !p.alive(row.Primary) || row.hasCopy(id) || n.State != Active || !p.alive(id) {
				continue
			}
			all = append(all, missingCopy{ShardID(i), row.Primary, id, p.urgency(row)})
		}
	}
	slices.SortStableFunc(all, func(a, b missingCopy) int { return cmp.Compare(a.urgency, b.urgency) })
	return all
}

func (p *planner) urgency(row Shard) int {
	clean := row.Clean()
	if len(clean) < p.t.Replicas {
		return len(clean)
	}
	leaves := func(id NodeID) bool {
		n, _ := p.t.Node(id)
		return n.State != Active
	}
	if slices.ContainsFunc(row.ISR, leaves) {
		return p.t.Replicas
	}
	return p.t.Replicas + 1
}

// dropLearners comes after the learners that are added: each drop raises the epoch.
func (p *planner) dropLearners(shard ShardID, row Shard) {
	epoch := row.Epoch
	for _, id := range row.Learners {
		if !slices.Contains(p.assigned[shard], id) {
			n, _ := p.t.Node(id)
			p.ops = append(p.ops, Op{Kind: DropLearner, Shard: shard, Epoch: epoch, Node: id, Incarnation: n.Incarnation})
			epoch++
		}
	}
}
