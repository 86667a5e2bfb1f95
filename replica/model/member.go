package main

// common returns how much of its log a node shares with what the primary of an epoch has sent (M2).
func (s *state) common(i int, from uint8) uint8 {
	n, e := &s.nodes[i], &s.epochs[from]
	same := uint8(0)
	for same < n.end {
		before := same < e.begin && n.log[same] == e.log[same]
		// M2 never truncates what is of this epoch: the beginning may arrive late, or again.
		within := same >= e.begin && n.log[same].epoch() == from
		if !before && !within {
			break
		}
		same++
	}
	return same
}

// receive lets a member receive the log of a primary up to an entry and acknowledge it.
func (s *state) receive(i int, from, to uint8, f *flaws) bool {
	n, e := &s.nodes[i], &s.epochs[from]
	if n.truncated != from && !f.noTruncate {
		same := s.common(i, from)
		if same < n.commit {
			fail(uncommit, "node %d must truncate its log to %d entries, and shows %d", i, same, n.commit)
		}
		n.cut(same)
	}
	n.truncated = from
	if to < n.end {
		return false
	}
	for n.end < to {
		n.log[n.end] = e.log[n.end]
		n.end++
	}
	e.acked[i], e.ackedBy[i] = n.end, n.incarnation
	if f.applyEarly {
		n.commit = n.end
	}
	return true
}

// cut truncates the log.
func (n *node) cut(end uint8) {
	for k := end; k < n.end; k++ {
		n.log[k] = 0
	}
	n.end = end
}

// crash ends the process of a node and starts another, with so many entries of its log. Known says
// whether its disk also says how much of that is committed: the heads of records, which carry it,
// lag behind.
func (s *state) crash(i int, left, lost uint8, known bool, f *flaws) {
	n := &s.nodes[i]
	n.cut(left)
	n.commit = min(n.commit, left)
	if !known {
		n.commit = 0
	}
	if f.replayAll {
		n.commit = left
	}
	if f.forgetUnclean && n.lost == lostTail {
		n.lost = keptAll
	}
	n.lost = max(n.lost, lost)
	n.starts |= 1 << n.incarnation
	n.incarnation++
	n.stepDown()
	n.truncated, n.sealed, n.fresh = 0, 0, true
}
