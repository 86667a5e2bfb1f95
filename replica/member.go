package replica

// Accept says whether a member takes a frame of a primary (M1). It takes one only from the primary of its newest row,
// with exactly that epoch and leader epoch, in its own incarnation as that row has it, and not of an epoch
// that it has reported. The caller asks before it reads the frame's content.
func (c *Copy) Accept(from Process, epoch, leader uint64) Verdict {
	cfg := &c.config
	switch {
	case c.Flaws.NoEpochCheck:
		return Take
	case epoch < cfg.Epoch:
		return Stale
	case epoch > cfg.Epoch || !cfg.has(c.self):
		return Later
	case from == Process{} || from != cfg.Primary || leader != cfg.LeaderEpoch || from == c.self:
		return Stale
	case c.sealed == epoch || c.damaged:
		return Sealed
	}
	return Take
}

// NeedsSync reports whether a member must send its log end and epoch table to the primary before it may append: it
// has not truncated its log in this leader epoch (M2).
func (c *Copy) NeedsSync() bool {
	return c.truncated != c.config.LeaderEpoch && !c.Flaws.NoTruncate
}

// Sync is the primary's answer to a member's log end and epoch table: Take and the seq behind which the
// member truncates, or Rebuild if it must install a snapshot. Stale means no answer.
func (c *Copy) Sync(from Process, epoch, leader uint64, table EpochTable, end Point) (after uint64, v Verdict) {
	if !c.lead.active || epoch != c.config.Epoch || leader != c.config.LeaderEpoch || c.other(from) == nil {
		return 0, Stale
	}
	common, ok := CommonPoint(c.table, c.end.Seq, table, end.Seq)
	if !ok {
		return 0, Rebuild
	}
	return common.Seq, Take
}

// Truncated tells a member the primary's answer to its Sync, in a frame that Accept takes: the logs share what is up to
// after. The member truncates behind it, and M2 is done in this leader epoch.
//
// It never truncates a record of this leader epoch: the answer may come late or twice, after the primary has
// sent more. And it never truncates what is visible: rather it installs a snapshot.
func (c *Copy) Truncated(after uint64) Effects {
	var e Effects
	leader := c.config.LeaderEpoch
	if !c.Flaws.StaleTruncate && (c.truncated == leader || c.end.Epoch >= leader && leader > 0) {
		c.truncated = leader
		return e
	}
	if after < c.commit {
		e.Install = true
		return e
	}
	if after < c.end.Seq {
		c.table = c.table.cut(after)
		epoch, _ := c.table.At(after, after)
		c.end = Point{epoch, after}
		e.Truncate = &after
	}
	c.truncated = leader
	return e
}

// Follows says whether a batch of records, the last of them at last, follows the log (M3), for an append that Accept takes.
func (c *Copy) Follows(prev, last Point) Verdict {
	switch {
	case c.Flaws.NoTruncate:
		if prev.Seq == c.end.Seq {
			return Take
		}
		return Mismatch
	case c.NeedsSync():
		return Mismatch
	case prev == c.end:
		return Take
	}
	if epoch, ok := c.table.At(last.Seq, c.end.Seq); ok && epoch == last.Epoch {
		return Repeat
	}
	return Mismatch
}

// Received tells a member that its own log has records up to end, those behind its former end in one epoch, and that
// the primary's commit index is commit. It comes after Accept, and after Follows if there are records. What the commit
// index covers becomes visible up to the member's own log end, but only when M2 is done in this leader epoch (M4):
// before that the log may end with records of another history.
func (c *Copy) Received(end Point, commit uint64) Effects {
	var e Effects
	c.grow(end)
	if c.NeedsSync() && !c.Flaws.CommitUncut {
		return e
	}
	if c.Flaws.ApplyEarly {
		commit = c.end.Seq
	}
	if commit = min(commit, c.end.Seq); commit > c.commit {
		c.commit = commit
		e.Commit = commit
	}
	return e
}

// Ack returns what a member acknowledges to the primary, with synced as the seq up to which its log is on stable
// storage. It returns false if it may acknowledge nothing: M1 and M2 hold for that, too.
func (c *Copy) Ack(synced uint64) (Ack, bool) {
	cfg := &c.config
	if c.Accept(cfg.Primary, cfg.Epoch, cfg.LeaderEpoch) != Take || c.NeedsSync() {
		return Ack{}, false
	}
	return Ack{Epoch: cfg.Epoch, Leader: cfg.LeaderEpoch, Written: c.end.Seq, Synced: min(synced, c.end.Seq)}, true
}

// Renew says whether a member grants a lease renewal in a heartbeat (M5): only if its newest row agrees and it has
// not reported that epoch. Otherwise the next primary itself would renew the lease of the one before.
func (c *Copy) Renew(from Process, epoch, leader uint64, now int64, tick uint64) bool {
	if c.Accept(from, epoch, leader) != Take && !(c.Flaws.NodeLease && c.sealed != c.config.Epoch) {
		return false
	}
	c.heard, c.heardEpoch = instant{now, tick}, c.config.Epoch
	return true
}

// Reporting reports whether this copy reports that its shard has no primary that it hears. The report names
// Config().Epoch and End(), and is repeated until Configure shows another epoch.
func (c *Copy) Reporting() bool { return c.sealed != 0 && c.sealed == c.config.Epoch }

// Tick is called for each own tick of 25 ms; tick counts them. raftLeader says that this node's raft hears a
// leader, or leads. A member of the ISR reports when M6 lets it; a primary opens when R1's wait for G is over, and
// proposes to remove members that lag (R7).
func (c *Copy) Tick(now int64, tick uint64, raftLeader bool) Effects {
	var e Effects
	if !c.started {
		return e
	}
	if c.lead.active {
		c.openLater(now, tick, &e)
		c.blame(now, &e)
		return e
	}
	if c.Reporting() || !c.mayReport(now, tick) || !raftLeader && !c.Flaws.ReportAlone {
		return e
	}
	c.sealed = c.config.Epoch
	e.Report = true
	return e
}

// mayReport reports whether a member of the ISR may report (M6): the row is relinquished, so the last
// primary is known not to serve, or G has passed without a renewal. Silence counts by leader epoch, as the lease does,
// and from the start of the process at the earliest: its predecessor may have granted a renewal a moment before.
func (c *Copy) mayReport(now int64, tick uint64) bool {
	cfg := &c.config
	switch {
	case !cfg.inISR(c.self) || c.damaged && !c.Flaws.DamagedReports:
		return false
	case cfg.Relinquished || c.Times.silent(c.heard, now, tick):
		return true
	}
	return c.Flaws.SilenceEpoch && c.heardEpoch != cfg.Epoch
}

// blame counts ticks in which members of the ISR made no contact, or no progress on what they owe (R7). A tick that
// comes late does not count: a primary that did not run blames no member.
func (c *Copy) blame(now int64, e *Effects) {
	l := &c.lead
	late := now-l.lastTick > c.Times.LateTick
	l.lastTick = now
	for i := range l.others {
		o := &l.others[i]
		owes := o.match < c.end.Seq
		if o.contact && (o.progress || !owes) {
			o.idle = 0
		} else if !late {
			o.idle++
		}
		o.contact, o.progress = false, false
		if o.idle >= c.Times.LagTicks {
			c.shrink(o, e)
		}
	}
}
