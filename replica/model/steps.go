package main

import "fmt"

// emit receives a step: its text, the numbers in it, and the state after it, which it must not keep.
type emit func(what string, numbers []uint8, next *state)

// try emits the state that do makes of the present one, if do reports true.
type try func(do func(*state) bool, what string, numbers ...uint8)

// describe puts the numbers of a step into its text.
func describe(what string, numbers []uint8) string {
	args := make([]any, len(numbers))
	for i, n := range numbers {
		args[i] = n
	}
	return fmt.Sprintf(what, args...)
}

// steps emits every state that can follow s.
func (s *state) steps(f *flaws, out emit) {
	if s.lossy {
		return
	}
	next := new(state)
	try := func(do func(*state) bool, what string, numbers ...uint8) {
		*next = *s
		if do(next) {
			checkProposals(next, f)
			next.tidy(f)
			out(what, numbers, next)
		}
	}
	for i := range nodes {
		c := choices{s, f, i, try}
		c.raft()
		if s.nodes[i].acts != 0 {
			c.primary()
		}
		if s.joined(i) {
			c.member()
		}
		if f.noEpochCheck {
			c.unchecked()
		}
		c.faults()
	}
	for members := uint8(1); members < 1<<nodes; members++ {
		for i := range nodes {
			if has(members, i) {
				try(func(s *state) bool { return promote(s, i, members, f) }, "promoted: %d, ISR %03b", uint8(i), members)
			}
		}
	}
}

// choices are the steps that node i can take next.
type choices struct {
	s   *state
	f   *flaws
	i   int
	try try
}

// raft gives what raft decides for a node, and what the node learns of it.
func (c choices) raft() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n := &s.nodes[i]
	for to := n.view + 1; to < s.nrows; to++ {
		try(func(s *state) bool { s.learn(i, to, f); return true }, "%d learns epoch %d", uint8(i), s.rows[to].epoch)
	}
	if s.now().incarnations[i] != n.incarnation {
		try(func(s *state) bool { return join(s, i, f) }, "the new start of %d is decided (lost: %d)", uint8(i), n.lost)
	}
	try(func(s *state) bool { return decide(s, i) }, "what %d proposed (%d, node %d) is decided", uint8(i), s.proposals[i].kind, s.proposals[i].target)
}

// faults end the process of a node. It is up again at once.
func (c choices) faults() {
	s, f, i, try := c.s, c.f, c.i, c.try
	end := s.nodes[i].end
	if s.kills > 0 {
		try(func(s *state) bool { s.kills--; s.crash(i, end, keptAll, true, f); return true }, "%d is killed and started", uint8(i))
		try(func(s *state) bool { s.kills--; s.crash(i, end, keptAll, false, f); return true }, "%d is killed and started, and knows of no commit", uint8(i))
	}
	for left := uint8(0); s.powers > 0 && left <= end; left++ {
		try(func(s *state) bool { s.powers--; s.crash(i, left, lostTail, true, f); return true }, "%d loses power, keeps %d entries", uint8(i), left)
	}
	for left := uint8(0); s.backups > 0 && left < end; left++ {
		try(func(s *state) bool {
			s.backups--
			s.crash(i, left, keptAll, true, f)
			s.nodes[i].starts = 0
			return true
		}, "the folder of %d is put back to %d entries", uint8(i), left)
	}
	if s.wipes > 0 {
		try(func(s *state) bool { s.wipes--; s.crash(i, 0, lostAll, true, f); return true }, "%d loses its disk", uint8(i))
	}
}

// primary gives what a node does that acts as the primary.
func (c choices) primary() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n := &s.nodes[i]
	if n.open && !n.handover && s.writes > 0 && n.end < maxLog {
		try(func(s *state) bool {
			s.append(i, newEntry(s.nodes[i].acts, s.writes))
			s.writes--
			return true
		}, "%d appends write %d in epoch %d", uint8(i), s.writes, n.acts)
	}
	if n.silent && n.end < maxLog {
		try(func(s *state) bool { s.appendNoOp(i); return true }, "%d appends its no-op in epoch %d", uint8(i), n.acts)
	}
	try(func(s *state) bool { return s.commit(i, f) }, "%d commits in epoch %d", uint8(i), n.acts)
	serves := n.open && (!n.handover || f.transferOpen)
	if serves && !n.looked && n.commit < s.committed {
		try(func(s *state) bool { s.nodes[i].looked = true; return true }, "%d looks up a value that is out of date", uint8(i))
	}
	if serves && n.looked && s.leased(i, f) {
		try(func(s *state) bool {
			fail(staleRead, "%d answers with a value that is out of date", i)
			return false
		}, "%d answers", uint8(i))
	}
	if p := s.proposals[i]; p.kind == noProposal || p.epoch != n.acts {
		c.propose()
	}
}

