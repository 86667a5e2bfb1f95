package topology

import "slices"

// Moves returns what a node should propose for the shards that it serves, so that their copies come to be where they
// are assigned: at most one op for each shard. Learners come by Plan and catch up first; ExpandISR is the affair of
// the primary that fills them.
//
//   - TransferPrimary to the preferred primary, once that has a copy. The shard keeps all of its copies.
//   - ShrinkISR of a member that is not assigned, once each assigned node has a copy. It never removes the node itself:
//     that hands over first.
//   - TransferPrimary with Empty, if shards have one copy, the node has it and it is empty: then no learner needs to catch up.
//
// alive reports whether another node is alive in the incarnation of this topology. empty reports whether a shard
// is empty, and must make sure that it stays so until the proposal is decided. It may be expensive, so
// it is called last, and only for a shard that is handed over if it is empty.
//
// Transfers come before shrinks. The primary of a shard makes one proposal at a time, so the caller may have to wait.
func (t *Topology) Moves(self NodeID, alive func(NodeID) bool, empty func(ShardID) bool) []Op {
	me, ok := t.Node(self)
	if !ok {
		return nil
	}
	m := mover{t: t, self: me, alive: alive}
	var transfers, shrinks []Op
	for i, row := range t.Shards {
		if row.Primary != self {
			continue
		}
		op := Op{Kind: TransferPrimary, Shard: ShardID(i), Epoch: row.Epoch}
		switch {
		case len(row.ISR) == 1 && t.Replicas > 1 && t.Format != Format0: // a learner catches up first, which a dead node that is still seen alive does not
		case len(row.ISR) == 1:
			if op.Node = m.heir(row); op.Node != "" && empty(op.Shard) {
				op.Empty = true
				transfers = append(transfers, m.named(op))
			}
		case t.Format == Format0: // it knows no copies
		default:
			if op.Node = m.successor(row); op.Node != "" {
				transfers = append(transfers, m.named(op))
			} else if op.Node = m.surplus(row); op.Node != "" {
				op.Kind = ShrinkISR
				shrinks = append(shrinks, m.named(op))
			}
		}
	}
	return append(transfers, shrinks...)
}

// mover finds what a node should propose for a row of which it is the primary.
type mover struct {
	t     *Topology
	self  Node
	alive func(NodeID) bool
}

// named adds the incarnation of the node that an op names.
func (m mover) named(op Op) Op {
	n, _ := m.t.Node(op.Node)
	op.Incarnation = n.Incarnation
	return op
}

// stays reports whether another node is alive and not leaving.
func (m mover) stays(id NodeID) bool {
	n, known := m.t.Node(id)
	return known && n.State == Active && m.alive(id)
}

// inSync reports whether another node stays and has a clean copy in the ISR.
func (m mover) inSync(row Shard, id NodeID) bool {
	return slices.Contains(row.ISR, id) && !slices.Contains(row.Unclean, id) && m.stays(id)
}

// heir returns the node that gets the shard if this one has its only copy and it is empty: the preferred
// primary, or, if this node leaves or is drained, the first assigned node that stays.
func (m mover) heir(row Shard) NodeID {
	for i, id := range row.Assigned {
		switch {
		case id == m.self.ID || i > 0 && m.self.State == Active:
			return ""
		case m.stays(id):
			return id
		}
	}
	return ""
}

// successor returns the member of the ISR that should be the primary instead of this node. A node that is to serve
// the shard waits for the preferred primary to catch up; one that is not hands over to any assigned node.
func (m mover) successor(row Shard) NodeID {
	goes := m.self.State != Active || !slices.Contains(row.Assigned, m.self.ID)
	for _, id := range row.Assigned {
		switch {
		case id == m.self.ID && !goes:
			return ""
		case id == m.self.ID:
		case m.inSync(row, id):
			return id
		case m.stays(id) && !goes:
			return "" // it is the preferred primary, and catches up
		}
	}
	return ""
}

// surplus returns a member of the ISR that is not assigned, if each assigned node, of which this is one, has a clean
// copy and stays. While one of them is down or leaves, the others are the copies that the shard has.
func (m mover) surplus(row Shard) NodeID {
	if m.self.State != Active || !slices.Contains(row.Assigned, m.self.ID) {
		return ""
	}
	for _, id := range row.Assigned {
		if id != m.self.ID && !m.inSync(row, id) {
			return ""
		}
	}
	for _, id := range row.ISR {
		if !slices.Contains(row.Assigned, id) {
			return id
		}
	}
	return ""
}
