package replica

import "slices"

// Process is one start of a node. A copy counts only in the incarnation that the shard's row names: an
// earlier process may have lost what it acknowledged, or may still run somewhere.
type Process struct {
	Node        string
	Incarnation uint64
}

// Config is the shard's row as a copy sees it, with the incarnation of each node. The copy keeps the
// slices, so the caller must not change them afterwards.
type Config struct {
	Epoch       uint64 // the row's number. Every change of the primary or of the ISR raises it
	LeaderEpoch uint64 // the epoch in which Primary became the primary; 0, in rows of earlier programs, stands for Epoch
	Born        uint64 // the epoch in which the shard last began empty: see Copy.Outdated
	Primary     Process
	// Relinquished: the last primary does not serve any more, because it resigned, or because its node was
	// restarted on the same folder, whose lock proves that the former process has ended.
	Relinquished bool
	// Unsealed: an unclean copy was promoted while no report had ended the lease of the old primary.
	Unsealed bool
	ISR      []Process // the primary included
	Unclean  []Process // members of the ISR that may lack what they acknowledged
	Learners []Process // copies that catch up
	Assigned []Process // nodes that are to have a copy. Only M8 looks at them
}

// leads reports whether the row names a process as the primary.
func (c *Config) leads(p Process) bool { return c.Primary == p && p != Process{} }

func (c *Config) inISR(p Process) bool { return slices.Contains(c.ISR, p) }

func (c *Config) unclean(p Process) bool { return slices.Contains(c.Unclean, p) }

// has reports whether a process has a copy, in the ISR or as a learner.
func (c *Config) has(p Process) bool { return c.inISR(p) || slices.Contains(c.Learners, p) }

// asksAll reports whether copies outside the ISR report, too: no primary and no clean member is left, so any copy
// may be the one that has most.
func (c *Config) asksAll() bool {
	return c.Primary == Process{} && len(c.ISR) > 0 && len(c.Unclean) >= len(c.ISR)
}

// Ack is what a member acknowledges: all records of its log up to Written, and those up to Synced are on stable
// storage. With the flag Stale, Epoch and Leader are those of the member's own row.
type Ack struct {
	Epoch, Leader   uint64
	Written, Synced uint64
	Flags           AckFlags
}

// AckFlags tell the primary more about a member.
type AckFlags uint8

// The flags.
const (
	AckStale      AckFlags = 1 << iota // the frame was of an earlier epoch than the member's
	AckLater                           // the frame was of a later epoch: the primary soon asks again
	AckMismatch                        // the records do not follow the member's log
	AckFailed                          // the member's log fails
	AckMemoryFull                      // the member has no memory left
	AckDiskFull                        // the member has no room on its disk left
)

// ProposalKind says what a copy proposes to raft.
type ProposalKind uint8

// The kinds of Proposal. The zero value is none.
const (
	Shrink      ProposalKind = 1 + iota // ShrinkISR: Target lags
	Expand                              // ExpandISR: Target has caught up
	Handover                            // TransferPrimary to Target
	Resign                              // the primary gives up
	MarkUnclean                         // the copy of Target, this process, is damaged
)

// Proposal is a change of the row that a copy proposes in an epoch. It ends when the copy learns of another
// epoch, and only then (R3). A refusal does not end it, because an earlier try may still be under way.
type Proposal struct {
	Kind   ProposalKind
	Epoch  uint64
	Target Process
}

// Effects are what the caller does, in this order. It reports back what came of it by the next event.
type Effects struct {
	StepDown bool      // this process is not the primary any more: close the gate, and fail the waiters with ErrUncertain
	Close    bool      // close the gate, but stay the primary
	Truncate *uint64   // truncate log and suffix behind this seq; nil: nothing
	Install  bool      // the log cannot be made a copy of the primary's: ask for a snapshot
	NoOp     bool      // append a no-op before anything is sent to another node
	Commit   uint64    // apply the suffix up to this seq; 0: nothing new
	Open     bool      // the gate may open
	Send     []Process // as primary: receivers of appends from now on, and of the commit index at once
	Propose  *Proposal // repeat until Configure shows another epoch
	Report   bool      // report, and repeat until Configure shows another epoch
}

// Verdict is what a copy says about a frame.
type Verdict uint8

// The verdicts.
const (
	Take     Verdict = iota // carry it out
	Stale                   // of an earlier epoch: answer with the own epoch and leader epoch
	Later                   // of a later epoch than the newest row here: the primary soon asks again
	Sealed                  // of an epoch that this copy has reported: no answer
	Repeat                  // the log has these records already: acknowledge them again
	Mismatch                // the records do not follow the log: synchronize first
	Rebuild                 // no common point can be found: the member must install a snapshot
)
