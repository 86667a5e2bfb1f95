package main

import "fmt"

// violation says which promise is broken. A rule that finds one panics with it, and
// explorer.follow recovers it: a check stands where it can fail, deep inside a step, and ends the
// whole run.
type violation struct {
	kind kind
	text string
}

// kind is what a flaw breaks.
type kind string

const (
	staleRead  kind = "stale read"                 // a read answers with less than was committed when it looked
	lostCommit kind = "lost commit"                // what was committed is gone, or is now something else
	uncommit   kind = "visible truncated"          // what is visible must be truncated
	refused    kind = "refused for ever"           // raft refuses a live primary's proposal for as long as its epoch lasts
	twoWriters kind = "two primaries in one epoch" // two processes append in one epoch
)

func fail(k kind, format string, args ...any) { panic(violation{k, fmt.Sprintf(format, args...)}) }

// maximalISR returns the other nodes that must acknowledge a write, and those that must grant the lease.
func (s *state) maximalISR(i int, f *flaws) (writes, leases uint8) {
	n, p := &s.nodes[i], s.proposals[i]
	writes = s.row(i).isr
	leases = writes
	if p.epoch == n.acts && p.kind == expand {
		if !f.commitISROnly && !(f.aloneAssumed && s.row(i).isr == 1<<i) {
			writes |= 1 << p.target
		}
		if !f.leaseISROnly {
			leases |= 1 << p.target
		}
	}
	if p.epoch == n.acts && p.kind == shrink && f.shrinkEarly {
		writes &^= 1 << p.target
		leases &^= 1 << p.target
	}
	return writes &^ (1 << i), leases &^ (1 << i)
}

// alone says whether node i commits without any other. Whatever its log has is committed then.
func (s *state) alone(i int, f *flaws) bool {
	writes, _ := s.maximalISR(i, f)
	return writes == 0
}

// match returns how much of the log of node i another node is known to have (R4).
func (s *state) match(i, of int, f *flaws) uint8 {
	e := &s.epochs[s.nodes[i].acts]
	if e.ackedBy[of] != s.row(i).incarnations[of] && !f.ackAnyInc {
		return 0
	}
	return e.acked[of]
}

// leased is R6.
func (s *state) leased(i int, f *flaws) bool {
	_, of := s.maximalISR(i, f)
	for j := range nodes {
		if has(of, j) && s.nodes[j].lease != s.nodes[i].leader && !f.noLease {
			return false
		}
	}
	return true
}

// learn takes a node to a later row: a deposed primary steps down, a new one starts, and one of
// the same leader epoch goes on.
func (s *state) learn(i int, to uint8, f *flaws) {
	n := &s.nodes[i]
	n.view = to
	r := s.row(i)
	if s.joined(i) {
		n.lost, n.starts = keptAll, 0
	}
	mine := int(r.primary) == i && s.joined(i)
	if n.acts != 0 && (!mine || r.leaderEpoch != n.leader) {
		n.stepDown()
	}
	switch {
	case !mine || n.acts == r.epoch:
	case n.acts != 0: // the same leader epoch
		before := s.epochs[n.acts]
		n.acts, n.handover = r.epoch, false
		s.beginEpoch(i)
		s.epochs[n.acts].acked, s.epochs[n.acts].ackedBy = before.acked, before.ackedBy
	case r.isr == 1<<i: // alone: its own first commit opens it (R1)
		n.acts, n.leader, n.silent = r.epoch, r.leaderEpoch, !f.aloneSends
		s.beginEpoch(i)
		n.open = f.openEarly
	case n.end < maxLog:
		n.acts, n.leader = r.epoch, r.leaderEpoch
		s.beginEpoch(i)
		s.appendNoOp(i)
		n.open = f.openEarly
	}
}

func (n *node) stepDown() {
	n.acts, n.leader, n.noOp, n.silent, n.open, n.handover, n.looked = 0, 0, 0, false, false, false, false
}

func (s *state) beginEpoch(i int) {
	n := &s.nodes[i]
	e := &s.epochs[n.acts]
	if e.actor != 0 && (e.actor != uint8(i+1) || e.actorStarted != n.incarnation) {
		fail(twoWriters, "epoch %d has two primaries", n.acts)
	}
	*e = epoch{actor: uint8(i + 1), actorStarted: n.incarnation, begin: n.end}
	s.send(i)
}

// append gives an entry its place in the log of a primary, and sends it (R2).
func (s *state) append(i int, e entry) {
	n := &s.nodes[i]
	n.log[n.end] = e
	n.end++
	s.send(i)
}

func (s *state) appendNoOp(i int) {
	n := &s.nodes[i]
	n.silent = false
	s.append(i, newEntry(n.acts, 0))
	n.noOp = n.end
}

// send puts the log of a primary in flight, unless it may not send yet.
func (s *state) send(i int) {
	n := &s.nodes[i]
	e := &s.epochs[n.acts]
	if e.silent = n.silent; !n.silent {
		e.end, e.log = n.end, n.log
	}
}

// commitIndex returns how much the whole maximal ISR is known to have (R3), and whether that may count.
func (s *state) commitIndex(i int, f *flaws) (uint8, bool) {
	n := &s.nodes[i]
	of, _ := s.maximalISR(i, f)
	c, acks, members := n.end, 1, 1
	for j := range nodes {
		if !has(of, j) {
			continue
		}
		members++
		if s.match(i, j, f) >= n.end {
			acks++
		}
		if !f.ackEarly && !f.ackMajority {
			c = min(c, s.match(i, j, f))
		}
	}
	return c, !f.ackMajority || 2*acks > members
}

// commit raises the commit index, and opens a new primary when all that it had at its start is committed (R1).
func (s *state) commit(i int, f *flaws) bool {
	n := &s.nodes[i]
	c, counts := s.commitIndex(i, f)
	opens := !n.open && c == n.end && (c > 0 || s.alone(i, f))
	if !counts || c <= n.commit && !opens {
		return false
	}
	n.commit = max(n.commit, c)
	e := &s.epochs[n.acts]
	e.commit = max(e.commit, c)
	for k := range c {
		if k < s.committed && s.global[k] != n.log[k] {
			fail(lostCommit, "entry %d was committed as %d.%d, and is now committed as %d.%d", k+1,
				s.global[k].epoch(), s.global[k]&15, n.log[k].epoch(), n.log[k]&15)
		}
		s.global[k] = n.log[k]
		if k >= s.committed {
			s.decidedIn[k] = n.acts
		}
	}
	for k := c; opens && k < s.committed; k++ {
		if s.decidedIn[k] < n.acts { // it need not know what a later primary has committed: it has no lease and can commit nothing
			fail(lostCommit, "node %d serves epoch %d with %d entries, without the one that was committed behind them in epoch %d", i, n.acts, c, s.decidedIn[k])
		}
	}
	n.open = n.open || opens
	s.committed = max(s.committed, c)
	return true
}
