package shard

import (
	"math"
	"sync/atomic"

	"github.com/ndring/ndring/replica"
)

// localCopy is this node's copy of a shard: what it has, the rules that say what of it is committed, and those who wait
// for that.
type localCopy struct {
	contents

	shard int
	fresh atomic.Int64 // when, by Store.Monotonic, a member had all that was committed then; 0: unknown. It changes under index.mu

	// index.mu guards all below.
	rules    *replica.Copy
	doubtful bool // a start has found damage, of which the cluster may not know
	// mustInstall: what is visible, or in the log, is not what the primary has. Only an installation ends that.
	mustInstall bool
	installing  bool // a whole copy is on its way; a second one waits for its end
	waiters     waiters
	isr         strength // of the newest row
	runs        commitRuns
	applied     uint64   // seq of the newest change that is visible
	comparedAt  uint64   // seq of the newest digest that was compared with the primary's
	opens       bool     // the rules let the gate open in this leader epoch
	closes      bool     // the rules want the gate closed until another epoch
	ended       struct { // the last leader epoch that was this node's and is over
		leader, applied uint64
	}
}

// begin starts the rules of a copy that has a log with those epochs, an unbroken prefix up to end, and that commit index.
// The caller holds index.mu, or is alone.
func (c *localCopy) begin(epochs replica.EpochTable, end, commit uint64) {
	c.rules = replica.New(c.process.self, epochs, end, commit)
	if c.doubtful {
		c.rules.Damaged()
	}
	c.applied = commit
}

// appended takes over changes that are in the log as one batch, and applies what that commits. Time is when their conditions were
// checked, in Unix ms.
func (c *localCopy) appended(changes []change, epoch uint64, time int64) {
	end := changes[len(changes)-1].seq
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if c.suffix.empty() && c.rules.AppendedAlone(end) {
		for i := range changes {
			c.apply(&changes[i], epoch)
		}
		c.applied = end
		return
	}
	e := c.rules.Appended(end)
	for i := range changes {
		c.hold(&changes[i], epoch, end, time)
	}
	if flawed("visibleEarly") {
		c.advance(end)
	}
	c.follow(&e)
}

// follow does what effects of the rules say about the commit index and the gate. Role opens and closes it.
func (c *localCopy) follow(e *replica.Effects) {
	if e.Commit > 0 {
		c.advance(e.Commit)
	}
	c.opens = c.opens || e.Open
	c.closes = (c.closes || e.Close) && !e.Open
}

// advance makes the suffix visible up to the commit index, all at one moment.
func (c *localCopy) advance(commit uint64) {
	if p := c.suffix.first(); p != nil && p.batch <= commit && c.rules.Primary() {
		c.runs.committed(c.rules.Config().LeaderEpoch, p.seq, c.isr)
	}
	for p := c.suffix.first(); p != nil && p.batch <= commit; p = c.suffix.first() {
		c.apply(&p.change, p.epoch)
		c.applied = p.seq
		c.going.Add(-p.frees)
		c.held.Add(-p.bytes)
		c.suffix.pop()
	}
	c.waiters.wake(c.applied)
}

// configure takes the copy to a row.
func (c *localCopy) configure(row replica.Config) replica.Effects {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	before := c.rules.Config()
	if before.Epoch == 0 { // the process may have got its name since
		c.begin(c.rules.Table(), c.rules.End().Seq, c.rules.Commit())
	}
	e := c.rules.Configure(row, c.process.mono(), c.process.ticks.Load())
	row = c.rules.Config()
	c.isr = strengthOf(&row)
	if before.LeaderEpoch != row.LeaderEpoch || !c.process.follows(&row) {
		c.fresh.Store(0)
	}
	if e.StepDown || !c.rules.Primary() {
		c.opens, c.closes = false, false
	}
	if e.StepDown {
		c.ended.leader, c.ended.applied = before.LeaderEpoch, c.applied
		c.waiters.fail()
	}
	if c.rules.Primary() {
		c.gate.leader.Store(row.LeaderEpoch)
		c.mustInstall = false
	}
	alone := c.rules.Primary() && c.rules.Alone()
	c.follow(&e)
	if alone {
		c.advance(math.MaxUint64) // also what damage has cut off from the prefix that this copy vouches for
	}
	c.gate.alone.Store(alone)
	return e
}

// proposal returns what the rules propose.
func (c *localCopy) proposal() *replica.Proposal {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.Proposal()
}

// row returns the newest row that the copy was taken to.
func (c *localCopy) row() replica.Config {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.Config()
}

// following is a copy as writer uses it while another node may be the primary.
type following struct{ *localCopy }

// outdated reports whether the copy is of a time before its shard last began empty, in the epoch born.
func (c following) outdated(born uint64) bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.Outdated(born)
}

// startOver empties the copy, whose log is empty now.
func (c following) startOver() {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.truncate(0)
	c.index.forgetAll()
	c.fresh.Store(0)
	c.requests, c.digests, c.comparedAt, c.doubtful, c.mustInstall = requestLog{}, digests{}, 0, false, false
	c.begin(nil, 0, 0)
}

// drop empties the copy, whose log is empty now, because other nodes have the shard. It returns the keys and the bytes that it had.
func (c following) drop() (keys, bytes int64) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	keys, bytes = c.index.counts.keys.Load(), c.index.counts.liveBytes.Load()
	c.truncate(0)
	c.index.forgetAll()
	c.fresh.Store(0)
	c.requests, c.digests, c.comparedAt, c.applied = requestLog{}, digests{}, 0, 0
	c.mustInstall = true
	c.rules.Drop()
	return keys, bytes
}

// mayDrop reports whether the rules let this node drop what it has of the shard, and it has something.
func (c *localCopy) mayDrop() bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return !c.installing && c.rules.MayDrop(c.process.mono()) && (c.rules.End().Seq > 0 || c.index.counts.keys.Load() > 0)
}

// truncated tells the rules that the logs of this member and of the primary share what is up to a seq. It returns the new end of
// the log, and whether any record must go.
func (c following) truncated(after uint64) (end replica.Point, any bool) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	e := c.rules.Truncated(after)
	if e.Install {
		c.mustInstall = true
		c.rules.Damaged()
	}
	return c.rules.End(), e.Truncate != nil
}

// cannotFollow tells the rules that nothing may count on this copy until a whole copy of the primary's has replaced it.
func (c following) cannotFollow() {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.mustInstall = true
	c.rules.Damaged()
}

// mayOpen reports whether the rules let the gate be open.
func (c *localCopy) mayOpen() bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.opens && !c.closes
}

// commitIndex returns the seq of the newest change that is visible: the commit index, or the end of a batch before it, because a batch
// counts as a whole.
func (c *localCopy) commitIndex() uint64 {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.applied
}
