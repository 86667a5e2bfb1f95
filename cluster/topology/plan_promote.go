package topology

import (
	"cmp"
	"slices"
)

// promote promotes copies by the reports of members, of all shards at once: one death then causes one command.
// A shard without any copy starts empty on an assigned node, or else on any.
func (p *planner) promote() {
	for i, row := range p.t.Shards {
		shard := ShardID(i)
		if len(row.ISR) == 0 {
			p.begin(shard, row)
			continue
		}
		reports := p.reports(shard, row)
		if len(reports) == 0 {
			continue // until a copy reports, comes back or is forgotten
		}
		op := Op{Kind: Promote, Shard: shard, Epoch: row.Epoch}
		best, ok := Report{}, false
		if row.AsksAll() {
			best, ok = p.uncleanPrimary(row, reports, p.assigned[i])
			op.Unclean, op.Members = true, []NodeID{best.Node}
		} else {
			reports = slices.DeleteFunc(reports, func(r Report) bool { return !slices.Contains(row.ISR, r.Node) })
			best, ok = p.cleanPrimary(row, reports, p.assigned[i])
			op.Members = p.nextISR(row, reports)
		}
		if !ok {
			continue
		}
		op.Node, op.Incarnation = best.Node, best.Incarnation
		for _, r := range reports {
			op.Reporters = append(op.Reporters, Reporter{r.Node, r.Incarnation})
		}
		p.load[op.Node]++
		p.ops = append(p.ops, op)
	}
}

// reports returns the reports of a shard that count: of its epoch, by processes of the topology. What a copy has
// of a time before the shard last started empty is nothing.
func (p *planner) reports(shard ShardID, row Shard) []Report {
	var out []Report
	for _, r := range p.v.Reports[shard] {
		n, ok := p.t.Node(r.Node)
		if !ok || n.Incarnation != r.Incarnation || r.Epoch != row.Epoch || r.Node == row.Primary || reportOf(out, r.Node) >= 0 {
			continue
		}
		if r.Point.Epoch < row.EmptySince {
			r.Point = Point{}
		}
		out = append(out, r)
	}
	return out
}

func reportOf(reports []Report, id NodeID) int {
	return slices.IndexFunc(reports, func(r Report) bool { return r.Node == id })
}

// cleanPrimary returns the clean member to promote, once all of the ISR that gossip sees alive have reported, or
// ReportWait has passed since the first report. The wait keeps a member that reports a little later from losing
// the choice; to stay in the ISR it need not report.
//
// Any clean reporter has every committed write. The one with the most has the least to receive. A node that
// flaps or leaves is the last choice.
func (p *planner) cleanPrimary(row Shard, reports []Report, assigned []NodeID) (Report, bool) {
	if len(reports) == 0 {
		return Report{}, false
	}
	first := slices.MinFunc(reports, func(a, b Report) int { return cmp.Compare(a.At, b.At) }).At
	missing := slices.ContainsFunc(p.live(row.ISR), func(id NodeID) bool { return reportOf(reports, id) < 0 })
	if missing && p.v.Now-first < ReportWait {
		return Report{}, false
	}
	clean := row.Clean()
	return p.greatest(reports, assigned, func(r Report) bool { return slices.Contains(clean, r.Node) && p.alive(r.Node) })
}

// nextISR returns the clean members that reported or that gossip sees alive. Gossip sees a dead node alive for a
// second, and the new primary removes it then; without such members one crash would leave one copy. The old
// primary stays only if it reported: it may still commit.
func (p *planner) nextISR(row Shard, reports []Report) []NodeID {
	var out []NodeID
	for _, id := range row.Clean() {
		if reportOf(reports, id) >= 0 || id != row.Primary && p.alive(id) {
			out = append(out, id)
		}
	}
	return out
}

// uncleanPrimary returns the copy to promote if no member is clean: the one with the most, once every member of the
// ISR has reported, and every learner, or UncleanWait has passed since. A learner may have what the ISR lost.
func (p *planner) uncleanPrimary(row Shard, reports []Report, assigned []NodeID) (Report, bool) {
	complete := int64(0) // when the last member of the ISR reported
	for _, id := range row.ISR {
		i := reportOf(reports, id)
		if i < 0 {
			return Report{}, false
		}
		complete = max(complete, reports[i].At)
	}
	missing := slices.ContainsFunc(row.Learners, func(id NodeID) bool { return reportOf(reports, id) < 0 })
	if missing && p.v.Now-complete < UncleanWait {
		return Report{}, false
	}
	end := slices.MaxFunc(reports, func(a, b Report) int { return a.Point.Compare(b.Point) }).Point
	most := func(r Report) bool { return r.Point == end && p.alive(r.Node) }
	// A copy outside the ISR may have as much, but its promotion counts as a possible loss. That of a member which synced
	// what it acknowledged does not.
	if best, ok := p.greatest(reports, assigned, func(r Report) bool { return most(r) && slices.Contains(row.ISR, r.Node) }); ok {
		return best, true
	}
	return p.greatest(reports, assigned, most)
}

// greatest returns the best of the reports that may be chosen: of a node that neither flaps nor leaves, with the
// greatest point, early in assigned, and with few primaries.
func (p *planner) greatest(reports []Report, assigned []NodeID, may func(Report) bool) (best Report, found bool) {
	for _, r := range reports {
		if may(r) && (!found || p.compare(r, best, assigned) < 0) {
			best, found = r, true
		}
	}
	return best, found
}

func (p *planner) compare(a, b Report, assigned []NodeID) int {
	return cmp.Or(p.demerits(a.Node)-p.demerits(b.Node), b.Point.Compare(a.Point),
		rank(a.Node, assigned)-rank(b.Node, assigned), p.load[a.Node]-p.load[b.Node], cmp.Compare(a.Node, b.Node))
}

// begin starts a shard without a copy.
func (p *planner) begin(shard ShardID, row Shard) {
	row.Assigned = p.assigned[shard]
	node := p.best(p.live(p.active()), row.Assigned)
	if node == "" {
		return
	}
	if len(row.Wiped) > 0 && p.t.keepsLog(row) {
		if !p.mayBegin(row) {
			return // until an operator says so, or the time has passed
		}
		p.ops = append(p.ops, Op{Kind: BeginEmpty, Shard: shard, Epoch: row.Epoch})
	}
	n, _ := p.t.Node(node)
	p.load[node]++
	p.ops = append(p.ops, Op{Kind: Promote, Shard: shard, Epoch: row.Epoch, Node: node, Incarnation: n.Incarnation, Empty: true})
}

// mayBegin reports whether a shard whose last copy was wiped may start empty without an operator: each node that
// had it has been there with its new folder for EmptyAfter, and gossip has seen no other process of its id. A
// cache that does not answer is worth less than an empty one.
func (p *planner) mayBegin(row Shard) bool {
	return p.v.EmptyShards == EmptyAuto && !slices.ContainsFunc(row.Wiped, func(id NodeID) bool {
		since, seen := p.v.WipedSince[id]
		return !seen || p.v.Now-since < EmptyAfter
	})
}
