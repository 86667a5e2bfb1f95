package topology

import "slices"

// Evacuate returns what a node that is about to stop should propose: for each shard that it serves and that has another
// clean copy in the ISR, a TransferPrimary to such a copy. It prefers an assigned node, and then one that gets few.
//
// stays reports whether another node is alive in the incarnation of this topology and is not about to stop itself. A node that leaves
// the cluster gets nothing: the transfer would be refused for ever, and the shard would wait for it closed.
func (t *Topology) Evacuate(self NodeID, stays func(NodeID) bool) []Op {
	var ops []Op
	gets := map[NodeID]int{}
	for i, row := range t.Shards {
		if row.Primary != self {
			continue
		}
		to := NodeID("")
		for _, id := range row.Clean() {
			if n, _ := t.Node(id); id != self && n.State == Active && stays(id) && (to == "" || t.prefers(row, id, to, gets)) {
				to = id
			}
		}
		if n, known := t.Node(to); known {
			gets[to]++
			ops = append(ops, Op{Kind: TransferPrimary, Shard: ShardID(i), Epoch: row.Epoch, Node: to, Incarnation: n.Incarnation})
		}
	}
	return ops
}

// Awaited returns how many shards a node that is about to stop serves that no other node could take over now, but one whose copy is
// catching up soon may.
func (t *Topology) Awaited(self NodeID, stays func(NodeID) bool) (n int) {
	takes := func(ids []NodeID) bool {
		return slices.ContainsFunc(ids, func(id NodeID) bool {
			node, _ := t.Node(id)
			return id != self && node.State == Active && stays(id)
		})
	}
	for _, row := range t.Shards {
		if row.Primary == self && !takes(row.Clean()) && (takes(row.Learners) || takes(row.Unclean)) {
			n++
		}
	}
	return n
}

// prefers reports whether a is a better primary than b for a shard of a node that stops.
func (t *Topology) prefers(row Shard, a, b NodeID, gets map[NodeID]int) bool {
	class := func(id NodeID) int {
		if slices.Contains(row.Assigned, id) {
			return 0
		}
		return 1
	}
	if class(a) != class(b) {
		return class(a) < class(b)
	}
	return gets[a] < gets[b]
}
