package replica

import "math"

// Leased reports whether a primary may answer from its index without a commit of its own (R6): each other
// member of the maximal ISR has acknowledged, for this shard and leader epoch, a heartbeat that left less than L ago.
// sent returns when the newest heartbeat that a process has acknowledged for a leader epoch left, or math.MinInt64.
// The primary checks after it has looked the answer up and before the reply leaves: another primary may have
// committed since the lookup.
func (c *Copy) Leased(sent func(p Process, leader uint64) int64, now int64) bool {
	return now < c.LeasedUntil(sent)
}

// LeasedUntil returns the time at which the lease ends, math.MaxInt64 if a primary needs none because
// it is alone in the maximal ISR, and math.MinInt64 if it has none.
func (c *Copy) LeasedUntil(sent func(p Process, leader uint64) int64) int64 {
	l := &c.lead
	switch {
	case !l.active || !l.open || l.staleUntil > c.config.Epoch || l.closing && !c.Flaws.TransferOpen:
		return math.MinInt64
	case c.Flaws.NoLease:
		return math.MaxInt64
	}
	until := int64(math.MaxInt64)
	for i := range l.others {
		o := &l.others[i]
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

// Transfer begins a planned handover of the primary to a clean member of the ISR, or to nobody if to is the zero
// Process: then the primary resigns. The gate closes and the lease ends at once, and stay so until
// the epoch changes: raft may have decided while an answer is under way (R8). The proposal follows when the suffix
// is empty. Nothing happens if this copy is not an open primary, has a proposal under way, or the target
// is not a clean member.
func (c *Copy) Transfer(to Process) Effects {
	var e Effects
	l := &c.lead
	valid := to == Process{} || to != c.self && c.config.inISR(to) && !c.config.unclean(to)
	if !l.active || !l.open || l.closing || l.proposal.Kind != 0 || !valid {
		return e
	}
	l.closing, l.target = true, to
	e.Close = !c.Flaws.TransferOpen
	c.advance(&e)
	return e
}

func (c *Copy) proposeHandover(e *Effects) {
	kind := Handover
	if c.lead.target == (Process{}) {
		kind = Resign
	}
	c.propose(kind, c.lead.target, e)
}

// Reopen ends a handover whose suffix did not become empty in time. Once it is proposed, only another
// epoch ends it.
func (c *Copy) Reopen() Effects {
	l := &c.lead
	if !l.closing || l.proposal.Kind != 0 {
		return Effects{}
	}
	l.closing, l.target = false, Process{}
	return Effects{Open: l.open && c.config.Epoch >= l.staleUntil}
}

// comeback is when a removed member may return to the ISR.
type comeback struct {
	removed int64
	wait    int64
}

// removed notes that a member left the ISR. It comes back after Times.Return at the earliest, doubled each time
// up to Times.MaxReturn, and halved for each minute in which it was not removed again (R5): a member that fails again and
// again would stop the writers each time.
func (c *Copy) removed(node string, now int64) {
	l := &c.lead
	if l.returns == nil {
		l.returns = map[string]comeback{}
	}
	b, again := l.returns[node]
	wait := c.Times.Return
	if again {
		minutes := (now - b.removed) / c.Times.MaxReturn
		wait = min(max(2*b.wait>>min(max(minutes, 0), 62), wait), c.Times.MaxReturn)
	}
	l.returns[node] = comeback{now, wait}
}

// Expand proposes a learner, or an unclean member of the ISR, that has all that is committed (R5). The caller
// calls it after acknowledgements of such copies and with each tick.
//
// The primary has committed a record of its leader epoch before: until then it does not know how much of its log
// was committed, so it might add a copy that lacks acknowledged writes. And the copy has acknowledged a heartbeat of
// this leader epoch less than L ago: a member that acknowledges none would stop reads.
func (c *Copy) Expand(sent func(p Process, leader uint64) int64, now int64) Effects {
	var e Effects
	l := &c.lead
	if !l.active || l.closing || l.proposal.Kind != 0 || len(l.others) == 0 {
		return e
	}
	if !c.Flaws.ExpandEarly && (!l.open || l.first == 0 || c.commit < l.first) {
		return e
	}
	for i := range l.others {
		o := &l.others[i]
		at := sent(o.process, c.config.LeaderEpoch)
		b, removed := l.returns[o.process.Node]
		switch {
		case o.isr && o.clean || o.match < max(c.commit, 1):
		case at == math.MinInt64 || now >= at+c.Times.Lease:
		case removed && now < b.removed+b.wait:
		default:
			c.propose(Expand, o.process, &e)
			return e
		}
	}
	return e
}
