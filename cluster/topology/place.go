package topology

import (
	"cmp"
	"slices"
)

// Place returns where the copies of each shard ought to be, the primary's place first, when nothing is placed yet. Nodes that are leaving get none. The answer does not depend on the
// order of nodes.
func Place(nodes []Node, shards, replicas int) [][]NodeID {
	return Rebalance(make([][]NodeID, max(shards, 0)), nodes, replicas)
}

// Rebalance returns where the copies of each shard ought to be, given where they ought to be now: was[shard], empty for one that is not placed yet.
//
// Primaries are proposed by a ring with bounded loads and then levelled, so that each node has the average, rounded down or up. From a level placement, a node that joins takes its
// share and nothing else moves; the shards of one that goes are spread and nothing else moves. A placement that is level for these nodes stays.
// docs/decisions/placement.md says why the ring alone does not do.
//
// Replicas are the nodes with the highest scores for the shard (rendezvous hashing), of zones without a copy first: so the shards of one node have theirs on all others.
func Rebalance(was [][]NodeID, nodes []Node, replicas int) [][]NodeID {
	p := placeOn(nodes)
	out := make([][]NodeID, len(was))
	if len(p.nodes) == 0 {
		return out
	}
	for shard, i := range p.primaries(was) {
		out[shard] = p.withReplicas(ShardID(shard), i, replicas)
	}
	return out
}

// placer is the nodes that take part in one placement.
type placer struct {
	nodes []Node // by ID
	index map[NodeID]int
	hash  []uint64 // of the IDs
	load  []int    // how many shards each node has so far
	quota []int    // how many it shall have

	scores []uint64 // scratch of withReplicas
	taken  []bool
}

func placeOn(nodes []Node) *placer {
	p := &placer{index: map[NodeID]int{}}
	for _, n := range nodes {
		if n.State != Leaving {
			p.nodes = append(p.nodes, n)
		}
	}
	slices.SortStableFunc(p.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	p.nodes = slices.CompactFunc(p.nodes, func(a, b Node) bool { return a.ID == b.ID })
	p.hash, p.load, p.quota = make([]uint64, len(p.nodes)), make([]int, len(p.nodes)), make([]int, len(p.nodes))
	p.scores, p.taken = make([]uint64, len(p.nodes)), make([]bool, len(p.nodes))
	for i, n := range p.nodes {
		p.index[n.ID] = i
		p.hash[i] = hash{}.Sum64([]byte(n.ID))
	}
	return p
}

// homeless is the place of a shard that has none.
const homeless = -1

// primaries returns the primary's place of each shard, as an index into p.nodes.
func (p *placer) primaries(was [][]NodeID) []int {
	at := make([]int, len(was))
	for shard, nodes := range was {
		at[shard] = homeless
		if len(nodes) > 0 {
			if i, ok := p.index[nodes[0]]; ok {
				at[shard] = i
				p.load[i]++
			}
		}
	}
	if p.level(at) {
		return at
	}
	ring := p.ring(len(was))
	p.setQuotas(at, ring)
	p.release(at, ring)
	p.settle(at, ring)
	return at
}

// level reports whether all shards are placed, on each node as many as on any other, or one more.
func (p *placer) level(at []int) bool {
	return !slices.Contains(at, homeless) && slices.Max(p.load)-slices.Min(p.load) <= 1
}

// setQuotas says how many shards each node shall have: the average, rounded down, and one more for those that have the most, or that the ring would give the most, so that the fewest move.
func (p *placer) setQuotas(at, ring []int) {
	wish := slices.Clone(p.load)
	for shard, i := range at {
		if i == homeless {
			wish[ring[shard]]++
		}
	}
	order := make([]int, len(p.nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(p.load[b], p.load[a]), cmp.Compare(wish[b], wish[a]), cmp.Compare(p.hash[a], p.hash[b]), cmp.Compare(a, b))
	})
	for rank, i := range order {
		p.quota[i] = len(at) / len(p.nodes)
		if rank < len(at)%len(p.nodes) {
			p.quota[i]++
		}
	}
}

// release makes those shards homeless that a node has above its quota: first those that the ring gives to a node that lacks some.
func (p *placer) release(at, ring []int) {
	lack := make([]int, len(p.nodes))
	for i := range lack {
		lack[i] = max(p.quota[i]-p.load[i], 0)
	}
	free := func(shard int) {
		p.load[at[shard]]--
		at[shard] = homeless
	}
	for shard, i := range at {
		if to := ring[shard]; i != homeless && p.load[i] > p.quota[i] && lack[to] > 0 {
			lack[to]--
			free(shard)
		}
	}
	for _, shard := range scattered(len(at)) {
		if i := at[shard]; i != homeless && p.load[i] > p.quota[i] {
			free(shard)
		}
	}
}

// settle gives each homeless shard to the ring's choice where that has room, the rest to the node with room that scores highest.
func (p *placer) settle(at, ring []int) {
	put := func(shard, i int) {
		at[shard] = i
		p.load[i]++
	}
	order := scattered(len(at))
	for _, shard := range order {
		if i := ring[shard]; at[shard] == homeless && p.load[i] < p.quota[i] {
			put(shard, i)
		}
	}
	for _, shard := range order {
		if at[shard] != homeless {
			continue
		}
		best := homeless
		for i := range p.nodes {
			if p.load[i] < p.quota[i] && (best == homeless || p.score(i, ShardID(shard)) > p.score(best, ShardID(shard))) {
				best = i
			}
		}
		put(shard, best) // the quotas add up to the number of shards
	}
}

// withReplicas returns the places of all copies of a shard whose primary's place is given.
func (p *placer) withReplicas(shard ShardID, primary, replicas int) []NodeID {
	want := max(min(replicas, len(p.nodes)), 1)
	out := append(make([]NodeID, 0, want), p.nodes[primary].ID)
	if want == 1 {
		return out
	}
	for i := range p.nodes {
		p.scores[i], p.taken[i] = p.score(i, shard), i == primary
	}
	zones := map[string]bool{p.nodes[primary].Zone: true}
	for len(out) < want {
		best, far := homeless, false // far: of a zone that has no copy yet
		for i := range p.nodes {
			if p.taken[i] {
				continue
			}
			other := !zones[p.nodes[i].Zone]
			if best == homeless || other && !far || other == far && p.scores[i] > p.scores[best] {
				best, far = i, other
			}
		}
		zones[p.nodes[best].Zone], p.taken[best] = true, true
		out = append(out, p.nodes[best].ID)
	}
	return out
}
