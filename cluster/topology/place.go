package topology

import (
	"cmp"
	"slices"
)

// Place returns the nodes that should have copies of each shard, the preferred primary first, if none is
// assigned yet. It assigns nothing to nodes that leave or are drained. The order of nodes does not matter.
func Place(nodes []Node, shards, replicas int) [][]NodeID {
	return Rebalance(make([][]NodeID, max(shards, 0)), nodes, replicas)
}

// Rebalance returns the nodes that should have copies of each shard, given the nodes assigned now:
// was[shard], empty if none is.
//
// Each node gets its share of the primaries, and of the copies, by its weight, rounded down or up. As few copies move as
// that takes: if the assignment is level and a node joins, it takes its share and nothing else moves; if a node
// goes, its copies are spread and nothing else moves. An assignment that is level for these nodes stays unchanged.
//
// A ring with bounded loads proposes the primaries of shards that must move (docs/decisions/placement.md says why the ring
// alone is not enough), and rendezvous hashing the other copies. Copies of a shard are in different zones where possible, which comes
// before equal shares.
func Rebalance(was [][]NodeID, nodes []Node, replicas int) [][]NodeID {
	return place(was, nodes, replicas, true)
}

// Mend is Rebalance for an operator who decides when nodes get their shares: it only replaces nodes that are gone.
func Mend(was [][]NodeID, nodes []Node, replicas int) [][]NodeID {
	return place(was, nodes, replicas, false)
}

func place(was [][]NodeID, nodes []Node, replicas int, level bool) [][]NodeID {
	p := newPlacer(was, nodes, level)
	out := make([][]NodeID, len(was))
	if len(p.nodes) == 0 {
		return out
	}
	at := p.primaries()
	for shard, others := range p.others(at, replicas) {
		out[shard] = append(make([]NodeID, 0, 1+len(others)), p.nodes[at[shard]].ID)
		for _, i := range others {
			out[shard] = append(out[shard], p.nodes[i].ID)
		}
	}
	return out
}

// placer computes one placement. Nodes are indexes into nodes.
type placer struct {
	nodes []Node // by ID
	index map[NodeID]int
	hash  []uint64 // of the IDs
	was   [][]int  // by shard: those of nodes that had copies, in order
	level bool     // no node may have more than its share
	load  []int    // primaries of each node so far
	quota []int    // primaries that each node should have
}

