package topology

import "slices"

// Handover returns what a node proposes to give away: the shards that it serves, has the only copy of, are empty, and ought to be elsewhere. Before it proposes one it closes the shard; what
// empty said must still be so then. A node that is leaving also gives them to a later place, when the first is not there.
//
// alive says who lives, in the incarnation that this topology has. empty is asked last, as it may cost something.
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
		places := row.Assigned[:1]
		if me.State == Leaving {
			places = row.Assigned
		}
		if here := slices.Index(places, self); here >= 0 {
			places = places[:here]
		}
		for _, id := range places {
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
