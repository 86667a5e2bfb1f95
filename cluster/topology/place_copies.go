package topology

import "slices"

// copyPlacer places the copies beside the primaries, of which each node has its share already.
type copyPlacer struct {
	*placer
	at       []int // the primary of each shard
	others   [][]int
	replicas int
	load     []int // copies of each node so far, primaries included
	quota    []int
	zones    int // in which there are nodes
}

// others returns the nodes of the other copies of each shard.
func (p *placer) others(at []int, replicas int) [][]int {
	c := &copyPlacer{placer: p, at: at, others: make([][]int, len(at)), replicas: max(min(replicas, len(p.nodes)), 1), load: slices.Clone(p.load)}
	zones := map[string]bool{}
	for _, n := range p.nodes {
		zones[n.Zone] = true
	}
	c.zones = len(zones)
	if c.replicas == 1 {
		return c.others
	}
	c.keep()
	share := p.shares(len(at)*c.replicas, len(at))
	c.quota = p.quotas(share, c.load, c.load, len(at)*c.replicas)
	c.choose()
	c.fill()
	for p.level && c.shift() {
	}
	for p.level && c.relieve() {
	}
	return c.others
}

// has reports whether a node has a copy of a shard.
func (c *copyPlacer) has(shard, i int) bool {
	return c.at[shard] == i || slices.Contains(c.others[shard], i)
}

// far reports whether a node is in a zone in which a shard has no copy, those on the node except excepted.
func (c *copyPlacer) far(shard, i, except int) bool {
	same := func(o int) bool { return o != except && c.nodes[o].Zone == c.nodes[i].Zone }
	return !same(c.at[shard]) && !slices.ContainsFunc(c.others[shard], same)
}

// usedZones returns in how many zones a shard has copies.
func (c *copyPlacer) usedZones(shard int) int {
	used := map[string]bool{c.nodes[c.at[shard]].Zone: true}
	for _, i := range c.others[shard] {
		used[c.nodes[i].Zone] = true
	}
	return len(used)
}

func (c *copyPlacer) add(shard, i int) {
	c.others[shard] = append(c.others[shard], i)
	c.load[i]++
}

// candidates returns the nodes that had a copy of a shard and may keep it: not one in a zone that has another copy, if there is a zone
// that has none.
func (c *copyPlacer) candidates(shard int) (list []int) {
	for _, i := range c.was[shard] {
		if i != unplaced && !c.has(shard, i) && (c.far(shard, i, unplaced) || c.usedZones(shard) == c.zones) {
			list = append(list, i)
		}
	}
	return list
}

// keep leaves copies where they are, for the shards that need not choose.
func (c *copyPlacer) keep() {
	for shard := range c.at {
		for missing := c.missing(shard); missing > 0; missing = c.missing(shard) {
			list := c.candidates(shard)
			if len(list) == 0 || len(list) > missing {
				break
			}
			c.add(shard, list[0])
		}
	}
}

func (c *copyPlacer) missing(shard int) int { return c.replicas - 1 - len(c.others[shard]) }

// choose leaves copies where they are, for the shards that had more of them than they need: on the nodes that lack most. It prefers one
// in another zone.
func (c *copyPlacer) choose() {
	for _, shard := range scattered(len(c.at)) {
		for c.missing(shard) > 0 {
			list := c.candidates(shard)
			if len(list) == 0 {
				break
			}
			c.add(shard, slices.MinFunc(list, func(a, b int) int {
				return (c.load[a] - c.quota[a]) - (c.load[b] - c.quota[b])
			}))
		}
	}
}

// fill makes the copies that are missing: in another zone if there is one, and there on the node that lacks most.
func (c *copyPlacer) fill() {
	for _, shard := range scattered(len(c.at)) {
		for c.missing(shard) > 0 {
			i := c.least(c.load, c.quota, shard, func(i int) bool { return !c.has(shard, i) && c.far(shard, i, unplaced) })
			if i == unplaced {
				i = c.least(c.load, c.quota, shard, func(i int) bool { return !c.has(shard, i) })
			}
			c.add(shard, i)
		}
	}
}

// relieve moves copies from nodes that have more than their quota to nodes that have less, where that costs no zone. It reports whether it
// moved any: then others may be moved that could not before.
func (c *copyPlacer) relieve() (moved bool) {
	for _, shard := range scattered(len(c.at)) {
		for n, from := range c.others[shard] {
			if c.load[from] <= c.quota[from] {
				continue
			}
			was := c.far(shard, from, from)
			to := c.least(c.load, c.quota, shard, func(i int) bool {
				return c.load[i] < c.quota[i] && !c.has(shard, i) && (!was || c.far(shard, i, from))
			})
			if to != unplaced {
				c.others[shard][n] = to
				c.load[from]--
				c.load[to]++
				moved = true
			}
		}
	}
	return moved
}
