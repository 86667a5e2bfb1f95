package topology

import "slices"

// What greedy choices leave over: a shard whose last copies are all on nodes that have their shares already, or a node with more than its
// share. Often it takes only a chain of exchanges that cost no copy to mend that.

// hop is one exchange of a chain: a shard goes from one node to the next one.
type hop struct{ shard, from, to int }

// chains finds chains of exchanges between nodes.
type chains struct {
	free func(int) bool // whether a node can take one more
	// exchanges calls its argument with each shard that a node could give to another one.
	exchanges func(from int, offer func(shard, to int))
	stuck     []bool // nodes from which no free node can be reached
}

// shortest returns the shortest chain from one of the first nodes to one that is free, and that node; unplaced if none can be reached.
func (c *chains) shortest(first []int) ([]hop, int) {
	by, reached := map[int]hop{}, []int{}
	reach := func(i int, h hop) {
		if _, seen := by[i]; !seen && !c.stuck[i] {
			by[i] = h
			reached = append(reached, i)
		}
	}
	for _, i := range first {
		reach(i, hop{shard: unplaced})
	}
	for n := 0; n < len(reached); n++ {
		i := reached[n]
		if c.free(i) {
			var hops []hop
			for h := by[i]; h.shard != unplaced; h = by[h.from] {
				hops = append(hops, h)
			}
			slices.Reverse(hops)
			return hops, i
		}
		c.exchanges(i, func(shard, to int) { reach(to, hop{shard, i, to}) })
	}
	for _, i := range reached {
		c.stuck[i] = true
	}
	return nil, unplaced
}

// promote makes nodes that have copies of unplaced shards their primaries, although they have their shares: they give another shard to
// a node that has a copy of that one. No copy moves.
func (p *placer) promote(at []int) {
	leads := make([][]int, len(p.nodes))
	for shard, i := range at {
		if i != unplaced {
			leads[i] = append(leads[i], shard)
		}
	}
	put := func(shard, to int) {
		at[shard] = to
		leads[to] = append(leads[to], shard)
	}
	c := chains{
		stuck: make([]bool, len(p.nodes)), // what is stuck stays so: no chain goes through it, so it keeps the shards that it leads
		free:  func(i int) bool { return p.load[i] < p.quota[i] },
		exchanges: func(from int, offer func(int, int)) {
			for _, other := range leads[from] {
				for _, to := range p.was[other] {
					if to != unplaced {
						offer(other, to)
					}
				}
			}
		},
	}
	for _, shard := range scattered(len(at)) {
		if at[shard] != unplaced {
			continue
		}
		hops, last := c.shortest(p.holders(shard))
		if last == unplaced {
			continue
		}
		for _, h := range hops {
			leads[h.from] = slices.DeleteFunc(leads[h.from], func(other int) bool { return other == h.shard })
			put(h.shard, h.to)
		}
		first := last
		if len(hops) > 0 {
			first = hops[0].from
		}
		put(shard, first)
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
	search := chains{
		stuck: make([]bool, len(c.nodes)),
		free:  func(i int) bool { return c.load[i] < c.quota[i] },
		exchanges: func(from int, offer func(int, int)) {
			for _, shard := range fresh[from] {
				far := c.far(shard, from, from)
				for to := range c.nodes {
					if !c.has(shard, to) && (!far || c.far(shard, to, from)) {
						offer(shard, to)
					}
				}
			}
		},
	}
	for over := range c.nodes {
		if c.load[over] <= c.quota[over] {
			continue
		}
		hops, last := search.shortest([]int{over})
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
