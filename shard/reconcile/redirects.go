package reconcile

import (
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// redirects are the shards that were handed over by this node and are still shown to clients as its own. Until the new
// primary routes by the new row, a redirect would bounce between the two nodes, and most clients give up after a few
// without a pause in between. So commands for such a shard wait here, as they do while a handover is pending.
type redirects map[topology.ShardID]heldRedirect

type heldRedirect struct {
	epoch    uint64          // since which the row names the new primary
	to       topology.NodeID // the new primary
	released bool            // the new primary routes by that row, or did not say so in time
}

// hold returns t as clients may see it: shards whose redirects are held are still this node's, as they were in shown,
// the topology that clients saw last. It also returns the nodes to ask whether they route by t; each is returned once
// per row.
func (r redirects) hold(t, shown *topology.Topology, self topology.NodeID, alive func(topology.NodeID) bool) (next *topology.Topology, ask []topology.NodeID) {
	next = t
	for i, row := range t.Shards {
		id := topology.ShardID(i)
		ours := shown != nil && i < len(shown.Shards) && shown.Shards[i].Primary == self
		if !ours || row.Primary == "" || row.Primary == self || !alive(row.Primary) {
			delete(r, id)
			continue
		}
		held, known := r[id]
		if !known || held.epoch != row.PrimarySince() {
			held = heldRedirect{epoch: row.PrimarySince(), to: row.Primary}
			r[id] = held
			if !slices.Contains(ask, held.to) {
				ask = append(ask, held.to)
			}
		}
		if held.released {
			delete(r, id)
			continue
		}
		if next == t {
			changed := *t
			changed.Shards = slices.Clone(t.Shards)
			next = &changed
		}
		next.Shards[i] = shown.Shards[i]
	}
	return next, ask
}

// release lets clients be redirected to a node that routes by t. The next hold acts on it.
func (r redirects) release(to topology.NodeID, t *topology.Topology) {
	for id, held := range r {
		if held.to == to && held.epoch <= t.Shards[id].PrimarySince() {
			held.released = true
			r[id] = held
		}
	}
}