func newPlacer(was [][]NodeID, nodes []Node, level bool) *placer {
	p := &placer{index: map[NodeID]int{}, level: level}
	for _, n := range nodes {
		if n.State == Active {
			p.nodes = append(p.nodes, n)
		}
	}
	slices.SortStableFunc(p.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	p.nodes = slices.CompactFunc(p.nodes, func(a, b Node) bool { return a.ID == b.ID })
	p.hash, p.load, p.quota = make([]uint64, len(p.nodes)), make([]int, len(p.nodes)), make([]int, len(p.nodes))
	for i, n := range p.nodes {
		p.index[n.ID] = i
		p.hash[i] = hash{}.Sum64([]byte(n.ID))
	}
	p.was = make([][]int, len(was))
	for shard, ids := range was {
		for _, id := range ids {
			if i, ok := p.index[id]; ok {
				p.was[shard] = append(p.was[shard], i)
			} else if len(p.was[shard]) == 0 {
				p.was[shard] = append(p.was[shard], unplaced) // the preferred primary is gone
			}
		}
	}
	return p
}

// unplaced marks a shard without a primary.
const unplaced = -1

// primaries returns the primary of each shard.
func (p *placer) primaries() []int {
	at := make([]int, len(p.was))
	for shard, nodes := range p.was {
		at[shard] = unplaced
		if len(nodes) > 0 && nodes[0] != unplaced {
			at[shard] = nodes[0]
			p.load[nodes[0]]++
		}
	}
	share := p.shares(len(at), len(at))
	if p.balanced(at, share) {
		return at
	}
	ring := p.ring(len(at))
	p.setQuotas(at, ring, share)
	if p.level {
		p.release(at, ring)
	}
	p.fill(at, ring)
	return at
}

// shares returns how many of a number of things each node should have by its weight, none more than most.
func (p *placer) shares(number, most int) []float64 {
	share, full := make([]float64, len(p.nodes)), make([]bool, len(p.nodes))
	for {
		weight, left := 0, float64(number)
		for i, n := range p.nodes {
			if full[i] {
				left -= float64(most)
			} else {
				weight += n.Share()
			}
		}
		again := false
		for i, n := range p.nodes {
			if full[i] {
				continue
			}
			if share[i] = left * float64(n.Share()) / float64(weight); share[i] > float64(most) {
				share[i], full[i], again = float64(most), true, true
			}
		}
		if !again {
			return share
		}
	}
}

// within1 is how far a load may be from a share: it is rounded down or up, and sums of floats are not exact.
const within1 = 1 - 1e-6

// balanced reports whether all shards have primaries, and each node has its share of them.
func (p *placer) balanced(at []int, share []float64) bool {
	if slices.Contains(at, unplaced) {
		return false
	}
	for i, load := range p.load {
		if diff := float64(load) - share[i]; p.level && (diff > within1 || diff < -within1) {
			return false
		}
	}
	return true
}

// setQuotas sets the quota of each node to its share, rounded down, plus one for as many nodes as needed. To move few
// shards, the nodes with the highest load get the extra one, then those with the largest rest, then those with the most proposals of the ring.
func (p *placer) setQuotas(at, ring []int, share []float64) {
	wish := slices.Clone(p.load)
	for shard, i := range at {
		if i == unplaced {
			wish[ring[shard]]++
		}
	}
	p.quota = p.quotas(share, p.load, wish, len(at))
}

// quotas rounds shares of a number of things. Where a node has a load above the rest, that decides first, then the rest, then the wish.
func (p *placer) quotas(share []float64, load, wish []int, number int) []int {
	quota, rest, order := make([]int, len(share)), make([]float64, len(share)), make([]int, len(share))
	left := number
	for i := range share {
		quota[i] = int(share[i] + 1e-6)
		rest[i] = max(share[i]-float64(quota[i]), 0)
		left -= quota[i]
		order[i] = i
	}
	above := func(i int) int { return min(max(load[i]-quota[i], 0), 1) }
	round := func(x float64) int { return int(x * 1e6) }
	slices.SortFunc(order, func(a, b int) int {
		some := cmp.Compare(min(round(rest[b]), 1), min(round(rest[a]), 1)) // a share without a rest is not rounded up
		return cmp.Or(some, cmp.Compare(above(b), above(a)), cmp.Compare(round(rest[b]), round(rest[a])), cmp.Compare(load[b], load[a]), cmp.Compare(wish[b], wish[a]),
			cmp.Compare(p.hash[a], p.hash[b]), cmp.Compare(a, b))
	})
	for _, i := range order[:max(min(left, len(order)), 0)] {
		quota[i]++
	}
	return quota
}

// release takes from each node the shards that it has above its quota. Those go first that have another copy on a node below
// its quota, because no copy moves then, and those that the ring proposes for such a node.
func (p *placer) release(at, ring []int) {
	lack := make([]int, len(p.nodes))
	for i := range lack {
		lack[i] = max(p.quota[i]-p.load[i], 0)
	}
	over := func(shard int) bool { return at[shard] != unplaced && p.load[at[shard]] > p.quota[at[shard]] }
	order := scattered(len(at))
	for _, shard := range order {
		for _, to := range p.was[shard] {
			if to != unplaced && over(shard) && lack[to] > 0 {
				lack[to]--
				p.load[at[shard]]--
				p.load[to]++
				at[shard] = to
			}
		}
	}
	for shard, to := range ring {
		if over(shard) && lack[to] > 0 {
			lack[to]--
			p.load[at[shard]]--
			at[shard] = unplaced
		}
	}
	for _, shard := range order {
		if over(shard) {
			p.load[at[shard]]--
			at[shard] = unplaced
		}
	}
}

// holders returns the nodes that have copies of a shard.
func (p *placer) holders(shard int) []int {
	return slices.DeleteFunc(slices.Clone(p.was[shard]), func(i int) bool { return i == unplaced })
}

// fill places each unplaced shard: on a node that has a copy, if one is below its quota or can be, or that the ring proposes, or else on
// the node below its quota with the highest score. If the shards are not levelled, a node with a copy may be above its quota.
func (p *placer) fill(at, ring []int) {
	put := func(shard, i int) {
		at[shard] = i
		p.load[i]++
	}
	below := func(i int) bool { return p.load[i] < p.quota[i] }
	order := scattered(len(at))
	for _, shard := range order {
		for _, i := range p.was[shard] {
			if at[shard] == unplaced && i != unplaced && below(i) {
				put(shard, i)
			}
		}
	}
	p.promote(at)
	for _, shard := range order {
		if holders := p.holders(shard); at[shard] == unplaced && !p.level && len(holders) > 0 {
			put(shard, slices.MinFunc(holders, func(a, b int) int { return (p.load[a] - p.quota[a]) - (p.load[b] - p.quota[b]) }))
		}
	}
	for _, shard := range order {
		if i := ring[shard]; at[shard] == unplaced && below(i) {
			put(shard, i)
		}
	}
	for _, shard := range order {
		if at[shard] != unplaced {
			continue
		}
		put(shard, p.least(p.load, p.quota, shard, func(int) bool { return true }))
	}
}

// least returns the node that lacks most of its quota, compared as full or not full, then with the highest score for a shard, among those
// that may be taken; unplaced if none may.
func (p *placer) least(load, quota []int, shard int, may func(int) bool) int {
	best := unplaced
	for i := range p.nodes {
		if !may(i) {
			continue
		}
		if best == unplaced {
			best = i
			continue
		}
		a, b := load[i]-quota[i], load[best]-quota[best]
		if a < 0 && b < 0 { // both have room
			a, b = 0, 0
		}
		if a < b || a == b && p.score(i, ShardID(shard)) > p.score(best, ShardID(shard)) {
			best = i
		}
	}
	return best
}
