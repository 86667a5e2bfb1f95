package topology

import "slices"

// RecoveryGap is the least by which a recovery raises every epoch: above any that the lost majority may have decided on without this copy of the topology knowing.
const RecoveryGap = 1 << 20

// Recovered returns the topology with which a cluster goes on after a majority of its voters was lost for good. This one may lack the last decisions, which nodes that live have done
// already: so nobody serves anything until that is decided anew, in epochs above all that there were, by gap. Copies stay where they are.
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
