package topology

import "slices"

// Handover returns the handovers that a node should propose: of shards that it serves, has the only copy
// of, are empty, and are assigned to another node. If the node is leaving and the preferred primary is
// not alive, a later assigned node gets the shard.
//
// alive reports whether a node is alive in the incarnation of this topology. empty reports whether a shard
// is empty, and must make sure that it stays so until the proposal is decided. It may be expensive, so
// it is called last.
func (t *Topology) Handover(self NodeID, alive func(NodeID) bool, empty func(ShardID) bool) []Op {
	me, ok := t.Node(self)
	if !ok {
		return nil
	}
	var out []Op
	for i, row := range t.Shards {
		if row.Primary != self || len(row.ISR) != 1 || len(row.Assigned) == 0 {
			continue
		}
		candidates := row.Assigned[:1]
		if me.State == Leaving {
			candidates = row.Assigned
		}
		if own := slices.Index(candidates, self); own >= 0 {
			candidates = candidates[:own]
		}
		for _, id := range candidates {
			n, known := t.Node(id)
			if !known || n.State == Leaving || !alive(id) {
				continue
			}
			if empty(ShardID(i)) {
				out = append(out, Op{Kind: TransferPrimary, Shard: ShardID(i), Epoch: row.Epoch, Node: id, Incarnation: n.Incarnation, Empty: true})
			}
			break
		}
	}
	return out
}
