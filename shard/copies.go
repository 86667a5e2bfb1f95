package shard

import (
	"math"
	"slices"

	"github.com/ndring/ndring/replica"
)

// AskISR begins a round to the ISR for what has just been looked up, if read-concern is sync. It returns the time for
// Answers; 0 if the lease is enough.
func (s *Shard) AskISR() (asked int64) {
	if !s.store.copies.Load().SyncReads {
		return 0
	}
	asked = s.store.mono()
	if r := s.store.replicator; r != nil {
		r.Round(s.id)
	}
	return asked
}

// Answers reports whether the shard may answer from its index at a time, by the clock of Store.Monotonic: it has the lease or,
// for a look-up with a round that AskISR began, each other copy of the maximal ISR has acknowledged a heartbeat that left
// after the look-up. Such a copy had reported no silence of the primary then, so no other primary
// could have committed anything before; only the order of events at this process counts, not how fast its clock runs.
//
// The leader epoch must be that of the look-up: the caller looks at it afterwards.
func (c *localCopy) Answers(asked, now int64) bool {
	until, leased := c.Leased(now)
	if asked == 0 || until == math.MaxInt64 {
		return leased
	}
	if until == math.MinInt64 {
		return false
	}
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return until-c.rules.Times.Lease > asked
}

// FreshAt says when, by Store.Monotonic, this copy had all that was committed then. It returns false if the copy may not answer
// reads at a time: it is not that of a member, or is older than replica-max-staleness.
//
// What a reader looks up afterwards is at least as new: what is visible is never taken back, except where a copy is
// replaced or begins empty, and both reset the time.
func (s *Shard) FreshAt(now int64) (at int64, ok bool) {
	at = s.fresh.Load()
	if at == 0 || now-at > int64(s.store.copies.Load().MaxStaleness) || !s.Ready() {
		return 0, false
	}
	c := &s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if c.fresh.Load() < at || c.rules.Primary() || c.mustInstall {
		return 0, false
	}
	row := c.rules.Config()
	return at, c.follows(&row)
}

// follows reports whether a row has this process as a copy of another primary's.
func (c *localCopy) follows(row *replica.Config) bool {
	self := c.process.self
	return row.Primary != self && (slices.Contains(row.ISR, self) || slices.Contains(row.Learners, self))
}

// Appended returns the seq of the newest record of the shard and the leader epoch in which this process is the primary;
// false if it is not.
func (s *Shard) Appended() (leader, seq uint64, leads bool) {
	c := &s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.Config().LeaderEpoch, c.rules.End().Seq, c.rules.Primary()
}

// Acknowledged returns how many other copies have all that was appended in a leader epoch up to a seq; false if this
// process is not the primary of that leader epoch any more.
func (s *Shard) Acknowledged(leader, seq uint64) (copies int, leads bool) {
	c := &s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	row := c.rules.Config()
	if !c.rules.Primary() || row.LeaderEpoch != leader {
		return 0, false
	}
	for _, list := range [][]replica.Process{row.ISR, row.Learners} {
		for _, p := range list {
			if written, _ := c.rules.Match(p); p != c.process.self && written >= seq {
				copies++
			}
		}
	}
	return copies, true
}

// ID returns the number of the shard.
func (s *Shard) ID() int { return s.id }
