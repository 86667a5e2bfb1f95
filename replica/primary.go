package replica

// primary is what a copy knows while it is the primary.
type primary struct {
	members
	*state
	active bool // the newest row names this process
	alone  bool // the maximal ISR is this process alone
	open   bool // R1 and G are done in this leader epoch
	// first is the seq of the first record of this leader epoch, a no-op unless the copy was alone; 0: none yet.
	first   uint64
	asked   bool    // Effects.NoOp was returned and the no-op is not appended yet
	closing bool    // R8: the gate is closed until the epoch changes
	target  Process // of the handover; zero: resign
	// staleUntil is an epoch of a later leader that a member knows: the gate is closed until this
	// process has learned of a row of that epoch.
	staleUntil uint64
	lastTick   int64
}

// Primary reports whether the newest row names this process as the primary.
func (c *primary) Primary() bool { return c.active }

// Alone reports whether this process is the primary and the maximal ISR has no other member: what it appends is
// committed, and reads need no lease.
func (c *primary) Alone() bool { return c.alone }

// configurePrimary takes a primary to a new row, or makes the copy a primary, or takes that away.
func (c *primary) configurePrimary(was *Config, now int64, tick uint64, e *Effects) {
	mine := c.config.leads(c.self)
	if c.active && (!mine || was.LeaderEpoch != c.config.LeaderEpoch) {
		e.StepDown = true
		*c = primary{state: c.state, members: members{state: c.state}, lastTick: c.lastTick}
	}
	if !mine {
		return
	}
	c.active = true
	if was.Epoch != c.config.Epoch {
		c.proposal = Proposal{}
		if c.closing || c.staleUntil > was.Epoch {
			c.closing, c.target = false, Process{}
			e.Open = c.open && c.config.Epoch >= c.staleUntil
		}
	}
	c.setOthers(now)
	c.alone = c.aloneNow()
	for _, o := range c.others {
		e.Send = append(e.Send, o.process)
	}
	if c.damaged && !c.open {
		c.propose(Resign, Process{}, e)
		return
	}
	c.askNoOp(e)
	c.advance(e)
	c.openLater(now, tick, e)
}

// askNoOp asks for the no-op of the leader epoch once there is another copy. A primary that is alone in
// its row needs none: all that it has is committed by R3, so a start writes nothing. It appends the no-op
// before it sends anything, so the copy that receives the log can tell the leader epochs apart.
func (c *primary) askNoOp(e *Effects) {
	if c.first == 0 && !c.asked && len(c.others) > 0 {
		c.asked = true
		e.NoOp = true
	}
}

// Appended tells the copy that the primary's own log has records up to a seq, all behind its former end in the
// present epoch. The primary writes its own log before it sends (R2): what its log refuses must not
// exist elsewhere.
func (c *primary) Appended(end uint64) Effects {
	if c.AppendedAlone(end) {
		return Effects{Commit: end}
	}
	var e Effects
	if c.active && end > c.end.Seq {
		c.extend(end)
		c.advance(&e)
	}
	return e
}

// AppendedAlone is Appended for a primary that is alone: what it appends is committed, and nothing else follows.
// For any other copy it does nothing and returns false. Each write of a shard with one copy takes this way.
func (c *primary) AppendedAlone(end uint64) bool {
	if !c.alone || end <= c.end.Seq {
		return false
	}
	c.extend(end)
	c.commit = end
	return true
}

// extend notes that the primary's log has records up to a seq.
func (c *primary) extend(end uint64) {
	if c.first == 0 {
		c.first, c.asked = c.end.Seq+1, false
	}
	c.grow(Point{c.config.Epoch, end})
}

// Acked tells the primary what a member acknowledged. It counts only from the incarnation that the row
// names and in the present epoch (R4): a former process may have lost power since, and the records with it.
func (c *primary) Acked(from Process, a Ack) Effects {
	var e Effects
	if !c.active {
		return e
	}
	if a.Flags&AckStale != 0 {
		// A later leader epoch deposes this primary, which has not learned of it yet. It may not start what
		// cannot commit, and must not answer.
		if a.Leader > c.config.LeaderEpoch && a.Epoch > c.staleUntil {
			c.staleUntil = a.Epoch
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
	if a.Flags&AckFailed != 0 && !c.Flaws.IgnoreFailed {
		shrink(c, o, &e)
	}
	return e
}

// Lagging proposes to remove a member of the ISR, because it must install a snapshot or its log fails; Tick does
// it for a member that lags (R7). Nothing happens while another proposal is under way: call it again.
func (c *primary) Lagging(from Process) Effects {
	var e Effects
	if o := c.other(from); o != nil {
		shrink(c, o, &e)
	}
	return e
}

func shrink(c *primary, o *other, e *Effects) {
	if o.isr && c.active {
		c.propose(Shrink, o.process, e)
	}
}

// propose makes a proposal unless one is under way. A proposed member counts from now on, before
// anything goes out: raft may promote it before this primary learns that it is in the ISR (R3).
func (c *primary) propose(kind ProposalKind, target Process, e *Effects) bool {
	if c.proposal.Kind != 0 {
		return false
	}
	c.proposal = Proposal{kind, c.config.Epoch, target}
	c.alone = c.aloneNow()
	e.Propose = c.proposed()
	return true
}

// advance raises the commit index, opens the gate when R1 allows it, and proposes a handover that waited
// for the suffix to become empty.
func (c *primary) advance(e *Effects) {
	if seq := c.committed(); seq > c.commit {
		c.commit = seq
		e.Commit = seq
	}
	if c.closing && c.commit == c.end.Seq {
		c.proposeHandover(e)
	}
	if !c.open && !c.damaged && !mustWait(c) && knowsCommitted(c) {
		c.openNow(e)
	}
}

// knowsCommitted reports whether the primary knows of all that was committed before its leader epoch (R1): it
// has committed a record of this leader epoch behind all that it had, or there is no other copy whose
// acknowledgement it needs.
func knowsCommitted(c *primary) bool {
	return c.alone || c.first != 0 && c.commit >= c.first || c.Flaws.OpenEarly
}

// mustWait reports whether R1 makes the primary wait for G: in an unsealed leader epoch no report has ended the
// old primary's lease, so only time does.
func mustWait(c *primary) bool { return c.config.Unsealed && !c.Flaws.OpenUnsealed }

// openLater opens the gate of an unsealed leader epoch when G has passed since this process learned of it.
func (c *primary) openLater(now int64, tick uint64, e *Effects) {
	if !c.open && !c.damaged && knowsCommitted(c) && (!mustWait(c) || c.Times.silent(c.learned, now, tick)) {
		c.openNow(e)
	}
}

func (c *primary) openNow(e *Effects) {
	c.open = true
	e.Open = !c.closing && c.config.Epoch >= c.staleUntil
}

// blame counts ticks in which members of the ISR made no contact, or no progress on what they owe (R7). A tick that
// comes late does not count: a primary that did not run blames no member. Nor does one whose raft hears no leader: if it receives
// nothing but is heard, raft would remove the members from the ISR of a primary that never learns of that.
func (c *primary) blame(now int64, raftLeader bool, e *Effects) {
	late := now-c.lastTick > c.Times.LateTick
	c.lastTick = now
	for i := range c.others {
		o := &c.others[i]
		owes := o.match < c.end.Seq
		if o.contact && (o.progress || !owes) {
			o.idle = 0
		} else if !late {
			o.idle++
		}
		o.contact, o.progress = false, false
		if o.idle >= c.Times.LagTicks && (raftLeader || c.Flaws.BlameAlone) {
			shrink(c, o, e)
		}
	}
}
