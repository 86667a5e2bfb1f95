package topology

import (
	"cmp"
	"slices"
)

// Place returns the nodes that should have copies of each shard, the preferred primary first, if none is
// assigned yet. It assigns nothing to leaving nodes. The order of nodes does not matter.
func Place(nodes []Node, shards, replicas int) [][]NodeID {
	return Rebalance(make([][]NodeID, max(shards, 0)), nodes, replicas)
}

// Rebalance returns the nodes that should have copies of each shard, given the nodes assigned now:
// was[shard], empty if none is.
//
// A ring with bounded loads proposes the primaries, which are then balanced: each node has the average,
// rounded down or up. If the assignment is balanced and a node joins, it takes its share and nothing else
// moves; if a node goes, its shards are spread and nothing else moves. An assignment that is balanced for
// these nodes stays unchanged. docs/decisions/placement.md says why the ring alone is not enough.
//
// Replicas are the nodes with the highest scores for the shard (rendezvous hashing), nodes in zones
// without a copy first. So the replicas of one node's shards are spread over all other nodes.
func Rebalance(was [][]NodeID, nodes []Node, replicas int) [][]NodeID {
	p := newPlacer(nodes)
	out := make([][]NodeID, len(was))
	if len(p.nodes) == 0 {
		return out
	}
	for shard, i := range p.primaries(was) {
		out[shard] = p.withReplicas(ShardID(shard), i, replicas)
	}
	return out
}

// placer computes one placement.
type placer struct {
	nodes []Node // by ID
	index map[NodeID]int
	hash  []uint64 // of the IDs
	load  []int    // primaries of each node so far
	quota []int    // primaries that each node should have

	scores []uint64 // scratch of withReplicas
	taken  []bool
}

func newPlacer(nodes []Node) *placer {
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

// unplaced marks a shard without a primary.
const unplaced = -1

// primaries returns the primary of each shard, as an index into p.nodes.
func (p *placer) primaries(was [][]NodeID) []int {
	at := make([]int, len(was))
	for shard, nodes := range was {
		at[shard] = unplaced
		if len(nodes) > 0 {
			if i, ok := p.index[nodes[0]]; ok {
				at[shard] = i
				p.load[i]++
			}
		}
	}
	if p.balanced(at) {
		return at
	}
	ring := p.ring(len(was))
	p.setQuotas(at, ring)
	p.release(at, ring)
	p.fill(at, ring)
	return at
}

// balanced reports whether all shards are placed, and the loads differ by at most one.
func (p *placer) balanced(at []int) bool {
	return !slices.Contains(at, unplaced) && slices.Max(p.load)-slices.Min(p.load) <= 1
}

// setQuotas sets the quota of each node to the average, rounded down, plus one for as many nodes as needed.
// To move few shards, the nodes with the highest load, then those with the most proposals of the ring, get the extra one.
func (p *placer) setQuotas(at, ring []int) {
	wish := slices.Clone(p.load)
	for shard, i := range at {
		if i == unplaced {
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

// release unplaces the shards that a node has above its quota, first those that the ring proposes for a node below its quota.
func (p *placer) release(at, ring []int) {
	lack := make([]int, len(p.nodes))
	for i := range lack {
		lack[i] = max(p.quota[i]-p.load[i], 0)
	}
	free := func(shard int) {
		p.load[at[shard]]--
		at[shard] = unplaced
	}
	for shard, i := range at {
		if to := ring[shard]; i != unplaced && p.load[i] > p.quota[i] && lack[to] > 0 {
			lack[to]--
			free(shard)
		}
	}
	for _, shard := range scattered(len(at)) {
		if i := at[shard]; i != unplaced && p.load[i] > p.quota[i] {
			free(shard)
		}
	}
}

// fill places each unplaced shard on the node that the ring proposes if it is below its quota, or else on
// the node below its quota with the highest score.
func (p *placer) fill(at, ring []int) {
	put := func(shard, i int) {
		at[shard] = i
		p.load[i]++
	}
	order := scattered(len(at))
	for _, shard := range order {
		if i := ring[shard]; at[shard] == unplaced && p.load[i] < p.quota[i] {
			put(shard, i)
		}
	}
	for _, shard := range order {
		if at[shard] != unplaced {
			continue
		}
		best := unplaced
		for i := range p.nodes {
			if p.load[i] < p.quota[i] && (best == unplaced || p.score(i, ShardID(shard)) > p.score(best, ShardID(shard))) {
				best = i
			}
		}
		put(shard, best) // the quotas add up to the number of shards
	}
}

// withReplicas returns the nodes for all copies of a shard with the given primary.
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
		best, far := unplaced, false // far: in a zone without a copy
		for i := range p.nodes {
			if p.taken[i] {
				continue
			}
			other := !zones[p.nodes[i].Zone]
			if best == unplaced || other && !far || other == far && p.scores[i] > p.scores[best] {
				best, far = i, other
			}
		}
		zones[p.nodes[best].Zone], p.taken[best] = true, true
		out = append(out, p.nodes[best].ID)
	}
	return out
}
