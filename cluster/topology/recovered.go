package topology

import "slices"

// RecoveryGap is the minimum by which a recovery raises every epoch. It exceeds the epochs that the lost
// majority may have decided unknown to this copy of the topology.
const RecoveryGap = 1 << 20

// Recovered returns the topology with which a cluster continues after losing a majority of its voters for
// good. t may lack the last decisions, which live nodes may have carried out already. So the result has
// no primaries: they must be decided again, in epochs that are higher by gap than any before. Copies
// stay where they are.
func (t *Topology) Recovered(index, gap uint64) *Topology {
	next := *t
	next.Index, next.Recovery = index, index
	next.Shards = slices.Clone(t.Shards)
	for i := range next.Shards {
		next.Shards[i].Epoch += gap
		next.Shards[i].Primary = ""
	}
	return &next
}
