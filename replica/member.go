package replica

import "slices"

// member is what a copy knows as a member: a copy that follows a primary.
type member struct {
	*state
	// heard is the latest of: the start of this process, when it learned of the leader epoch, and the last
	// renewal of this leader epoch that it granted. M6 counts silence from it.
	heard      instant
	heardEpoch uint64 // config epoch of the last renewal; only the flaw silenceEpoch reads it
	truncated  uint64 // leader epoch in which M2 is done
	owed       uint64 // M8: end of the copy that this process has dropped in this leader epoch; 0: none
	sealed     uint64 // epoch that this copy has reported: it accepts and acknowledges nothing of it
}

// Accept says whether a member takes a frame of a primary (M1). It takes one only from the primary of its newest row,
// with exactly that epoch and leader epoch, in its own incarnation as that row has it, and not of an epoch
// that it has reported. The caller asks before it reads the frame's content.
func (c *member) Accept(from Process, epoch, leader uint64) Verdict {
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
func (c *member) NeedsSync() bool {
	return c.truncated != c.config.LeaderEpoch && !c.Flaws.NoTruncate
}

// Sync is the primary's answer to a member's log end and epoch table: Take and the seq behind which the
// member truncates, or Rebuild if it must install a snapshot. Stale means no answer.
func (c *primary) Sync(from Process, epoch, leader uint64, table EpochTable, end Point) (after uint64, v Verdict) {
	if !c.active || epoch != c.config.Epoch || leader != c.config.LeaderEpoch || c.other(from) == nil {
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
func (c *member) Truncated(after uint64) Effects {
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
func (c *member) Follows(prev, last Point) Verdict {
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
func (c *member) Received(end Point, commit uint64) Effects {
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
func (c *member) Ack(synced uint64) (Ack, bool) {
	cfg := &c.config
	if c.Accept(cfg.Primary, cfg.Epoch, cfg.LeaderEpoch) != Take || c.NeedsSync() || c.owed > 0 {
		return Ack{}, false
	}
	return Ack{Epoch: cfg.Epoch, Leader: cfg.LeaderEpoch, Written: c.end.Seq, Synced: min(synced, c.end.Seq)}, true
}

// Renew says whether a member grants a lease renewal in a heartbeat (M5): only if its newest row agrees and it has
// not reported that epoch. Otherwise the next primary itself would renew the lease of the one before.
func (c *member) Renew(from Process, epoch, leader uint64, now int64, tick uint64) bool {
	if c.Accept(from, epoch, leader) != Take && !(c.Flaws.NodeLease && c.sealed != c.config.Epoch) || c.owed > 0 && !c.Flaws.DropForgotten {
		return false
	}
	c.heard, c.heardEpoch = instant{now, tick}, c.config.Epoch
	return true
}

// Reporting reports whether this copy reports that its shard has no primary that it hears. The report names
// Config().Epoch and End(), and is repeated until Configure shows another epoch.
func (c *member) Reporting() bool { return c.sealed != 0 && c.sealed == c.config.Epoch }

// listen begins to count silence when the process starts and when it learns of another leader epoch.
func (c *member) listen(since instant) {
	c.heard = since
	if !c.started && c.Flaws.ReportAtStart {
		c.heard = instant{since.at - c.Times.Silence, since.tick - c.Times.SilenceTicks}
	}
}

// report reports whether the copy begins to report the epoch. A report has no use while raft has no leader, and it
// would stop the shard.
func (c *member) report(now int64, tick uint64, raftLeader bool) bool {
	if c.Reporting() || !c.mayReport(now, tick) || !raftLeader && !c.Flaws.ReportAlone {
		return false
	}
	c.sealed = c.config.Epoch
	return true
}

// mayReport reports whether a member of the ISR, or any copy if the row asks all of them, may report (M6): the row is relinquished, so the last
// primary is known not to serve, or G has passed without a renewal. Silence counts by leader epoch, as the lease does,
// and from the start of the process at the earliest: its predecessor may have granted a renewal a moment before.
func (c *member) mayReport(now int64, tick uint64) bool {
	cfg := &c.config
	switch {
	case !cfg.inISR(c.self) && !cfg.asksAll() || c.damaged && !c.Flaws.DamagedReports:
		return false
	case cfg.Relinquished || c.Times.silent(c.heard, now, tick):
		return true
	}
	return c.Flaws.SilenceEpoch && c.heardEpoch != cfg.Epoch
}

// Damaged tells the copy that its log lacks records that it may have acknowledged. It accepts,
// acknowledges and reports nothing until its row has it unclean or outside the ISR: until then raft may
// still promote it as a clean copy (M7). Proposal returns what raft has to decide. A copy that is made the primary
// meanwhile resigns instead of opening.
func (c *member) Damaged() Effects {
	c.damaged = true
	c.admit()
	return Effects{Propose: c.damageProposal()}
}

// admit ends the silence of a damaged copy once a row that knows this process says that nothing counts on its copy. A
// row of before this start may say so, too, and be long over. Nothing counts either on what a copy has where its
// shard begins empty on it: that is stale, and this process has lost nothing since.
func (c *member) admit() {
	cfg := &c.config
	begins := cfg.leads(c.self) && cfg.Born == cfg.LeaderEpoch
	if begins || cfg.unclean(c.self) || slices.Contains(cfg.Learners, c.self) {
		c.damaged = false
	}
}

// damageProposal returns the proposal to mark this copy as unclean; nil: it is not damaged, or raft cannot decide it yet.
func (c *member) damageProposal() *Proposal {
	if !c.damaged || !c.config.inISR(c.self) || c.config.leads(c.self) {
		return nil
	}
	return &Proposal{MarkUnclean, c.config.Epoch, c.self}
}

// Installed tells the copy that a snapshot of the primary's copy has replaced its own: all records up to
// end, all committed, with the primary's epoch table. M2 is done with it in this leader epoch.
func (c *member) Installed(table EpochTable, end Point) {
	c.table = slices.Clone(table).cut(end.Seq)
	c.end, c.commit = end, end.Seq
	c.truncated = c.config.LeaderEpoch
	if end.Seq >= c.owed {
		c.owed = 0
	}
}

// Owed returns the seq that a snapshot must have at least for this copy to install it: that of what it has dropped in this leader epoch. An
// older snapshot was held up on its way, and the primary counts more.
func (c *member) Owed() uint64 { return c.owed }

// MayDrop reports whether a process need not keep what it has of the shard: by its newest row another process is the primary, this one should have no copy
// and has none that counts, and each node that should have one has a clean copy in the ISR. And G has passed since this process last granted a renewal: if
// it is a learner again a moment later, the primary could otherwise propose it on the strength of that one (R5).
func (c *member) MayDrop(now int64) bool {
	cfg := &c.config
	own := func(p Process) bool { return p.Node == c.self.Node } // also a former process: raft has not decided yet that this one has its copies
	if now-c.heard.at < c.Times.Silence || (cfg.Primary == Process{}) || slices.ContainsFunc(slices.Concat(cfg.ISR, cfg.Learners, cfg.Assigned), own) || len(cfg.Assigned) == 0 {
		return false
	}
	return !slices.ContainsFunc(cfg.Assigned, func(p Process) bool { return !cfg.inISR(p) || cfg.unclean(p) })
}

// Drop tells the copy that what it had is gone. If this process becomes a learner again in the same leader epoch, a primary that has missed the
// rows in between may count what it acknowledged before. So it acknowledges nothing, and grants no lease, which R5 needs, until it has
// installed a snapshot with all of that (M8). In another leader epoch each primary begins with what members say then. What the copy had before M2 in this
// leader epoch it has not acknowledged: its end may be one that the primary never comes to.
func (c *member) Drop() {
	if c.truncated == c.config.LeaderEpoch {
		c.owed = max(c.owed, c.end.Seq)
	}
	c.table, c.end, c.commit = nil, Point{}, 0
	c.truncated = 0
}

// Counts reports whether raft counts on what this copy has: it is a clean member of the ISR. Such a copy may not be replaced.
func (c *member) Counts() bool { return c.config.inISR(c.self) && !c.config.unclean(c.self) }
