package replica

import "math"

// Leased reports whether a primary may answer from its index without a commit of its own (R6): each other
// member of the maximal ISR has acknowledged, for this shard and leader epoch, a heartbeat that left less than L ago.
// sent returns when the newest heartbeat that a process has acknowledged for a leader epoch left, or math.MinInt64.
// The primary checks after it has looked the answer up and before the reply leaves: another primary may have
// committed since the lookup.
func (c *primary) Leased(sent func(p Process, leader uint64) int64, now int64) bool {
	return now < c.LeasedUntil(sent)
}

// LeasedUntil returns the time at which the lease ends, math.MaxInt64 if a primary needs none because
// it is alone in the maximal ISR, and math.MinInt64 if it has none.
func (c *primary) LeasedUntil(sent func(p Process, leader uint64) int64) int64 {
	switch {
	case !c.active || !c.open || c.staleUntil > c.config.Epoch || c.closing && !c.Flaws.TransferOpen:
		return math.MinInt64
	case c.Flaws.NoLease:
		return math.MaxInt64
	}
	until := int64(math.MaxInt64)
	for i := range c.others {
		o := &c.others[i]
		if !c.counts(o) || !o.isr && c.Flaws.LeaseISROnly {
			continue
		}
		at := sent(o.process, c.config.LeaderEpoch)
		if at == math.MinInt64 {
			return at
		}
		until = min(until, at+c.Times.Lease)
	}
	return until
}

// Transfer begins a planned handover of the primary to a clean member of the ISR. If to is the zero
// Process, the primary resigns instead. The gate closes and the lease ends at once, and stay so until
// the epoch changes: raft may have decided while an answer is under way (R8). The proposal follows when the suffix
// is empty. Nothing happens if this copy is not an open primary, has a proposal under way, or the target
// is not a clean member.
func (c *primary) Transfer(to Process) Effects {
	var e Effects
	if !c.MayTransfer(to) {
		return e
	}
	c.closing, c.target = true, to
	e.Close = !c.Flaws.TransferOpen
	c.advance(&e)
	return e
}

// MayTransfer reports whether Transfer would begin a handover.
func (c *primary) MayTransfer(to Process) bool {
	valid := to == Process{} || to != c.self && c.config.inISR(to) && !c.config.unclean(to)
	return c.active && c.open && !c.closing && c.proposal.Kind == 0 && valid
}

// proposeHandover proposes to a member only once it has acknowledged the whole log in its present incarnation: the
// commit index may rest on what a former process of it acknowledged.
func (c *primary) proposeHandover(e *Effects) {
	kind := Handover
	if c.target == (Process{}) {
		kind = Resign
	} else if o := c.other(c.target); o == nil || o.match < c.end.Seq {
		return
	}
	c.propose(kind, c.target, e)
}

// Reopen ends a handover whose suffix did not become empty in time. Once it is proposed, only another
// epoch ends it.
func (c *primary) Reopen() Effects {
	if !c.closing || c.proposal.Kind != 0 {
		return Effects{}
	}
	c.closing, c.target = false, Process{}
	return Effects{Open: c.open && c.config.Epoch >= c.staleUntil}
}

// Expand proposes a learner, or an unclean member of the ISR, that has all that is committed (R5). The caller
// calls it after acknowledgements of such copies and with each tick.
//
// The primary has committed a record of its leader epoch before: until then it does not know how much of its log
// was committed, so it might add a copy that lacks acknowledged writes. And the copy has acknowledged a heartbeat of
// this leader epoch less than L ago: a member that acknowledges none would stop reads.
func (c *primary) Expand(sent func(p Process, leader uint64) int64, now int64) Effects {
	var e Effects
	if p, ok := c.expandable(sent, now); ok {
		c.propose(Expand, p, &e)
	}
	return e
}

// MayExpand reports whether Expand would propose a copy. The caller of Expand must keep the primary from appending meanwhile: what it
// appends alone is committed, and from the proposal on it is not.
func (c *primary) MayExpand(sent func(p Process, leader uint64) int64, now int64) bool {
	_, ok := c.expandable(sent, now)
	return ok
}

// expandable returns the copy that Expand proposes.
func (c *primary) expandable(sent func(p Process, leader uint64) int64, now int64) (p Process, ok bool) {
	if !c.active || c.closing || c.proposal.Kind != 0 || len(c.others) == 0 {
		return p, false
	}
	if !c.Flaws.ExpandEarly && (!c.open || c.first == 0 || c.commit < c.first) {
		return p, false
	}
	for i := range c.others {
		o := &c.others[i]
		if o.isr && o.clean || o.match < max(c.commit, 1) {
			continue
		}
		at := sent(o.process, c.config.LeaderEpoch)
		b, removed := c.returns[o.process.Node]
		if at == math.MinInt64 || now >= at+c.Times.Lease || removed && now < b.removed+b.wait {
			continue
		}
		return o.process, true
	}
	return p, false
}