// propose gives the proposals that a primary may make, one at a time (R3).
func (c choices) propose() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n, r := &s.nodes[i], s.row(i)
	propose := func(kind uint8, target int, what string) {
		try(func(s *state) bool {
			s.proposals[i] = proposal{kind, uint8(target), n.acts, r.incarnations[target]}
			if kind >= transfer {
				s.handovers--
				s.nodes[i].handover = !f.transferOpen
			}
			return true
		}, "%d proposes to "+what+" %d", uint8(i), uint8(target))
	}
	ready := n.open && !n.silent && n.commit >= n.noOp || f.expandEarly // R5
	for j := range nodes {
		if j == i {
			continue
		}
		if has(r.isr, j) {
			propose(shrink, j, "shrink the ISR by")
		}
		if (!has(r.isr, j) || has(r.unclean, j)) && ready && s.match(i, j, f) >= max(n.commit, 1) && s.nodes[j].lease == n.leader {
			propose(expand, j, "expand the ISR by")
		}
		if has(r.isr, j) && n.open && n.commit == n.end && s.handovers > 0 {
			propose(transfer, j, "hand over to")
		}
	}
	if s.handovers > 0 {
		propose(resign, i, "resign,")
	}
}

// member gives what a node does whose start is decided: it receives, grants leases and reports.
func (c choices) member() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n, r := &s.nodes[i], s.row(i)
	c.receive()
	if n.acts == 0 || f.nodeLease {
		c.heartbeats()
	}
	if n.acts != 0 {
		return
	}
	if n.lease != 0 {
		try(func(s *state) bool { s.nodes[i].lease = 0; return true }, "%d has waited longer than any lease that it granted", uint8(i))
	}
	if !has(r.isr, i) || int(r.primary) == i || n.sealed == r.epoch {
		return
	}
	seal := func(first bool, what string) {
		try(func(s *state) bool {
			s.nodes[i].sealed = r.epoch
			s.reports[i] = report{r.epoch, n.incarnation, first}
			return true
		}, "%d "+what+" epoch %d", uint8(i), r.epoch)
	}
	if r.primary < 0 || n.lease != r.leaderEpoch || f.reportAtStart && n.fresh || f.silenceEpoch && n.heard != r.epoch {
		seal(true, "reports the primary of")
		return
	}
	for j := range nodes {
		if rep := s.reports[j]; j != i && rep.first && rep.epoch == r.epoch {
			seal(false, "is asked, and reports in")
			return
		}
	}
}

// receive gives what a member takes of the primary of its newest row (M1 to M4).
func (c choices) receive() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n, r := &s.nodes[i], s.row(i)
	from := &s.epochs[r.epoch]
	if int(r.primary) == i || r.primary < 0 || !s.started(r.epoch) || from.silent || n.sealed == r.epoch {
		return
	}
	for _, to := range []uint8{n.end + 1, from.end} {
		if to <= from.end && (to > n.end || n.truncated != r.epoch || from.acked[i] != n.end || from.ackedBy[i] != n.incarnation) {
			try(func(s *state) bool { return s.receive(i, r.epoch, to, f) }, "%d receives up to %d of epoch %d", uint8(i), to, r.epoch)
		}
	}
	if c := min(from.commit, n.end); (n.truncated == r.epoch || f.commitUncut) && c > n.commit {
		try(func(s *state) bool { s.nodes[i].commit = c; return true }, "%d makes visible up to %d", uint8(i), c)
	}
}

// unchecked gives what a node receives that does not compare epochs (the flaw noEpochCheck).
func (c choices) unchecked() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n := &s.nodes[i]
	for e := uint8(1); e < maxEpochs; e++ {
		from := &s.epochs[e]
		if !s.started(e) || int(from.actor) == i+1 || n.acts != 0 || from.end <= n.end {
			continue
		}
		try(func(s *state) bool {
			n := &s.nodes[i]
			for k := range n.end {
				if n.log[k] != s.epochs[e].log[k] {
					return false
				}
			}
			return s.receive(i, e, s.epochs[e].end, f)
		}, "%d receives of epoch %d, unchecked", uint8(i), e)
	}
}

// heartbeats let a node acknowledge the heartbeats of primaries (M5).
func (c choices) heartbeats() {
	s, f, i, try := c.s, c.f, c.i, c.try
	n, r := &s.nodes[i], s.row(i)
	for p := range nodes {
		acts, leader := s.nodes[p].acts, s.nodes[p].leader
		news := n.lease != leader || f.silenceEpoch && n.heard != acts
		agrees := f.nodeLease || int(r.primary) == p && acts == r.epoch
		if p == i || acts == 0 || n.sealed == r.epoch || !news || !agrees {
			continue
		}
		try(func(s *state) bool {
			n := &s.nodes[i]
			n.lease, n.fresh, n.heard = leader, false, acts
			return true
		}, "%d acknowledges a heartbeat of %d", uint8(i), uint8(p))
	}
}
