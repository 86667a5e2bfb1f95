package shard

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// How many copies a node replaces because they differ from their primary's: one at a time, and after so many within the window
// none. Then something is wrong that a whole copy does not mend.
const (
	repairsMost   = 3
	repairsWindow = time.Hour
	repairTime    = 10 * time.Minute // after which a repair counts as ended, whatever became of it
)

// repairs are the copies of a node that differed from their primary's.
type repairs struct {
	checks, mismatches, begun, refused atomic.Int64

	mu     sync.Mutex // guards all below; comes before index.mu
	newest *localCopy
	times  []int64 // when the newest repairs began, by Store.Monotonic
	alarm  bool    // the newest repair was refused
}

// CopyStats are what a store counts of its copies' comparisons with their primaries'.
type CopyStats struct {
	DigestChecks     int64 // digests that were compared
	DigestMismatches int64 // digests that differed
	Repairs          int64 // copies that were given up for a whole copy of the primary's
	RepairsRefused   int64 // times that repairs stopped because there were too many
}

// CopyStats returns the counts.
func (s *Store) CopyStats() CopyStats {
	r := &s.process.repairs
	return CopyStats{r.checks.Load(), r.mismatches.Load(), r.begun.Load(), r.refused.Load()}
}

// begin reports whether a copy may be replaced now. Alarm says that it may not because too many were.
func (r *repairs) begin(c *localCopy, now int64) (ok, alarm bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = slices.DeleteFunc(r.times, func(at int64) bool { return now-at > int64(repairsWindow) })
	if len(r.times) >= repairsMost {
		alarm = !r.alarm
		if r.alarm = true; alarm {
			r.refused.Add(1)
		}
		return false, alarm
	}
	if n := len(r.times); n > 0 && now-r.times[n-1] < int64(repairTime) && r.newest.lacks() {
		return false, false
	}
	r.newest, r.times, r.alarm = c, append(r.times, now), false
	r.begun.Add(1)
	return true, false
}

// lacks reports whether the copy waits for a whole copy of its primary's.
func (c *localCopy) lacks() bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.mustInstall
}

// Compare compares this copy with a digest of its primary's. A copy that differs is given up for a whole copy of the
// primary's, unless others are. The answer then says so; otherwise it is Silence.
func (m Member) Compare(f *Source, of Digest) Answer {
	w := &m.s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := m.accepts(f, true); !ok {
		return Answer{}
	}
	r := &w.copy.process.repairs
	own, first, found := w.copy.compared(of.Seq)
	if first {
		r.checks.Add(1)
	}
	if !found || own == of {
		return Answer{}
	}
	log := w.disk.log.With("shard", w.shard, "seq", of.Seq)
	if first {
		r.mismatches.Add(1)
		log.Error("a copy differs from its primary's", "sum", own.Sum, "primary", f.From.Node, "primary's", of.Sum)
	}
	ok, alarm := r.begin(w.copy, w.copy.process.mono())
	if alarm {
		log.Error("copies that differ from their primaries' are not replaced any longer: there were too many", "within", repairsWindow)
	}
	if !ok {
		return Answer{}
	}
	log.Warn("a copy of the primary's replaces the one that differs")
	following{w.copy}.cannotFollow()
	return Answer{Kind: Synchronize}
}

// compared returns the digest of a seq, and whether it is the first time that it is asked for.
func (c *localCopy) compared(seq uint64) (own Digest, first, found bool) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if own, found = c.digests.at(seq); found && c.comparedAt < seq {
		c.comparedAt, first = seq, true
	}
	return own, first, found
}

// keepsUp reports whether frames of a primary are of use to this copy: it has truncated its log as M2 says, and need not be
// replaced as a whole. The caller holds index.mu.
func (c *localCopy) keepsUp() bool { return !c.rules.NeedsSync() && !c.mustInstall }
