package topology

import (
	"errors"
	"maps"
	"slices"
	"strconv"
)

// commit appends a command to the log and checks the step.
func (s *sim) commit(m simMessage) {
	was := s.newest()
	before, _ := was.Encode()
	is, errs := s.applyCommand(was, uint64(len(s.history)), m.command)
	if after, _ := was.Encode(); string(after) != string(before) {
		s.fail("Apply changed the topology that it was given")
	}
	if again, _ := s.applyCommand(was, is.Index, m.command); !same(again, is) {
		s.fail("Apply of one command returned two different topologies")
	}
	for i, op := range m.command.Ops {
		s.event("%d: %s shard %d epoch %d node %s/%d members %v empty %v unclean %v by %v nodes %v setting %q %q: %v", is.Index, op.Kind, op.Shard, op.Epoch, op.Node, op.Incarnation, op.Members, op.Empty, op.Unclean, op.Reporters, op.Nodes, op.Name, op.Value, errs[i])
		if errs[i] == nil {
			s.counts["done"]++
			s.checkExpected(m.command, i, was)
			s.countLeaving(op, was)
		} else {
			s.counts["refused"]++
			s.refusal(m, op, len(s.history))
		}
	}
	if err := errors.Join(is.Check(), CheckStep(was, is)); err != nil && s.flaw == "" {
		s.fail("%v", err)
	}
	s.checkSettings(m.command, errs, is)
	s.followLosses(m.command, errs, was)
	s.history = append(s.history, is)
	for _, c := range Diff(was, is) {
		s.count(m.command, c)
		if row := is.Shards[c.Shard]; row.Primary == "" && len(row.ISR) == 0 && len(c.Was.ISR) > 0 {
			s.lastCopyGone(m.command, c, is)
		}
	}
	s.checkProposalsCanEnd()
}

// checkExpected checks that an applied op found what it expected: the first op of a command that names a
// shard, before any op that changes nodes, must find the epoch and the process that it names.
func (s *sim) checkExpected(c Command, i int, was *Topology) {
	op := c.Ops[i]
	for _, before := range c.Ops[:i] {
		if before.Shard == op.Shard && before.Kind != Assign && before.Kind != BeginEmpty || len(before.Nodes) > 0 {
			return
		}
	}
	switch op.Kind {
	case Promote, TransferPrimary:
		if n, ok := was.Node(op.Node); !ok || n.Incarnation != op.Incarnation {
			s.fail("%s makes %s/%d the primary, which is in incarnation %d", op.Kind, op.Node, op.Incarnation, n.Incarnation)
		}
		fallthrough
	case Resign, Assign:
		if row := was.Shards[op.Shard]; row.Epoch != op.Epoch {
			s.fail("%s for epoch %d was applied in epoch %d", op.Kind, op.Epoch, row.Epoch)
		}
	}
}

// followLosses follows what the ops of a command do to what was acknowledged: an unclean promotion makes the copy of
// the promoted node the truth, and a shard that starts empty has nothing. Each must be counted or said.
func (s *sim) followLosses(c Command, errs []error, was *Topology) {
	if was.Cluster == "" {
		return
	}
	topo := was
	for i, op := range c.Ops {
		next, _ := s.applyCommand(topo, topo.Index, Command{[]Op{op}})
		counted := next.PossibleLosses > topo.PossibleLosses
		old := s.committed[op.Shard]
		switch {
		case errs[i] != nil:
		case op.Kind == NodeForget && !op.Empty || op.Kind == BeginEmpty:
			for j, row := range next.Shards {
				s.said[j] = s.said[j] || len(row.ISR) == 0 && len(row.Wiped) == 0
			}
		case op.Kind == Promote && op.Unclean:
			s.counts["promoted unclean"]++
			n, ok := s.disk(topo, op.Node)
			if !ok {
				break // it is wiped already, and will say so
			}
			copy := n.copies[op.Shard]
			if copy.emptySince < topo.Shards[op.Shard].EmptySince {
				copy.log = nil
			}
			if s.committed[op.Shard] = slices.Clone(copy.log); len(copy.log) < len(old) || !slices.Equal(copy.log[:len(old)], old) {
				if !counted {
					s.fail("shard %d lost what was acknowledged, and that is not counted: %v became %v", op.Shard, old, copy.log)
				}
			} else if !counted {
				s.counts["unclean without a loss"]++
			}
		case op.Kind == Promote && op.Empty:
			if len(old) > 0 && old[len(old)-1].data {
				if !s.said[op.Shard] {
					s.fail("shard %d starts empty on %s without permission: it had %v", op.Shard, op.Node, old)
				}
				s.counts["started empty after a loss"]++
			}
			s.committed[op.Shard], s.said[op.Shard] = nil, false
		case op.Kind == TransferPrimary && op.Empty:
			s.counts["handed over empty"]++
			if len(old) > 0 && old[len(old)-1].data {
				s.fail("shard %d was given to %s as empty, and has %v", op.Shard, op.Node, old)
			}
			s.committed[op.Shard], s.said[op.Shard] = nil, false
		}
		topo = next
	}
}

