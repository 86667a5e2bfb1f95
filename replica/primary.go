package replica

import "slices"

// leader is what a copy knows while it is the primary.
type leader struct {
	active bool // the newest row names this process
	alone  bool // the maximal ISR is this process alone
	open   bool // R1 and G are done in this leader epoch
	// first is the seq of the first record of this leader epoch, a no-op unless the copy was alone; 0: none yet.
	first    uint64
	asked    bool    // Effects.NoOp was returned and the no-op is not appended yet
	closing  bool    // R8: the gate is closed until the epoch changes
	target   Process // of the handover; zero: resign
	proposal Proposal
	others   []other // the other members of the ISR, and the learners
	// staleUntil is an epoch of a later leader that a member knows: the gate is closed until this
	// process has learned of a row of that epoch.
	staleUntil uint64
	lastTick   int64
	returns    map[string]comeback // by node: members that were removed from the ISR
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

// Primary reports whether the newest row names this process as the primary.
func (c *Copy) Primary() bool { return c.lead.active }

// Alone reports whether this process is the primary and the maximal ISR has no other member: what it appends is
// committed, and reads need no lease.
func (c *Copy) Alone() bool { return c.lead.alone }

// Proposal returns what the primary proposes in this epoch, for the caller to repeat; nil: nothing.
func (c *Copy) Proposal() *Proposal {
	if c.lead.proposal.Kind == 0 {
		return nil
	}
	p := c.lead.proposal
	return &p
}

// CleanISR returns the number of clean members of the ISR, this one included: what min-insync counts.
func (c *Copy) CleanISR() int {
	n := 0
	for _, p := range c.config.ISR {
		if !c.config.unclean(p) {
			n++
		}
	}
	return n
}

// configurePrimary takes a primary to a new row, or makes the copy a primary, or takes that away.
func (c *Copy) configurePrimary(was *Config, now int64, tick uint64, e *Effects) {
	l := &c.lead
	mine := c.config.leads(c.self)
	if l.active && (!mine || was.LeaderEpoch != c.config.LeaderEpoch) {
		e.StepDown = true
		*l = leader{lastTick: l.lastTick}
	}
	if !mine {
		return
	}
	if !l.active {
		l.active = true
	}
	if was.Epoch != c.config.Epoch {
		l.proposal = Proposal{}
		if l.closing || l.staleUntil > was.Epoch {
			l.closing, l.target = false, Process{}
			e.Open = l.open && c.config.Epoch >= l.staleUntil
		}
	}
	c.setOthers(was, now)
	l.alone = c.aloneNow()
	for _, o := range l.others {
		e.Send = append(e.Send, o.process)
	}
	c.askNoOp(e)
	c.advance(e)
	c.openLater(now, tick, e)
}

// setOthers lists the other copies of the row. What a copy acknowledged in this leader epoch stays counted in a
// later epoch (R4), as long as it is the same process.
func (c *Copy) setOthers(was *Config, now int64) {
	l := &c.lead
	before := l.others
	l.others = nil
	for _, p := range slices.Concat(c.config.ISR, c.config.Learners) {
		if p == c.self || p.Node == c.self.Node {
			continue
		}
		o := other{process: p, isr: c.config.inISR(p), clean: !c.config.unclean(p)}
		for _, b := range before {
			if b.process == p || c.Flaws.AckAnyInc && b.process.Node == p.Node {
				o.match, o.synced = b.match, b.synced
				if b.isr && !o.isr && was.LeaderEpoch == c.config.LeaderEpoch {
					c.removed(p.Node, now)
				}
			}
		}
		l.others = append(l.others, o)
	}
}

// askNoOp asks for the no-op of the leader epoch once there is another copy. A primary that is alone in
// its row needs none: all that it has is committed by R3, so a start writes nothing. It appends the no-op
// before it sends anything, so the copy that receives the log can tell the leader epochs apart.
func (c *Copy) askNoOp(e *Effects) {
	if l := &c.lead; l.first == 0 && !l.asked && len(l.others) > 0 {
		l.asked = true
		e.NoOp = true
	}
}

// Appended tells the copy that the primary's own log has records up to a seq, all behind its former end in the
// present epoch. The primary writes its own log before it sends (R2): what its log refuses must not
// exist elsewhere.
func (c *Copy) Appended(end uint64) Effects {
	l := &c.lead
	if !l.active || end <= c.end.Seq {
		return Effects{}
	}
	if l.first == 0 {
		l.first, l.asked = c.end.Seq+1, false
	}
	c.grow(Point{c.config.Epoch, end})
	if l.alone && l.open && !l.closing {
		c.commit = end
		return Effects{Commit: end}
	}
	var e Effects
	c.advance(&e)
	return e
}

// Acked tells the primary what a member acknowledged. It counts only from the incarnation that the row
// names and in the present epoch (R4): a former process may have lost power since, and the records with it.
func (c *Copy) Acked(from Process, a Ack) Effects {
	var e Effects
	l := &c.lead
	if !l.active {
		return e
	}
	if a.Flags&AckStale != 0 {
		// A later leader epoch deposes this primary, which has not learned of it yet. It may not start what
		// cannot commit, and must not answer.
		if a.Leader > c.config.LeaderEpoch && a.Epoch > l.staleUntil {
			l.staleUntil = a.Epoch
			e.Close = true
		}
		return e
	}
	o := c.other(from)
	if o == nil || a.Epoch != c.config.Epoch {
		return e
	}
	o.contact = true
	if a.Flags&(AckLater|AckMismatch) != 0 {
		return e
	}
	if a.Written > o.match {
		o.match, o.progress = a.Written, true
	}
	o.synced = max(o.synced, min(a.Synced, o.match))
	c.advance(&e)
	if a.Flags&AckFailed != 0 {
		c.shrink(o, &e)
	}
	return e
}

// Contact tells the primary that a member acknowledged a heartbeat of this leader epoch, and progress that it
// took bytes of a large value: both keep R7 from removing it.
func (c *Copy) Contact(from Process, progress bool) {
	if o := c.other(from); o != nil {
		o.contact = true
		o.progress = o.progress || progress
	}
}

// Lagging proposes to remove a member of the ISR, because it must install a snapshot or its log fails; Tick does
// it for a member that lags (R7). Nothing happens while another proposal is under way: call it again.
func (c *Copy) Lagging(from Process) Effects {
	var e Effects
	if o := c.other(from); o != nil {
		c.shrink(o, &e)
	}
	return e
}

func (c *Copy) shrink(o *other, e *Effects) {
	if o.isr && c.lead.active {
		c.propose(Shrink, o.process, e)
	}
}

// propose makes a proposal unless one is under way. A proposed member counts from now on, before
// anything goes out: raft may promote it before this primary learns that it is in the ISR (R3).
func (c *Copy) propose(kind ProposalKind, target Process, e *Effects) bool {
	if c.lead.proposal.Kind != 0 {
		return false
	}
	c.lead.proposal = Proposal{kind, c.config.Epoch, target}
	c.lead.alone = c.aloneNow()
	e.Propose = c.Proposal()
	return true
}

// Match returns up to which seq another copy has acknowledged the log, and up to which it has synced it.
func (c *Copy) Match(of Process) (written, synced uint64) {
	if o := c.other(of); o != nil {
		return o.match, o.synced
	}
	return 0, 0
}

func (c *Copy) other(p Process) *other {
	for i := range c.lead.others {
		o := &c.lead.others[i]
		if o.process == p || c.Flaws.AckAnyInc && o.process.Node == p.Node {
			return o
		}
	}
	return nil
}

// counts reports whether another copy belongs to the maximal ISR: the ISR of the newest row and the member
// that this primary has proposed to add. A member proposed for removal counts until the primary has learned
// that it is removed: until then raft may promote it.
func (c *Copy) counts(o *other) bool {
	p := &c.lead.proposal
	switch {
	case p.Kind == Shrink && p.Target == o.process && c.Flaws.ShrinkEarly:
		return false
	case o.isr:
		return true
	}
	return p.Kind == Expand && p.Target == o.process
}

func (c *Copy) aloneNow() bool {
	if !c.lead.active {
		return false
	}
	for i := range c.lead.others {
		if c.counts(&c.lead.others[i]) {
			return false
		}
	}
	return true
}

// committed returns the seq up to which the whole maximal ISR has the log (R3).
func (c *Copy) committed() uint64 {
	seq, have, members := c.end.Seq, 1, 1
	for i := range c.lead.others {
		o := &c.lead.others[i]
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

// advance raises the commit index, opens the gate when R1 allows it, and proposes a handover that waited
// for the suffix to become empty.
func (c *Copy) advance(e *Effects) {
	if seq := c.committed(); seq > c.commit {
		c.commit = seq
		e.Commit = seq
	}
	l := &c.lead
	if l.closing && c.commit == c.end.Seq {
		c.proposeHandover(e)
	}
	if !l.open && !c.mustWait() && c.knowsCommitted() {
		c.openNow(e)
	}
}

// knowsCommitted reports whether the primary knows of all that was committed before its leader epoch (R1): it
// has committed a record of this leader epoch behind all that it had, or there is no other copy whose
// acknowledgement it needs.
func (c *Copy) knowsCommitted() bool {
	l := &c.lead
	return l.alone || l.first != 0 && c.commit >= l.first || c.Flaws.OpenEarly
}

// mustWait reports whether R1 makes the primary wait for G: in an unsealed leader epoch no report has ended the
// old primary's lease, so only time does.
func (c *Copy) mustWait() bool { return c.config.Unsealed && !c.Flaws.OpenUnsealed }

// openLater opens the gate of an unsealed leader epoch when G has passed since this process learned of it.
func (c *Copy) openLater(now int64, tick uint64, e *Effects) {
	if !c.lead.open && c.knowsCommitted() && (!c.mustWait() || c.Times.silent(c.learned, now, tick)) {
		c.openNow(e)
	}
}

func (c *Copy) openNow(e *Effects) {
	l := &c.lead
	l.open = true
	e.Open = !l.closing && c.config.Epoch >= l.staleUntil
}
