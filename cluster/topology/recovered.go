package topology

import "slices"

// RecoveryGap is the minimum by which a recovery raises every epoch. It exceeds the epochs that the lost
// majority may have decided unknown to this copy of the topology.
const RecoveryGap = 1 << 20

// Recovered returns the topology with which a cluster continues after losing a majority of its voters for
// good. t may lack the last decisions, which live nodes may have carried out already. So the result has
// no primaries: they must be decided again, in epochs that are higher by gap than any before. Copies
// stay where they are, and all of them are unclean: an ISR may be stale, so each promotion waits for all members,
// asks all copies, and counts as a possible loss.
func (t *Topology) Recovered(index, gap uint64) *Topology {
	next := *t
	next.Index, next.Recovery = index, index
	next.Shards = slices.Clone(t.Shards)
	for i := range next.Shards {
		row := &next.Shards[i]
		row.Epoch += gap
		row.Primary = ""
		if t.Format == Format0 {
			continue
		}
		row.Relinquished = false
		row.Unclean, row.Lossy = slices.Clone(row.ISR), len(row.ISR) > 0
		if len(row.ISR) == 0 && len(row.Wiped) == 0 {
			next.PossibleLosses++ // it may have started empty already, and does so again
		}
	}
	return &next
}