// lastCopyGone checks that a shard loses its last copy only together with a node or its disk.
func (s *sim) lastCopyGone(c Command, change Change, is *Topology) {
	gone := slices.ContainsFunc(c.Ops, func(op Op) bool { return op.Kind == NodeForget && !op.Empty || op.Kind == NodeJoin })
	if !gone {
		s.fail("shard %d lost its last copy on %v: %+v", change.Shard, change.Was.ISR, is.Shards[change.Shard])
	}
}

// disk returns the node with the copies of a node of the topology: the process that joined, or else its folder.
func (s *sim) disk(t *Topology, id NodeID) (*simNode, bool) {
	row, _ := t.Node(id)
	all := append(slices.Clone(s.nodes), s.ghosts...)
	i := slices.IndexFunc(all, func(n *simNode) bool { return n.id == id && n.incarnation == row.Incarnation })
	if i < 0 {
		i = slices.IndexFunc(all, func(n *simNode) bool { return n.id == id && n.store == row.Store })
	}
	if i < 0 {
		return nil, false
	}
	return all[i], true
}

// count counts what has happened to a row, so that a simulation in which little happens is noticed.
func (s *sim) count(c Command, change Change) {
	was, is := change.Was, change.Is
	for name, happened := range map[string]bool{
		"promoted":                          is.Primary != "" && is.Primary != was.Primary,
		"primary taken by a new start":      was.Primary != "" && is.Primary == "" && slices.Equal(was.ISR, is.ISR),
		"relinquished":                      is.Relinquished && !was.Relinquished,
		"expanded":                          len(is.ISR) > len(was.ISR) && len(was.ISR) > 0 && is.LeaderEpoch == was.LeaderEpoch,
		"shrunk":                            len(is.ISR) < len(was.ISR) && is.LeaderEpoch == was.LeaderEpoch && is.Primary == was.Primary && is.Primary != "",
		"taken over with others in the ISR": is.Primary != was.Primary && is.Primary != "" && len(is.ISR) > 1,
	} {
		if happened {
			s.counts[name]++
		}
	}
	for _, op := range c.Ops {
		if op.Shard != change.Shard {
			continue
		}
		switch {
		case op.Kind == Resign && is.Primary == "":
			s.counts["resigned"]++
		case op.Kind == TransferPrimary && !op.Empty && is.Primary == op.Node:
			s.counts["transferred"]++
			if log := s.committed[op.Shard]; len(is.Assigned) > 0 && op.Node == is.Assigned[0] && len(log) > 0 && log[len(log)-1].data {
				s.counts["moved with data"]++
			}
		case op.Kind == AddLearner && len(is.Learners) > len(was.Learners):
			s.counts["learner added"]++
		case op.Kind == DropLearner && len(is.Learners) < len(was.Learners):
			s.counts["learner dropped"]++
		case op.Kind == MarkUnclean:
			s.counts["marked unclean"]++
		case op.Kind == BeginEmpty && is.Primary != "":
			s.counts["begin-empty by the controller"]++
		}
	}
}

// checkProposalsCanEnd finds a proposal of a live primary that raft refuses for ever in its own epoch. The primary could never
// propose anything else.
func (s *sim) checkProposalsCanEnd() {
	if s.flaw == "memberInc" {
		return // joinQuiet, which it needs, would be found first
	}
	t := s.newest()
	for _, n := range s.nodes {
		if row, ok := t.Node(n.id); !n.up || !ok || row.Incarnation != n.incarnation {
			continue
		}
		for shard := range ShardID(simShards) {
			op, ok := n.pending[shard]
			if row := t.Shards[shard]; !ok || row.Epoch != op.Epoch || row.Primary != n.id {
				continue
			}
			if _, errs := t.Apply(t.Index+1, Command{[]Op{op}}); errs[0] != nil {
				s.fail("the proposal of %s/%d, %+v, is refused for ever in its epoch: %v", n.id, n.incarnation, op, errs[0])
			}
		}
	}
}

