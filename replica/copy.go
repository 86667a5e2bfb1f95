package replica

import "slices"

// state is what a copy knows whether it leads or follows.
type state struct {
	Flaws Flaws // tests set it before the first event
	Times Times

	self   Process
	config Config
	table  EpochTable
	end    Point  // of the log
	commit uint64 // Invariant: commit <= end.Seq, and it falls only when the copy is dropped

	started bool    // Configure was called
	learned instant // when it learned of the leader epoch
	damaged bool    // the log lacks records, and raft does not know it yet
}

// Copy is one copy of one shard, as this process has it.
type Copy struct {
	state
	primary
	member
}

// New returns the copy of a process that has just started. The table and end describe the unbroken prefix of
// the log that the copy has; commit is the greatest commit index that the log or its snapshot vouches for.
func New(self Process, table EpochTable, end, commit uint64) *Copy {
	c := &Copy{state: state{self: self, table: slices.Clone(table).cut(end), commit: min(commit, end), Times: DefaultTimes, Flaws: flawsByName(flawed)}}
	epoch, _ := c.table.At(end, end)
	c.end = Point{epoch, end}
	c.primary.state, c.primary.members.state, c.member.state = &c.state, &c.state, &c.state
	return c
}

// Configure takes the copy to a row. The caller passes each row that it learns, in order; rows may be missing.
// A row of the same epoch may have other learners.
//
// With the same leader epoch a primary goes on, in a later epoch. With another it starts over, even if it
// was the primary before: others may have led in between.
func (c *Copy) Configure(cfg Config, now int64, tick uint64) Effects {
	var e Effects
	if cfg.Epoch < c.config.Epoch {
		return e
	}
	if cfg.LeaderEpoch == 0 {
		cfg.LeaderEpoch = cfg.Epoch
	}
	was := c.config
	c.config = cfg
	if !c.started || was.LeaderEpoch != cfg.LeaderEpoch {
		c.learned = instant{now, tick}
		c.listen(c.learned)
	}
	if !c.started {
		c.started, c.lastTick = true, now
	}
	c.admit()
	e.Propose = c.damageProposal()
	c.configurePrimary(&was, now, tick, &e)
	return e
}

// Proposal returns what the copy proposes in this epoch, for the caller to repeat; nil: nothing.
func (c *Copy) Proposal() *Proposal {
	if p := c.damageProposal(); p != nil {
		return p
	}
	return c.proposed()
}

// Commit returns the commit index: the seq of the newest change that may be visible here.
func (c *state) Commit() uint64 { return c.commit }

// End returns the end of the log.
func (c *state) End() Point { return c.end }

// Config returns the newest row.
func (c *state) Config() Config { return c.config }

// CleanISR returns the number of clean members of the ISR, this one included: what min-insync counts.
func (c *state) CleanISR() int {
	n := 0
	for _, p := range c.config.ISR {
		if !c.config.unclean(p) {
			n++
		}
	}
	return n
}

// Table returns the epochs of the log. The caller must not change it.
func (c *state) Table() EpochTable { return c.table }

// Outdated reports whether the log is of a time before the shard last began empty, in the epoch born. The caller then
// removes the log and what is visible, and goes on with a New copy, before it calls Configure with that row.
func (c *state) Outdated(born uint64) bool { return len(c.table) > 0 && c.end.Epoch < born }

// Compacted tells the copy that a snapshot has replaced the records up to a seq. Epochs that ended before it leave
// the table.
func (c *state) Compacted(seq uint64) {
	n := 0
	for n+1 < len(c.table) && c.table[n+1].Seq <= seq {
		n++
	}
	c.table = slices.Delete(c.table, 0, n)
}

// grow notes that the log has records up to a seq, those behind its former end in one epoch.
func (c *state) grow(end Point) {
	if end.Seq <= c.end.Seq {
		return
	}
	if end.Epoch != c.end.Epoch || len(c.table) == 0 {
		c.table = c.table.extend(end.Epoch, c.end.Seq+1)
	}
	c.end = end
}

// Tick is called for each own tick of 25 ms; tick counts them. raftLeader says that this node's raft hears a
// leader, or leads. A member of the ISR reports when M6 lets it; a primary opens when R1's wait for G is over, and
// proposes to remove members that lag, if raft hears a leader (R7).
func (c *Copy) Tick(now int64, tick uint64, raftLeader bool) Effects {
	var e Effects
	if !c.started {
		return e
	}
	if c.active {
		c.openLater(now, tick, &e)
		c.blame(now, raftLeader, &e)
		return e
	}
	e.Report = c.report(now, tick, raftLeader)
	return e
}
