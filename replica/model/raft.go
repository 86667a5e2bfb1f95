package main

// Raft is one register with compare-and-swap: it decides a proposal only in the epoch in which it was made.

// decide applies the proposal of node i: a compare-and-swap on the epoch and on the incarnation of its target.
func decide(s *state, i int) bool {
	p, r := s.proposals[i], *s.now()
	target := int(p.target)
	if p.kind == noProposal || p.epoch != r.epoch || p.kind != resign && p.kind != shrink && p.incarnation != r.incarnations[target] {
		return false
	}
	r.epoch++
	switch p.kind {
	case shrink:
		r.remove(target)
	case expand:
		r.isr, r.unclean = r.isr|1<<target, r.unclean&^(1<<target)
	case transfer:
		if !has(r.isr, target) || has(r.unclean, target) {
			return false
		}
		r.primary, r.leaderEpoch = int8(target), r.epoch
	case resign:
		r.primary = -1
		if r.isr != 1<<i {
			r.remove(i)
		}
	}
	return s.push(r)
}

func (r *row) remove(i int) {
	r.isr, r.unclean = r.isr&^(1<<i), r.unclean&^(1<<i)
}

// promote makes a clean reporter the primary. The ISR may keep clean members that have not
// reported (gossip sees them alive), but the old primary only if it has.
func promote(s *state, primary int, members uint8, f *flaws) bool {
	r := *s.now()
	ended := r.primary < 0 // the lease of the epoch
	for j := range nodes {
		if !has(members, j) {
			continue
		}
		rep := s.reports[j]
		reported := rep.epoch == r.epoch && (rep.incarnation == r.incarnations[j] || f.memberInc)
		must := j == primary || j == int(r.primary)
		if !has(r.isr, j) || has(r.unclean, j) || must && !reported && !f.promoteAny {
			return false
		}
		ended = ended || reported && rep.first || f.promoteAny
	}
	if !ended || int(r.primary) == primary {
		return false
	}
	r.epoch++
	r.primary, r.leaderEpoch, r.isr, r.unclean = int8(primary), r.epoch, members, 0
	return s.push(r)
}

// join tells the cluster of a new start. It raises the epoch, which ends every proposal about the
// former process.
func join(s *state, i int, f *flaws) bool {
	r, n := *s.now(), &s.nodes[i]
	if r.incarnations[i] == n.incarnation {
		return false
	}
	raise := !f.joinQuiet // every node is a member or a learner here
	if int(r.primary) == i && !f.joinKeepsPrimary {
		r.primary, raise = -1, true
	}
	lost := n.lost
	if lost == keptAll && n.older(r.incarnations[i], f) {
		lost = lostTail
	}
	r.incarnations[i] = n.incarnation
	switch lost {
	case lostTail:
		if has(r.isr, i) && !f.noUnclean {
			r.unclean |= 1 << i
		}
	case lostAll:
		raise = raise || has(r.isr, i)
		r.remove(i)
	}
	if raise {
		r.epoch++
	}
	s.lossy = r.isr&^r.unclean == 0
	return s.push(r)
}

// older says whether the folder of a node has forgotten the start that the topology knows: it was put
// back to an earlier state.
func (n *node) older(known uint8, f *flaws) bool {
	if f.lastStartOnly {
		return n.starts>>known == 0
	}
	return !has(n.starts, int(known))
}

// checkProposals finds a proposal that raft refuses for ever in its own epoch: its shard could
// never propose anything else.
func checkProposals(s *state, f *flaws) {
	for i := range nodes {
		p, r := s.proposals[i], s.now()
		live := (p.kind == expand || p.kind == transfer) && p.epoch == r.epoch && s.nodes[i].acts == r.epoch
		if live && p.incarnation != r.incarnations[p.target] && !f.memberInc {
			fail(refused, "what node %d proposed about node %d is refused for ever, in epoch %d", i, p.target, r.epoch)
		}
	}
}