// configure sets or resets two settings at once.
func (s *sim) configure(n *simNode) {
	var ops []Op
	for i := range 2 {
		op := Op{Kind: ConfigSet, Name: string(rune('x' + i + s.r.IntN(2))), Value: strconv.Itoa(s.r.IntN(3))}
		if s.chance(30) {
			op.Kind, op.Value = ConfigReset, ""
		}
		ops = append(ops, op)
	}
	s.propose(n, ops...)
}

// checkSettings checks that each setting has its last decided value, and that a command changes all of its settings or none.
func (s *sim) checkSettings(c Command, errs []error, is *Topology) {
	done, failed := 0, 0
	for i, op := range c.Ops {
		switch {
		case op.Kind != ConfigSet && op.Kind != ConfigReset:
			continue
		case errs[i] != nil:
			failed++
			continue
		case op.Kind == ConfigSet:
			s.settings[op.Name] = op.Value
		default:
			delete(s.settings, op.Name)
		}
		done++
		s.counts["setting changed"]++
		if is.SetAt[op.Name] != is.Index {
			s.fail("the setting %s has SetAt %d in the topology of index %d", op.Name, is.SetAt[op.Name], is.Index)
		}
	}
	if done > 0 && failed > 0 {
		s.fail("one command changed %d settings and refused %d", done, failed)
	}
	if !maps.Equal(s.settings, is.Settings) {
		s.fail("the settings are %v, want %v", is.Settings, s.settings)
	}
}

// refusal tells the proposing process that a handover of an empty shard was refused, and at which index. The process
// reopens the shard only once it has applied that index and still serves the shard: the refused op may be a
// repetition of one that was applied.
func (s *sim) refusal(m simMessage, op Op, index int) {
	if n := m.from; n != nil && op.Kind == TransferPrimary && op.Empty && n.up && n.incarnation == m.process && s.chance(80) {
		if asked, ok := n.closed[op.Shard]; ok && asked.op.Empty && asked.op.Epoch == op.Epoch && asked.op.Node == op.Node && asked.op.Incarnation == op.Incarnation {
			n.closed[op.Shard] = simHandover{asked.op, index}
		}
	}
}

// comeToRest ends the faults and checks that the cluster reaches its intended state.
func (s *sim) comeToRest() {
	for len(s.inFlight) > 0 {
		m := s.inFlight[0]
		s.inFlight = s.inFlight[1:]
		s.commit(m)
	}
	s.event("no more faults")
	s.calm = true
	for len(s.ghosts) > 0 {
		s.crash(s.ghosts[0])
	}
	s.now += 2 * FlapPenalty
	s.empty = EmptyAuto
	s.commit(simMessage{command: Command{[]Op{s.placement()}}}) // what operators placed by hand is not level
	for quiet := 0; quiet < 8; quiet++ {
		before := len(s.history)
		s.now += UncleanWait
		for _, n := range s.nodes {
			s.catchUp(n, len(s.history)-1)
		}
		for _, n := range s.nodes {
			s.renew(n) // before the members that the jump of the time has made impatient report
		}
		for _, n := range s.nodes {
			s.handOver(n)
			s.tidy(n)
			s.join(n)
			for shard := range ShardID(simShards) {
				if op, ok := n.pending[shard]; ok {
					s.propose(n, op)
				}
			}
			s.report(n)
		}
		for _, n := range s.nodes { // damage that raft does not know
			for i := range n.copies {
				if n.up && s.isMember(n) && n.copies[i].damaged {
					s.propose(n, Op{Kind: MarkUnclean, Shard: ShardID(i), Node: n.id, Incarnation: n.incarnation})
				}
			}
		}
		v := s.view(false)
		v.NodesChanged = 0
		s.control(s.newest(), v)
		for _, m := range s.inFlight {
			s.commit(m)
		}
		s.inFlight = nil
		if len(s.history) > before {
			quiet = -1
		}
		if len(s.history) > 6000 {
			s.fail("the cluster does not come to rest")
		}
	}
	s.checkRest()
	s.checkPlaces()
}

func (s *sim) checkRest() {
	t := s.newest()
	live := s.isLive
	anyone := slices.ContainsFunc(t.Nodes, func(n Node) bool { return n.State == Active && live(n.ID) })
	for i, row := range t.Shards {
		all := !slices.ContainsFunc(row.ISR, func(id NodeID) bool { return !live(id) })
		most := slices.ContainsFunc(s.reports, func(r Report) bool { return int(r.Shard) == i && r.Epoch == row.Epoch && !live(r.Node) }) // it died after it reported: it is waited for
		can := slices.ContainsFunc(row.Clean(), live) || row.AsksAll() && all && !most || len(row.ISR) == 0 && anyone && !slices.ContainsFunc(row.Wiped, func(id NodeID) bool { return !live(id) })
		if can && (row.Primary == "" || !live(row.Primary)) {
			s.fail("shard %d has no live primary: %s", i, rowText(row))
		}
		n := slices.IndexFunc(s.nodes, func(n *simNode) bool { return n.id == row.Primary })
		if n < 0 || !live(row.Primary) {
			continue
		}
		log := s.nodes[n].copies[i].log
		empty := len(log) == 0 || !log[len(log)-1].data
		if empty && len(row.ISR) == 1 && len(row.Assigned) > 0 && row.Assigned[0] != row.Primary && live(row.Assigned[0]) {
			s.fail("shard %d is empty on %s, want it on %s", i, row.Primary, row.Assigned[0])
		}
		if !s.serves(s.nodes[n], ShardID(i)) {
			s.fail("%s does not serve shard %d: %s", row.Primary, i, rowText(row))
		}
	}
}

