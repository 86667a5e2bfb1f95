package replica

import "slices"

// dropped is what a copy knows of its own end (M8).
type dropped struct {
	leader uint64 // leader epoch in which the copy was dropped; 0: it was not, or has been replaced since
	had    uint64 // seq up to which it may have acknowledged the log in that leader epoch
}

// MayDrop reports whether the copy may be dropped: emptied, because its node is not to have one. The row has a primary and does not name
// the node; each node that is to have a copy has a clean one in the ISR; and G has passed since this process last granted
// a renewal, so no primary counts on one. The caller makes sure that the row is of a topology that knows this process: an earlier one
// may be long over, and a former process of the node may be in the ISR since.
func (c *member) MayDrop(now int64) bool {
	cfg := &c.config
	if cfg.Primary == (Process{}) || len(cfg.Assigned) == 0 || cfg.names(c.self.Node) || now-c.heard.at < c.Times.Silence {
		return false
	}
	return !slices.ContainsFunc(cfg.Assigned, func(p Process) bool { return !cfg.inISR(p) || cfg.unclean(p) })
}

// names reports whether a row has a node, in whatever incarnation.
func (c *Config) names(node string) bool {
	is := func(p Process) bool { return p.Node == node }
	return is(c.Primary) || slices.ContainsFunc(c.ISR, is) || slices.ContainsFunc(c.Learners, is) || slices.ContainsFunc(c.Assigned, is)
}

// Dropped tells the copy that it is empty from now on. MayDrop was true.
//
// The primary of this leader epoch may never learn of a row without this process, and then goes on to count what the copy had
// acknowledged. So the copy grants no renewal, without which it is not proposed for the ISR, and acknowledges nothing, until Installed
// tells it that it has all of that again. In another leader epoch nothing of before counts, and M2 applies.
func (c *member) Dropped() {
	leader := c.config.LeaderEpoch
	if c.dropped.leader != leader {
		c.dropped = dropped{leader: leader}
	}
	if c.truncated == leader {
		c.dropped.had = max(c.dropped.had, c.end.Seq)
	}
	c.table, c.end, c.commit = nil, Point{}, 0
	c.truncated, c.damaged = 0, false
}

// Lacks reports whether the copy was dropped in this leader epoch and has not been replaced since: it says nothing to the primary (M8).
func (c *member) Lacks() bool {
	return c.dropped.leader != 0 && c.dropped.leader == c.config.LeaderEpoch && !c.Flaws.DropForgotten
}

// Restores reports whether a whole copy up to a seq may replace this one: after a drop only one that has all that this copy had
// acknowledged. One that was held up on its way may be older.
func (c *member) Restores(base uint64) bool { return !c.Lacks() || base >= c.dropped.had }
