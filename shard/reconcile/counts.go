package reconcile

import (
	"slices"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
)

// Counts are totals of this node since its start.
type Counts struct {
	Shrinks, Expands atomic.Int64 // members that left or joined the ISR of a shard while this node led it
	Failovers        atomic.Int64 // shards that this node leads because their last primary was lost
}

// Counts returns the totals.
func (r *Reconciler) Counts() *Counts { return &r.counts }

// history is the last row of each shard, and the last primary that it had.
type history struct {
	rows []topology.Shard
	last []topology.NodeID
}

// note counts what has changed in the rows since the last call. Rows may be missing in between.
func (c *Counts) note(h *history, t *topology.Topology, self topology.NodeID) {
	if len(h.rows) != len(t.Shards) {
		*h = history{rows: make([]topology.Shard, len(t.Shards)), last: make([]topology.NodeID, len(t.Shards))}
	}
	for i := range t.Shards {
		was, row, last := &h.rows[i], &t.Shards[i], h.last[i]
		if was.Epoch == row.Epoch && was.Epoch != 0 {
			continue
		}
		if row.Primary == self && was.Epoch != 0 {
			switch {
			case was.Primary == self && was.PrimarySince() == row.PrimarySince():
				c.Shrinks.Add(missing(was.ISR, row.ISR))
				c.Expands.Add(missing(row.ISR, was.ISR))
			case last != "" && last != self && !slices.Contains(row.ISR, last):
				c.Failovers.Add(1) // a planned handover keeps the last primary in the ISR
			}
		}
		h.rows[i] = *row
		if row.Primary != "" {
			h.last[i] = row.Primary
		}
	}
}

// missing returns how many nodes of a list are not in another one.
func missing(of, in []topology.NodeID) (n int64) {
	for _, id := range of {
		if !slices.Contains(in, id) {
			n++
		}
	}
	return n
}
