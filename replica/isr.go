package replica

import "slices"

// members are the other copies of the row, as the primary sees them.
type members struct {
	*state
	others   []other // the other members of the ISR, and the learners
	proposal Proposal
	returns  map[string]comeback // by node: members that were removed from the ISR
}

// other is another copy, as the primary sees it.
type other struct {
	process Process
	isr     bool // of the newest row
	clean   bool
	// match and synced are what the copy acknowledged in this leader epoch: the seqs up to which it has the log.
	match, synced uint64
	contact       bool   // it acknowledged something since the last tick
	progress      bool   // it acknowledged more than before since the last tick
	idle          uint16 // ticks without contact, or without progress on what it owes
}

// comeback is when a removed member may return to the ISR.
type comeback struct {
	removed int64
	wait    int64
}

// setOthers lists the other copies of the row. What a copy acknowledged in this leader epoch stays counted in a
// later epoch (R4), as long as it is the same process, and the row does not say since that it may lack what it acknowledged.
func (c *members) setOthers(now int64) {
	before := c.others
	c.others = nil
	for _, p := range slices.Concat(c.config.ISR, c.config.Learners) {
		if p == c.self || p.Node == c.self.Node {
			continue
		}
		o := other{}
		for _, b := range before {
			if b.process == p || c.Flaws.AckAnyInc && b.process.Node == p.Node {
				o = b
			}
		}
		wasISR, wasClean := o.isr, o.clean
		o.process, o.isr, o.clean = p, c.config.inISR(p), !c.config.unclean(p)
		if wasClean && !o.clean {
			o.match, o.synced = 0, 0
		}
		if wasISR && !o.isr {
			c.removed(p.Node, now)
		}
		c.others = append(c.others, o)
	}
}

// Contact tells the primary that a member acknowledged a heartbeat of this leader epoch, and progress that it
// took bytes of a large value: both keep R7 from removing it.
func (c *members) Contact(from Process, progress bool) {
	if o := c.other(from); o != nil {
		o.contact = true
		o.progress = o.progress || progress
	}
}

// Match returns up to which seq another copy has acknowledged the log, and up to which it has synced it.
func (c *members) Match(of Process) (written, synced uint64) {
	if o := c.other(of); o != nil {
		return o.match, o.synced
	}
	return 0, 0
}

// Forget forgets what another copy has acknowledged: it must install a snapshot, and could come into the ISR before it has it.
func (c *members) Forget(of Process) {
	if o := c.other(of); o != nil {
		o.match, o.synced = 0, 0
	}
}

func (c *members) other(p Process) *other {
	for i := range c.others {
		o := &c.others[i]
		if o.process == p || c.Flaws.AckAnyInc && o.process.Node == p.Node {
			return o
		}
	}
	return nil
}

// counts reports whether another copy belongs to the maximal ISR: the ISR of the newest row and the member
// that this primary has proposed to add. A member proposed for removal counts until the primary has learned
// that it is removed: until then raft may promote it.
func (c *members) counts(o *other) bool {
	p := &c.proposal
	switch {
	case p.Kind == Shrink && p.Target == o.process && c.Flaws.ShrinkEarly:
		return false
	case o.isr:
		return true
	}
	return p.Kind == Expand && p.Target == o.process
}

func (c *members) aloneNow() bool {
	for i := range c.others {
		if c.counts(&c.others[i]) {
			return false
		}
	}
	return true
}

// committed returns the seq up to which the whole maximal ISR has the log (R3).
func (c *members) committed() uint64 {
	seq, have, members := c.end.Seq, 1, 1
	for i := range c.others {
		o := &c.others[i]
		if !c.counts(o) || !o.isr && c.Flaws.CommitISROnly {
			continue
		}
		members++
		if o.match >= c.end.Seq {
			have++
		}
		seq = min(seq, o.match)
	}
	if c.Flaws.AckEarly || c.Flaws.AckMajority && 2*have > members {
		return c.end.Seq
	}
	return seq
}

// proposed returns what the primary proposes in this epoch; nil: nothing.
func (c *members) proposed() *Proposal {
	if c.proposal.Kind == 0 {
		return nil
	}
	p := c.proposal
	return &p
}

// removed notes that a member left the ISR. It comes back after Times.Return at the earliest, doubled each time
// up to Times.MaxReturn, and halved for each minute in which it was not removed again (R5): a member that fails again and
// again would stop the writers each time.
func (c *members) removed(node string, now int64) {
	if c.returns == nil {
		c.returns = map[string]comeback{}
	}
	b, again := c.returns[node]
	wait := c.Times.Return
	if again {
		minutes := (now - b.removed) / c.Times.MaxReturn
		wait = min(max(2*b.wait>>min(max(minutes, 0), 62), wait), c.Times.MaxReturn)
	}
	c.returns[node] = comeback{now, wait}
}
