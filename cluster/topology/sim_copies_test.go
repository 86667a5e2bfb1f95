package topology

import (
	"slices"
)

// What the nodes do with their copies. Replication is as the rules of primaries and members say, in one step each: a
// write reaches every member that the primary counts, or it does not happen; a lease is granted at once. So the
// topology's part is what can fail: who is promoted, and when.

func (s *sim) row(n *simNode, shard ShardID) Shard { return s.history[n.applied].Shards[shard] }

// open opens a shard in a new leader epoch. In an unsealed row the primary waits first, because the
// lease of the one before may go on.
func (s *sim) open(n *simNode, shard ShardID) bool {
	if !s.named(n, shard) {
		return false
	}
	row := s.row(n, shard)
	if n.opened[shard] == row.LeaderEpoch {
		return true
	}
	if row.Unsealed && s.now-n.learned[shard].at < simGiveUp {
		return false
	}
	n.opened[shard] = row.LeaderEpoch
	copy := &n.copies[shard]
	if copy.emptySince < row.EmptySince {
		*copy = simCopy{emptySince: row.EmptySince}
	}
	for i, r := range s.committed[shard] {
		if r.leader < row.LeaderEpoch && (i >= len(copy.log) || copy.log[i] != r) {
			s.fail("%s/%d opens shard %d in leader epoch %d without what was acknowledged: it has %v, acknowledged is %v", n.id, n.incarnation, shard, row.LeaderEpoch, copy.log, s.committed[shard])
		}
	}
	return true
}

// serves reports whether a process answers clients of a shard.
func (s *sim) serves(n *simNode, shard ShardID) bool {
	_, closed := n.closed[shard]
	return !closed && s.open(n, shard) && !s.alone(n, shard)
}

// alone reports whether a process serves a shard with no other process than such as have been replaced, one of them
// by a process with a copy of its folder. Nothing protects a shard from a second process for each of its copies: the
// first ones need no other node's answer. So this is left out.
func (s *sim) alone(n *simNode, shard ShardID) bool {
	if !s.replaced(n) {
		return false
	}
	cloned := n.cloned
	for _, id := range s.others(n, shard) {
		named, _ := s.history[n.applied].Node(id)
		i := slices.IndexFunc(s.ghosts, func(m *simNode) bool { return m.id == id && m.incarnation == named.Incarnation })
		if i < 0 || !s.replaced(s.ghosts[i]) {
			return false
		}
		cloned = cloned || s.ghosts[i].cloned
	}
	return cloned
}

// replaced reports whether another process of the node has joined since.
func (s *sim) replaced(n *simNode) bool {
	row, _ := s.newest().Node(n.id)
	return row.Incarnation != n.incarnation && slices.Contains(s.ghosts, n)
}

// others returns the members other than the primary whose acknowledgement a commit needs: those of the ISR, and
// the one that the primary proposes to add.
func (s *sim) others(n *simNode, shard ShardID) []NodeID {
	out := without(s.row(n, shard).ISR, n.id)
	if op, ok := n.pending[shard]; ok && op.Kind == ExpandISR && !slices.Contains(out, op.Node) {
		out = with(out, op.Node)
	}
	return out
}

// member returns the process of a member that would accept something from a primary: both are in the incarnation
// that its topology has, which has the primary's epoch, and it has not reported that epoch.
func (s *sim) member(of *simNode, shard ShardID, id NodeID) (*simNode, bool) {
	want := s.row(of, shard)
	named, _ := s.history[of.applied].Node(id)
	for _, n := range append(slices.Clone(s.nodes), s.ghosts...) {
		if n.id != id || !n.up || !s.isMember(n) || n.incarnation != named.Incarnation || n.copies[shard].damaged {
			continue
		}
		row := s.row(n, shard)
		primary, _ := s.history[n.applied].Node(of.id)
		if row.Epoch == want.Epoch && row.Primary == of.id && primary.Incarnation == of.incarnation && n.sealed[shard] != row.Epoch {
			return n, true
		}
	}
	return nil, false
}

// write stores something in shards that the node serves.
func (s *sim) write(n *simNode) {
	var open []ShardID
	for shard := range ShardID(simShards) {
		if s.serves(n, shard) {
			open = append(open, shard)
		}
	}
	for range min(len(open), 4) {
		shard := open[s.r.IntN(len(open))]
		var copies []*simCopy
		missing := false
		for _, id := range s.others(n, shard) {
			m, ok := s.member(n, shard, id)
			if missing = missing || !ok || !slices.Equal(m.copies[shard].log, n.copies[shard].log); missing {
				break
			}
			copies = append(copies, &m.copies[shard])
		}
		if missing {
			continue // it waits for a member
		}
		if !slices.Equal(n.copies[shard].log, s.committed[shard]) {
			s.fail("%s/%d acknowledges a write to shard %d in epoch %d, and has %v; acknowledged was %v", n.id, n.incarnation, shard, s.row(n, shard).Epoch, n.copies[shard].log, s.committed[shard])
		}
		s.clock++
		r := simRecord{int(s.clock), s.row(n, shard).LeaderEpoch, s.chance(60)}
		s.committed[shard] = append(slices.Clip(s.committed[shard]), r)
		for _, c := range append(copies, &n.copies[shard]) {
			c.log = append(slices.Clip(c.log), r)
		}
		s.counts["written"]++
		if len(copies) > 0 {
			s.counts["written to two copies"]++
		}
		s.event("%s/%d writes shard %d: %v, with %d others", n.id, n.incarnation, shard, r, len(copies))
	}
}