func same(a, b *Topology) bool {
	x, _ := a.Encode()
	y, _ := b.Encode()
	return string(x) == string(y)
}

// simFlaws are the rules of the topology that a simulation can leave out. It does so outside of Apply and Plan: it changes
// what goes in, or what comes out.
var simFlaws = map[string]string{
	"promoteAny":          "Promote: a member has reported",
	"joinQuiet":           "NodeJoin raises the epoch of the rows with its node",
	"memberInc":           "Promote: the incarnation of reporters; with joinQuiet, because a report of a former process is of an earlier epoch otherwise",
	"noUnclean":           "NodeJoin: an unclean start is noted in the row",
	"joinKeepsPrimary":    "NodeJoin: the node is the primary of no shard",
	"relinquishedByStore": "NodeJoin: a row is relinquished only if no other process holds the folder",
	"recoverClean":        "the ISR is unclean after a recovery of raft",
	"emptyUnasked":        "a shard whose last copy was wiped waits before it starts empty",
}

// bendView changes what the controller knows, for a simulation without a rule.
func (s *sim) bendView(v *View) {
	t := s.newest()
	switch s.flaw {
	case "promoteAny":
		for i, row := range t.Shards {
			for _, id := range row.ISR {
				if n, _ := t.Node(id); id != row.Primary && v.Nodes[id].Alive && s.chance(20) {
					v.Reports[ShardID(i)] = append(v.Reports[ShardID(i)], Report{Node: id, Incarnation: n.Incarnation, Shard: ShardID(i), Epoch: row.Epoch})
				}
			}
		}
	case "memberInc":
		for _, reports := range v.Reports {
			for i := range reports {
				n, _ := t.Node(reports[i].Node)
				reports[i].Incarnation = n.Incarnation
			}
		}
	}
}

// applyCommand is Apply, without the rule that the simulation leaves out.
func (s *sim) applyCommand(was *Topology, index uint64, c Command) (*Topology, []error) {
	if s.flaw == "" || s.flaw == "promoteAny" || s.flaw == "recoverClean" {
		return was.Apply(index, c)
	}
	is, errs := was, []error(nil)
	for _, op := range c.Ops {
		before := is
		switch s.flaw {
		case "noUnclean":
			if n, ok := before.Node(opNode(op)); ok {
				op.Unclean = op.Unclean && op.Kind != NodeJoin
				op.Starts = []uint64{n.Incarnation}
			}
		case "relinquishedByStore":
			if n, ok := before.Node(opNode(op)); ok {
				older := !slices.Contains(op.Starts, n.Incarnation)
				op.Unclean, op.Lossy = op.Unclean || older, op.Lossy || older
				op.SameLock, op.Starts = true, []uint64{n.Incarnation}
			}
		}
		next, err := before.Apply(index, Command{[]Op{op}})
		errs = append(errs, err...)
		is = next
		if op.Kind != NodeJoin {
			continue
		}
		is.Shards = slices.Clone(is.Shards)
		for i := range is.Shards {
			row, old := &is.Shards[i], before.Shards[i]
			switch {
			case s.flaw == "emptyUnasked":
				row.Wiped = nil
			case s.flaw == "joinKeepsPrimary" && old.Primary != "" && slices.Contains(row.ISR, old.Primary):
				row.Primary, row.Relinquished = old.Primary, false
			case (s.flaw == "joinQuiet" || s.flaw == "memberInc") && row.Primary == old.Primary && slices.Equal(row.ISR, old.ISR) && slices.Equal(row.Unclean, old.Unclean):
				row.Epoch = old.Epoch
			}
		}
	}
	if len(c.Ops) == 0 {
		return was.Apply(index, c)
	}
	return is, errs
}

func opNode(op Op) NodeID {
	if len(op.Nodes) == 1 {
		return op.Nodes[0].ID
	}
	return op.Node
}
