package shard

import (
	"math"
	"slices"

	"github.com/ndring/ndring/replica"
)

// Copies is a shard as one of several copies: what the others have, and what this one may answer.
type Copies struct{ s *Shard }

// Copies returns the shard as one of several copies.
func (s *Shard) Copies() Copies { return Copies{s} }

// AskISR begins a round to the ISR for what has just been looked up, if read-concern is sync. It returns the time for
// Answers; 0 if the lease is enough.
func (c Copies) AskISR() (asked int64) {
	s := c.s
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
func (c Copies) Answers(asked, now int64) bool {
	own := &c.s.localCopy
	until, leased := own.Leased(now)
	if asked == 0 || until == math.MaxInt64 {
		return leased
	}
	if until == math.MinInt64 {
		return false
	}
	own.index.mu.RLock()
	defer own.index.mu.RUnlock()
	return until-own.rules.Times.Lease > asked
}

// FreshAt says when, by Store.Monotonic, this copy had all that was committed then. It returns false if the copy may not answer
// reads at a time: it is not that of a member, or is older than replica-max-staleness.
//
// What a reader looks up afterwards is at least as new: what is visible is never taken back, except where a copy is
// replaced or begins empty, and both reset the time.
func (c Copies) FreshAt(now int64) (at int64, ok bool) {
	s, own := c.s, &c.s.localCopy
	at = s.fresh.Load()
	if at == 0 || now-at > int64(s.store.copies.Load().MaxStaleness) || !s.Ready() {
		return 0, false
	}
	own.index.mu.RLock()
	defer own.index.mu.RUnlock()
	if own.fresh.Load() < at || own.rules.Primary() || own.mustInstall {
		return 0, false
	}
	row := own.rules.Config()
	return at, own.process.follows(&row)
}

// Current reports whether this node hears at once, or within replica-max-staleness, of all that becomes visible in the shard: it
// serves it and has the lease, or has a fresh copy. Otherwise another node may change the shard without its knowledge.
func (c Copies) Current(now int64) bool {
	if c.s.Serving() {
		if _, leased := c.s.Leased(now); leased {
			return true
		}
	}
	_, fresh := c.FreshAt(now)
	return fresh
}

// follows reports whether a row has this process as a copy of another primary's.
func (p *process) follows(row *replica.Config) bool {
	return row.Primary != p.self && (slices.Contains(row.ISR, p.self) || slices.Contains(row.Learners, p.self))
}

// Appended returns the seq of the newest record of the shard and the leader epoch in which this process is the primary;
// false if it is not.
func (c Copies) Appended() (leader, seq uint64, leads bool) {
	own := &c.s.localCopy
	own.index.mu.RLock()
	defer own.index.mu.RUnlock()
	return own.rules.Config().LeaderEpoch, own.rules.End().Seq, own.rules.Primary()
}

// Acknowledged returns how many other copies have all that was appended in a leader epoch up to a seq; false if this
// process is not the primary of that leader epoch any more.
func (c Copies) Acknowledged(leader, seq uint64) (copies int, leads bool) {
	own := &c.s.localCopy
	own.index.mu.RLock()
	defer own.index.mu.RUnlock()
	row := own.rules.Config()
	if !own.rules.Primary() || row.LeaderEpoch != leader {
		return 0, false
	}
	for _, list := range [][]replica.Process{row.ISR, row.Learners} {
		for _, p := range list {
			if written, _ := own.rules.Match(p); p != own.process.self && written >= seq {
				copies++
			}
		}
	}
	return copies, true
}

// ID returns the number of the shard.
func (c Copies) ID() int { return c.s.id }
