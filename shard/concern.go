package shard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/replica"
)

// Concern says which copies must have a write before the client gets its reply.
type Concern uint8

// The concerns, weakest first.
const (
	ConcernDefault Concern = iota // that of CopyConfig
	ConcernOne                    // the log of the primary. It promises nothing: the write may be undone
	ConcernSync                   // the whole ISR, which has MinInSync clean members at the append and at the commit
	ConcernAll                    // as ConcernSync, and every assigned node is a clean member of the ISR
)

// Concerns are the names of the concerns that a client can choose.
var Concerns = []string{"one", "sync", "all"}

// ParseConcern returns the concern of a name, in any case.
func ParseConcern(name string) (Concern, bool) {
	i := slices.Index(Concerns, strings.ToLower(name))
	return Concern(i + 1), i >= 0
}

func (c Concern) String() string {
	if c == ConcernDefault {
		return "default"
	}
	return Concerns[c-ConcernOne]
}

// MaxMinInSync is the greatest CopyConfig.MinInSync.
const MaxMinInSync = 5

// CopyConfig says what clients may expect of the copies of shards.
type CopyConfig struct {
	Write        Concern       // of writes that name none
	MinInSync    int           // clean members of the ISR that a write with ConcernSync or ConcernAll needs
	SyncReads    bool          // reads ask the ISR instead of relying on the lease
	MaxStaleness time.Duration // how old what a replica shows may be
}

// DefaultCopyConfig is what a new store has.
var DefaultCopyConfig = CopyConfig{Write: ConcernSync, MinInSync: 1, MaxStaleness: time.Second}

// ConfigureCopies changes what clients may expect of copies. Writes that are under way keep what they began with.
func (p *process) ConfigureCopies(config CopyConfig) { p.copies.Store(&config) }

// needs is what the ISR must be at the append and at the commit of a write.
type needs struct {
	clean    int8 // members of the ISR
	assigned bool // every assigned node is a clean member
}

// none reports whether every ISR of a primary will do.
func (n needs) none() bool { return n.clean <= 1 && !n.assigned }

// needsOf returns what a concern needs.
func (p *process) needsOf(c Concern) needs {
	if c == ConcernOne {
		return needs{}
	}
	return needs{clean: int8(min(p.copies.Load().MinInSync, MaxMinInSync)), assigned: c == ConcernAll}
}

// strength is what an ISR has of what writes need.
type strength struct {
	clean    int8
	assigned bool
}

// strengthOf returns the strength of a row's ISR. A row without assigned nodes asks for none.
func strengthOf(row *replica.Config) (s strength) {
	for _, p := range row.ISR {
		if !slices.Contains(row.Unclean, p) {
			s.clean++
		}
	}
	s.assigned = !slices.ContainsFunc(row.Assigned, func(p replica.Process) bool {
		return !slices.Contains(row.ISR, p) || slices.Contains(row.Unclean, p)
	})
	return s
}

func (s strength) meets(n needs) bool { return s.clean >= n.clean && (s.assigned || !n.assigned) }

// commitRuns remember which ISR committed which changes, for the futures that are not looked at yet. Only the
// last ones are kept.
type commitRuns struct{ runs []commitRun }

// commitRun are the changes from a seq on, up to the next run.
type commitRun struct {
	leader, from uint64
	strength
}

// maxCommitRuns is how many are kept: an ISR does not change so often while a client waits for a write.
const maxCommitRuns = 16

// committed notes that a change was committed by an ISR. The caller calls it in the order of the log.
func (c *commitRuns) committed(leader, seq uint64, by strength) {
	if n := len(c.runs); n > 0 && c.runs[n-1].leader == leader && c.runs[n-1].strength == by {
		return
	}
	if len(c.runs) == maxCommitRuns {
		c.runs = slices.Delete(c.runs, 0, 1)
	}
	c.runs = append(c.runs, commitRun{leader, seq, by})
}

// by returns the strength of the ISR that committed a change; the least if that is forgotten.
func (c *commitRuns) by(leader, seq uint64) strength {
	for i := len(c.runs) - 1; i >= 0; i-- {
		if r := &c.runs[i]; r.leader == leader && r.from <= seq {
			return r.strength
		}
	}
	return strength{}
}

var errThin = fmt.Errorf("%w: the write is done, but too few copies of the shard were in sync", ErrUncertain)

// enough reports whether the ISR is what a write needs before it may be appended. The caller holds writer.mu.
func (c *localCopy) enough(n needs) bool {
	if n == (needs{}) || n.none() && c.gate.Alone() {
		return true
	}
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.isr.meets(n)
}

// held returns nil if the ISR that committed the change was what the change needs.
func (f *Future) held() error {
	if f.needs.none() {
		return nil
	}
	c := &f.shard.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if !c.runs.by(f.leader, f.seq).meets(f.needs) {
		return errThin
	}
	return nil
}