// renew asks members for leases.
func (s *sim) renew(n *simNode) {
	for shard := range ShardID(simShards) {
		if !s.named(n, shard) {
			continue
		}
		for _, id := range s.others(n, shard) {
			if m, ok := s.member(n, shard, id); ok && (s.calm || s.chance(80)) {
				grant := simLeader{s.row(n, shard).LeaderEpoch, s.now}
				m.granted[shard] = grant
				if n.leases[shard] == nil {
					n.leases[shard] = map[NodeID]simLeader{}
				}
				n.leases[shard][id] = grant
			}
		}
	}
}

// leased reports whether a member's lease still holds.
func (s *sim) leased(n *simNode, shard ShardID, id NodeID) bool {
	lease, ok := n.leases[shard][id]
	return ok && lease.epoch == s.row(n, shard).LeaderEpoch && s.now-lease.at < simLease
}

// read answers from the shards for which the node has all leases that it needs.
func (s *sim) read(n *simNode) {
	for shard := range ShardID(simShards) {
		if !s.serves(n, shard) || slices.ContainsFunc(s.others(n, shard), func(id NodeID) bool { return !s.leased(n, shard, id) }) {
			continue
		}
		s.counts["read"]++
		if len(s.others(n, shard)) > 0 {
			s.counts["read with a lease"]++
		}
		if !slices.Equal(n.copies[shard].log, s.committed[shard]) {
			s.fail("%s/%d answers from shard %d in epoch %d, and has %v; acknowledged is %v", n.id, n.incarnation, shard, s.row(n, shard).Epoch, n.copies[shard].log, s.committed[shard])
		}
	}
}

// report reports the shards without a primary, as far as the node can tell. It accepts nothing of that epoch any more.
func (s *sim) report(n *simNode) {
	if !n.up || !s.isMember(n) {
		return
	}
	for shard := range ShardID(simShards) {
		row, copy := s.row(n, shard), n.copies[shard]
		asked := slices.Contains(row.ISR, n.id) || row.AsksAll() && slices.Contains(row.Learners, n.id)
		if !asked || row.Primary == n.id || copy.damaged {
			continue
		}
		since := max(n.started, n.learned[shard].at)
		if grant := n.granted[shard]; grant.epoch == row.LeaderEpoch {
			since = max(since, grant.at)
		}
		if n.sealed[shard] != row.Epoch && !row.Relinquished && s.now-since < simGiveUp {
			continue
		}
		n.sealed[shard] = row.Epoch
		if s.chance(30) {
			continue // lost
		}
		r := Report{Node: n.id, Incarnation: n.incarnation, Shard: shard, Epoch: row.Epoch, At: s.now}
		if len(copy.log) > 0 && copy.emptySince >= row.EmptySince {
			r.Point = Point{copy.log[len(copy.log)-1].leader, uint64(len(copy.log))}
		}
		if i := slices.IndexFunc(s.reports, func(o Report) bool { return o.Node == r.Node && o.Incarnation == r.Incarnation && o.Shard == shard }); i >= 0 {
			if s.reports[i].Epoch == r.Epoch {
				r.At = s.reports[i].At
			}
			s.reports[i] = r
		} else {
			s.reports = append(s.reports, r)
		}
		s.counts["reported"]++
	}
	s.event("%s/%d reports", n.id, n.incarnation)
}

// install gives a member that a primary hears the primary's copy.
func (s *sim) install(n *simNode, shard ShardID, id NodeID) bool {
	m, ok := s.member(n, shard, id)
	if !ok {
		return false
	}
	m.copies[shard] = simCopy{emptySince: n.copies[shard].emptySince, log: slices.Clone(n.copies[shard].log)}
	return true
}

// move makes what a primary does about its members: it fills their copies, and proposes to add or remove one, to hand
// over, or to resign. One proposal is outstanding, and is repeated until the epoch changes.
func (s *sim) move(n *simNode) {
	if s.chance(20) {
		s.tidy(n)
	}
	for shard := range ShardID(simShards) {
		if op, ok := n.pending[shard]; ok {
			s.propose(n, op)
			continue
		}
		if !s.serves(n, shard) || !s.chance(50) {
			continue
		}
		row := s.row(n, shard)
		op := Op{Shard: shard, Epoch: row.Epoch}
		kind := s.r.IntN(20)
		for _, id := range row.Clean() { // partial catch-up
			if id != n.id {
				s.install(n, shard, id)
			}
		}
		candidates := slices.Concat(row.Learners, row.Unclean)
		others := slices.DeleteFunc(slices.Clone(row.Clean()), func(id NodeID) bool {
			to, _ := s.history[n.applied].Node(id)
			return id == n.id || to.State != Active
		})
		switch {
		case kind < 10 && len(candidates) > 0:
			op.Kind, op.Node = ExpandISR, candidates[s.r.IntN(len(candidates))]
			if !s.install(n, shard, op.Node) {
				continue
			}
		case kind < 12 && len(row.ISR) > 1:
			members := without(row.ISR, n.id)
			op.Kind, op.Node = ShrinkISR, members[s.r.IntN(len(members))]
		case kind < 13 && len(others) > 0:
			op.Kind, op.Node = TransferPrimary, others[s.r.IntN(len(others))]
			if !s.install(n, shard, op.Node) {
				continue // to a process that has acknowledged all of it, not to one that may have found damage since
			}
		case kind < 14:
			op.Kind, op.Node = Resign, n.id
		default:
			continue
		}
		to, _ := s.history[n.applied].Node(op.Node)
		op.Incarnation = to.Incarnation
		s.proposeMove(n, op)
	}
	if !s.isMember(n) {
		return
	}
	for i := range n.copies {
		if row := s.row(n, ShardID(i)); n.copies[i].damaged && row.Primary != n.id {
			s.propose(n, Op{Kind: MarkUnclean, Shard: ShardID(i), Node: n.id, Incarnation: n.incarnation})
		}
	}
}
