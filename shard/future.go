package shard

import (
	"fmt"
	"math"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// Future is a handle on a change that is appended: it completes when the change is committed and, under
// appendfsync always, synced. The zero Future is complete.
//
// A reply that rests on an uncommitted change of another client has a Future too, for that change. Once it is committed,
// such a reply also needs the lease: another primary may have committed more since, from acknowledgements
// that are buffered while this process does not run.
//
// A Latch waits for futures. That takes no lock for longer than a moment. A caller that holds the gate of the shard leaves it
// first: a later epoch may have to close the gate before the wait can end.
type Future struct {
	shard  *Shard
	leader uint64               // leader epoch in which it was appended
	seq    uint64               // that must be committed; 0 for none
	end    persistence.Position // of the log that must be synced; 0 for none
	lease  bool                 // the reply does not rest on a commit of its own
	one    bool                 // the reply does not wait for the commit (ConcernOne)
	needs  needs                // what the ISR must be at the commit
}

// with makes the future that of a change with a concern.
func (f Future) with(c Concern) Future {
	if f.shard != nil && f.seq != 0 {
		f.one, f.needs = c == ConcernOne, f.shard.process.needsOf(c)
	}
	return f
}

// AwaitsCommit reports whether the reply waits for a commit.
func (f Future) AwaitsCommit() bool { return f.seq != 0 && !f.one }

// Change returns the leader epoch and the seq of the change; zeros for none.
func (f Future) Change() (leader, seq uint64) {
	if f.lease {
		return 0, 0
	}
	return f.leader, f.seq
}

// Shard returns the shard of the change; nil for the zero Future.
func (f Future) Shard() *Shard { return f.shard }

// Parts returns the future of the commit alone, and the leader epoch of which the reply needs the lease besides; 0 for
// none. A caller with many futures waits for the leases together, after all commits.
func (f Future) Parts() (commit Future, lease uint64) {
	if f.lease {
		lease = f.leader
	}
	f.lease = false
	return f, lease
}

// Visible reports whether the change is committed, though perhaps not synced. A client that chose ConcernOne does not expect to
// see it.
func (f Future) Visible() bool {
	if f.shard == nil || !f.AwaitsCommit() {
		return true
	}
	done, err := f.shard.committed(f.leader, f.seq)
	return done && err == nil
}

// Done reports whether the future is complete, without waiting, and with which error. If it only lacks the lease, it is not
// complete and the error is ErrTryAgain: what the client gets if the lease does not return in time.
func (f Future) Done() (bool, error) {
	if f.shard == nil {
		return true, nil
	}
	if f.AwaitsCommit() {
		if done, err := f.shard.committed(f.leader, f.seq); !done || err != nil {
			return done, err
		}
		if err := f.held(); err != nil {
			return true, err
		}
	}
	if f.end != 0 {
		synced, err := f.shard.writer.log.Synced(f.end)
		if !synced && err != nil {
			return true, errUnsynced(err)
		}
		if !synced {
			return false, nil
		}
	}
	if f.lease && !f.shard.answers(f.leader) {
		return f.shard.LeaderEpoch() != f.leader, ErrTryAgain
	}
	return true, nil
}

func errUnsynced(err error) error {
	return fmt.Errorf("%w: the write is done, but a restart may lose it: %w", ErrUncertain, err)
}

var errDeposed = fmt.Errorf("%w: the shard has another primary since", ErrUncertain)

// committed reports whether it is known what became of a change that was appended in a leader epoch, and
// returns an error unless it is committed.
func (c *localCopy) committed(leader, seq uint64) (bool, error) {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.outcome(leader, seq)
}

// outcome is committed for a caller that holds index.mu.
func (c *localCopy) outcome(leader, seq uint64) (bool, error) {
	if c.rules.Primary() && c.rules.Config().LeaderEpoch == leader {
		return c.applied >= seq, nil
	}
	if c.ended.leader == leader && c.ended.applied >= seq {
		return true, nil
	}
	return true, errDeposed
}

// Leased returns until when the shard may answer from its index, by the clock of Store.Monotonic; false if it
// may not now. The caller asks after it has looked the answer up and before the reply leaves.
func (c *localCopy) Leased(now int64) (until int64, ok bool) {
	if c.gate.Alone() {
		return math.MaxInt64, true
	}
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	until = c.rules.LeasedUntil(c.heard)
	return until, now < until
}

// heard returns when the newest heartbeat that a process has acknowledged for a leader epoch of this shard left.
func (c *localCopy) heard(p replica.Process, leader uint64) int64 {
	if r := c.process.replicator; r != nil {
		return r.Heard(p, c.shard, leader)
	}
	return math.MinInt64
}

// answers reports whether a reply from a lookup in a leader epoch may leave. A lease that returns in the same leader epoch
// validates earlier lookups. With read-concern sync no lease does: the reply needs a round (AskISR).
func (c *localCopy) answers(leader uint64) bool {
	until, ok := c.Leased(c.process.mono())
	if until != math.MaxInt64 && c.process.copies.Load().SyncReads {
		return false
	}
	return ok && c.gate.LeaderEpoch() == leader
}
