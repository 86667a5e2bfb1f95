package topology

import (
	"fmt"
	"slices"
)

// promote makes a member that reported the primary. A commit needs every member of the ISR and so does a lease,
// and a member that reported has accepted and acknowledged nothing since. So one report from the ISR ends all
// commits and leases of the epoch, and a clean reporter has every committed write. The other members need not
// have reported to stay in the ISR.
func (c change) promote() error {
	if _, err := c.member(); err != nil {
		return err
	}
	switch {
	case c.op.Empty:
		return c.promoteEmpty()
	case c.row.Primary == c.op.Node:
		return fmt.Errorf("%w: %s is the primary", ErrStale, c.op.Node)
	case c.op.Unclean:
		return c.promoteUnclean()
	}
	if err := c.checkReporters(); err != nil {
		return err
	}
	isr, clean := c.op.Members, c.row.Clean()
	if len(isr) == 0 {
		isr = []NodeID{c.op.Node}
	}
	switch {
	case !slices.Contains(clean, c.op.Node):
		return refused("%s is not a clean member of the ISR", c.op.Node)
	case !reported(c.op, c.op.Node):
		return refused("%s has not reported", c.op.Node)
	case !distinct(isr) || !within(isr, clean) || !slices.Contains(isr, c.op.Node):
		return refused("the new ISR %v must be a subset of the clean members %v with %s", isr, clean, c.op.Node)
	case slices.Contains(isr, c.row.Primary) && !reported(c.op, c.row.Primary):
		return refused("the old primary %s has not reported", c.row.Primary)
	}
	if !c.row.Relinquished {
		c.row.Unsealed = false // the report says that a member has been silent for as long as an unsealed primary waits
	}
	c.row.setISR(slices.Clone(isr))
	c.row.setPrimary(c.op.Node)
	return nil
}

// checkReporters refuses reports of nodes that are not in the ISR, or that have been restarted since.
func (c change) checkReporters() error {
	for _, r := range c.op.Reporters {
		if _, err := c.t.process(r.Node, r.Incarnation); err != nil {
			return err
		}
		if !slices.Contains(c.row.ISR, r.Node) {
			return refused("the reporter %s is not in the ISR", r.Node)
		}
	}
	return nil
}

func reported(op Op, id NodeID) bool {
	return slices.ContainsFunc(op.Reporters, func(r Reporter) bool { return r.Node == id })
}

// promoteUnclean promotes a copy that may lack acknowledged writes: no member of the ISR is clean, or the
// operator vouches that the old primary is off. The node need not be in the ISR.
func (c change) promoteUnclean() error {
	switch {
	case len(c.row.ISR) == 0:
		return refused("the shard has no copy in the ISR")
	case len(c.row.Clean()) > 0 && !c.op.Takeover:
		return refused("%v have clean copies", c.row.Clean())
	case c.row.Primary != "" && !c.row.Relinquished && !c.op.Takeover:
		return refused("%s may still serve the shard", c.row.Primary)
	}
	if !c.safe() {
		c.t.PossibleLosses++
	}
	c.row.Unsealed = c.row.Unsealed || !c.row.Relinquished
	c.row.setISR([]NodeID{c.op.Node})
	c.row.Learners = without(c.row.Learners, c.op.Node)
	c.row.keepUnclean(nil)
	c.row.setPrimary(c.op.Node)
	return nil
}

// safe reports whether an unclean promotion loses nothing that was acknowledged: the members of the ISR synced what
// they acknowledged, and only lost power.
func (c change) safe() bool {
	return !c.row.Lossy && len(c.row.Clean()) == 0 && slices.Contains(c.row.ISR, c.op.Node)
}

// promoteEmpty starts a shard without a copy. If its last copy was wiped, an operator or the controller has to say
// so first (BeginEmpty): the process that had it may still run, cut off from the cluster. Without a log a
// restart wipes every copy, as its users expect.
func (c change) promoteEmpty() error {
	if len(c.row.ISR) > 0 {
		return refused("the shard is not empty: it has copies on %v", c.row.ISR)
	}
	if len(c.row.Wiped) > 0 && c.t.keepsLog(*c.row) {
		return refused("the copies on %v were wiped: it starts empty only after begin-empty", c.row.Wiped)
	}
	c.row.startEmpty(c.op.Node)
	return nil
}

// keepsLog reports whether a node that should have a copy of a shard keeps a log.
func (t *Topology) keepsLog(row Shard) bool {
	if len(row.Assigned) == 0 {
		return true
	}
	return slices.ContainsFunc(row.Assigned, func(id NodeID) bool {
		i, ok := find(t.Nodes, id)
		return ok && t.Nodes[i].Log
	})
}

// beginEmpty lets a shard whose last copy was wiped start empty.
func (c change) beginEmpty() error {
	switch {
	case len(c.row.ISR) > 0:
		return refused("the shard is not empty: it has copies on %v", c.row.ISR)
	case len(c.row.Wiped) == 0:
		return fmt.Errorf("%w: the shard may start empty already", ErrStale)
	}
	c.row.Wiped = nil
	c.t.PossibleLosses++
	return nil
}
