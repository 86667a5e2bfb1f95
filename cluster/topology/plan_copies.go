package topology

import "slices"

// copies makes assigned nodes without a copy learners, and drops learners that are not assigned any longer. Both wait
// for a primary. It fills the copies of learners; and as long as a shard has none, a learner may have what all of the
// ISR lost.
//
// A promotion raises the epoch of its row, so what its row needs comes with the next plan.
func (p *planner) copies() {
	promoted := map[ShardID]bool{}
	for _, op := range p.ops {
		promoted[op.Shard] = promoted[op.Shard] || op.Kind == Promote
	}
	for i, row := range p.t.Shards {
		if shard := ShardID(i); row.Primary != "" && !promoted[shard] {
			p.addLearners(shard, row)
			p.dropLearners(shard, row)
		}
	}
}

// addLearners adds the assigned nodes that can start to catch up. A dead one becomes a learner when it is back.
func (p *planner) addLearners(shard ShardID, row Shard) {
	for _, id := range p.assigned[shard] {
		if row.hasCopy(id) || !p.alive(id) {
			continue
		}
		if n, _ := p.t.Node(id); n.State == Active {
			p.ops = append(p.ops, Op{Kind: AddLearner, Shard: shard, Epoch: row.Epoch, Node: id, Incarnation: n.Incarnation})
		}
	}
}

// dropLearners comes after addLearners: each drop raises the epoch.
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
