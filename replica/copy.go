package replica

import "slices"

// Copy is one copy of one shard, as this process has it.
type Copy struct {
	Flaws Flaws // tests set it before the first event
	Times Times

	self   Process
	config Config
	table  EpochTable
	end    Point  // of the log
	commit uint64 // Invariant: commit <= end.Seq, and it never falls

	// heard is the latest of: the start of this process, when it learned of the leader epoch, and the last
	// renewal of this leader epoch that it granted. M6 counts silence from it.
	heard      instant
	heardEpoch uint64 // config epoch of the last renewal; only the flaw silenceEpoch reads it
	learned    instant
	started    bool

	truncated uint64 // leader epoch in which M2 is done
	sealed    uint64 // epoch that this copy has reported: it accepts and acknowledges nothing of it
	damaged   bool   // the log lacks records, and raft does not know it yet

	lead leader
}

// New returns the copy of a process that has just started. The table and end describe the unbroken prefix of
// the log that the copy has; commit is the greatest commit index that the log or its snapshot vouches for.
func New(self Process, table EpochTable, end, commit uint64) *Copy {
	c := &Copy{self: self, table: slices.Clone(table), commit: min(commit, end), Times: DefaultTimes, Flaws: flawsByName(flawed)}
	epoch, _ := c.table.At(end, end)
	c.end = Point{epoch, end}
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
		if !c.started {
			c.lead.lastTick = now
		}
		if c.started || !c.Flaws.ReportAtStart {
			c.heard = c.learned
		} else {
			c.heard = instant{now - c.Times.Silence, tick - c.Times.SilenceTicks}
		}
		c.started = true
	}
	if cfg.inISR(c.self) && cfg.unclean(c.self) || !cfg.inISR(c.self) {
		c.damaged = false // raft knows it: nothing counts on this copy
	}
	c.configurePrimary(&was, now, tick, &e)
	return e
}

// Commit returns the commit index: the seq of the newest change that may be visible here.
func (c *Copy) Commit() uint64 { return c.commit }

// End returns the end of the log.
func (c *Copy) End() Point { return c.end }

// Config returns the newest row.
func (c *Copy) Config() Config { return c.config }

// Table returns the epochs of the log. The caller must not change it.
func (c *Copy) Table() EpochTable { return c.table }

// Damaged tells the copy that its log lacks records that it may have acknowledged. It accepts,
// acknowledges and reports nothing until its row has it unclean or outside the ISR: until then raft may
// still promote it as a clean copy (M7). A primary must resign first.
func (c *Copy) Damaged() Effects {
	if !c.config.inISR(c.self) || c.config.unclean(c.self) {
		return Effects{}
	}
	c.damaged = true
	return Effects{Propose: &Proposal{MarkUnclean, c.config.Epoch, c.self}}
}

// Compacted tells the copy that a snapshot has replaced the records up to a seq. Epochs that ended before it leave
// the table.
func (c *Copy) Compacted(seq uint64) {
	n := 0
	for n+1 < len(c.table) && c.table[n+1].Seq <= seq {
		n++
	}
	c.table = slices.Delete(c.table, 0, n)
}

// Installed tells the copy that a snapshot of the primary's copy has replaced its own: all records up to
// end, all committed, with the primary's epoch table. M2 is done with it in this leader epoch.
func (c *Copy) Installed(table EpochTable, end Point) {
	c.table = slices.Clone(table).cut(end.Seq)
	c.end, c.commit = end, end.Seq
	c.truncated = c.config.LeaderEpoch
}

// grow notes that the log has records up to a seq, those behind its former end in one epoch.
func (c *Copy) grow(end Point) {
	if end.Seq > c.end.Seq {
		c.table = c.table.extend(end.Epoch, c.end.Seq+1)
		c.end = end
	}
}
