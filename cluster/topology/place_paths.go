package topology

import "slices"

// What greedy choices leave over: a shard whose last copies are all on nodes that have their shares already, or a node with more than its
// share. Often it takes only a chain of exchanges that cost no copy to mend that.

// hop is one exchange of a chain: a shard goes from one node to the next one.
type hop struct{ shard, from, to int }

// chain returns the shortest chain of exchanges from one of the first nodes to one that is free, and that node; unplaced if none can be
// reached. exchanges calls its argument with each shard that a node could give to another one.
func chain(nodes int, first []int, free func(int) bool, exchanges func(from int, offer func(shard, to int))) ([]hop, int) {
	by, reached := make([]hop, nodes), make([]bool, nodes)
	var queue []int
	reach := func(i int, h hop) {
		if !reached[i] {
			reached[i], by[i] = true, h
			queue = append(queue, i)
		}
	}
	for _, i := range first {
		reach(i, hop{shard: unplaced})
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		if free(i) {
			var hops []hop
			for h := by[i]; h.shard != unplaced; h = by[h.from] {
				hops = append(hops, h)
			}
			slices.Reverse(hops)
			return hops, i
		}
		exchanges(i, func(shard, to int) { reach(to, hop{shard, i, to}) })
	}
	return nil, unplaced
}

// promote makes nodes that have copies of unplaced shards their primaries, although they have their shares: they give another shard to
// a node that has a copy of that one. No copy moves.
func (p *placer) promote(at []int) {
	for _, shard := range scattered(len(at)) {
		if at[shard] != unplaced {
			continue
		}
		leads := make([][]int, len(p.nodes))
		for other, i := range at {
			if i != unplaced {
				leads[i] = append(leads[i], other)
			}
		}
		hops, last := chain(len(p.nodes), p.holders(shard), func(i int) bool { return p.load[i] < p.quota[i] }, func(from int, offer func(int, int)) {
			for _, other := range leads[from] {
				for _, to := range p.was[other] {
					if to != unplaced {
						offer(other, to)
					}
				}
			}
		})
		if last == unplaced {
			continue
		}
		at[shard] = last
		if len(hops) > 0 {
			at[shard] = hops[0].from
		}
		for _, h := range hops {
			at[h.shard] = h.to
		}
		p.load[last]++
	}
}

// shift takes copies that have to be made anyway from nodes that have more than their quota, by way of others if need be. It reports
// whether it took any.
func (c *copyPlacer) shift() bool {
	fresh := make([][]int, len(c.nodes)) // shards of which a node gets a copy that it did not have
	for shard, others := range c.others {
		for _, i := range others {
			if !slices.Contains(c.was[shard], i) {
				fresh[i] = append(fresh[i], shard)
			}
		}
	}
	for over := range c.nodes {
		if c.load[over] <= c.quota[over] {
			continue
		}
		hops, last := chain(len(c.nodes), []int{over}, func(i int) bool { return c.load[i] < c.quota[i] }, func(from int, offer func(int, int)) {
			for _, shard := range fresh[from] {
				far := c.far(shard, from, from)
				for to := range c.nodes {
					if !c.has(shard, to) && (!far || c.far(shard, to, from)) {
						offer(shard, to)
					}
				}
			}
		})
		if last == unplaced {
			continue
		}
		for _, h := range hops {
			c.others[h.shard][slices.Index(c.others[h.shard], h.from)] = h.to
		}
		c.load[over]--
		c.load[last]++
		return true
	}
	return false
}
