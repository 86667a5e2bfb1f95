package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// commit appends a command to the log and checks the step.
func (s *sim) commit(m simMessage) {
	was := s.newest()
	before, _ := was.Encode()
	is, errs := was.Apply(uint64(len(s.history)), m.command)
	if after, _ := was.Encode(); string(after) != string(before) {
		s.fail("Apply changed the topology that it was given")
	}
	if again, _ := was.Apply(is.Index, m.command); !same(again, is) {
		s.fail("Apply of one command returned two different topologies")
	}
	for i, op := range m.command.Ops {
		s.event("%d: %s shard %d epoch %d node %s/%d members %v empty %v setting %q %q: %v", is.Index, op.Kind, op.Shard, op.Epoch, op.Node, op.Incarnation, op.Members, op.Empty, op.Name, op.Value, errs[i])
		if errs[i] == nil {
			s.counts["done"]++
			s.checkExpected(m.command, i, was)
		} else {
			s.counts["refused"]++
			s.refusal(m, op, len(s.history))
		}
	}
	if err := errors.Join(is.Check(), CheckStep(was, is)); err != nil {
		s.fail("%v", err)
	}
	s.checkSettings(m.command, errs, is)
	lives := s.lives[len(s.lives)-1]
	for _, c := range Diff(was, is) {
		s.checkBegin(m.command, c, &lives)
	}
	s.history, s.lives = append(s.history, is), append(s.lives, lives)
}

// checkExpected checks that an applied op found what it expected: the first op of a command that names a
// shard, before any op that changes nodes, must find the epoch and the process that it names.
func (s *sim) checkExpected(c Command, i int, was *Topology) {
	op := c.Ops[i]
	for _, before := range c.Ops[:i] {
		if before.Shard == op.Shard && before.Kind != Assign || len(before.Nodes) > 0 {
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

// refusal tells the proposing process that a handover was refused, and at which index. The process reopens
// the shard only once it has applied that index and still serves the shard: the refused op may be a
// repetition of one that was applied.
func (s *sim) refusal(m simMessage, op Op, index int) {
	if n := m.from; n != nil && op.Kind == TransferPrimary && n.up && n.incarnation == m.process && s.chance(80) {
		if asked, ok := n.closed[op.Shard]; ok && asked.op.Epoch == op.Epoch && asked.op.Node == op.Node && asked.op.Incarnation == op.Incarnation {
			n.closed[op.Shard] = simHandover{asked.op, index}
		}
	}
}

// checkBegin finds shards that start empty by the location of their copies, not by EmptySince, and checks that
// a shard loses data only together with a node.
func (s *sim) checkBegin(c Command, change Change, lives *[simShards]int) {
	was, is := change.Was, change.Is
	if is.Primary != "" && is.Primary != was.Primary {
		s.counts["promoted"]++
	}
	if was.Epoch == 0 || len(is.ISR) == 0 || within(is.ISR, was.ISR) {
		if was.Primary != "" && is.Primary == "" && slices.Equal(was.ISR, is.ISR) {
			s.counts["primary taken by a new start"]++
		}
		return
	}
	lives[change.Shard]++
	if len(was.ISR) == 0 {
		s.counts["lost with a node"]++
		return
	}
	gone := slices.ContainsFunc(c.Ops, func(op Op) bool { return op.Kind == NodeForget && !op.Empty || op.Kind == NodeJoin })
	s.counts["handed over empty"]++
	for _, n := range s.nodes {
		if copy := n.copies[change.Shard]; slices.Contains(was.ISR, n.id) && s.sameStore(n) && copy.data && copy.life == lives[change.Shard]-1 && !gone {
			s.fail("shard %d was given to %s as empty, but %s has data", change.Shard, is.Primary, n.id)
		}
	}
}

func (s *sim) sameStore(n *simNode) bool {
	row, ok := s.newest().Node(n.id)
	return ok && row.Store == n.store
}

// catchUp makes a process apply the log up to an index, and checks that no other process serves, or ever
// served, what it serves now.
func (s *sim) catchUp(n *simNode, to int) {
	for n.up && n.applied < to {
		n.applied++
		s.serve(n)
	}
}

func (s *sim) serve(n *simNode) {
	t := s.history[n.applied]
	for shard, asked := range n.closed {
		if t.Cluster != "" && t.Shards[shard].Epoch != asked.op.Epoch || asked.refused > 0 && n.applied >= asked.refused {
			delete(n.closed, shard)
		}
	}
	for i := range t.Shards {
		shard, row := ShardID(i), t.Shards[i]
		if !s.serves(n, shard) || n.opened[shard] == row.Epoch {
			continue
		}
		n.opened[shard] = row.Epoch
		key, process := fmt.Sprint(shard, " ", row.Epoch), fmt.Sprint(n.id, "/", n.incarnation)
		if other, ok := s.served[key]; ok && other != process {
			s.fail("shard %d is served in epoch %d by %s and by %s", shard, row.Epoch, other, process)
		}
		s.served[key] = process
		copy := &n.copies[shard]
		if copy.emptySince < row.EmptySince {
			*copy = simCopy{emptySince: row.EmptySince}
		}
		if copy.data && copy.life != s.lives[n.applied][shard] {
			s.fail("%s serves shard %d with data of life %d, the shard is in life %d", n.id, shard, copy.life, s.lives[n.applied][shard])
		}
	}
}

// serves is the rule of a node: its topology names it as the primary, in the incarnation of this process.
func (s *sim) serves(n *simNode, shard ShardID) bool {
	t := s.history[n.applied]
	if !n.up || t.Cluster == "" {
		return false
	}
	row, ok := t.Node(n.id)
	return ok && row.Incarnation == n.incarnation && t.Shards[shard].Primary == n.id
}

// write stores something in an open shard that the node serves. Only the loss of the node may lose an acknowledged write.
func (s *sim) write(n *simNode) {
	var open []ShardID
	for shard := range ShardID(simShards) {
		if _, closed := n.closed[shard]; !closed && s.serves(n, shard) {
			open = append(open, shard)
		}
	}
	for range min(len(open), 4) {
		shard := open[s.r.IntN(len(open))]
		here, now := s.lives[n.applied][shard], s.lives[len(s.lives)-1][shard]
		if row, ok := s.newest().Node(n.id); here != now && ok && row.Incarnation == n.incarnation {
			s.fail("%s acknowledges a write to shard %d, which has started empty elsewhere", n.id, shard)
		}
		n.copies[shard].data, n.copies[shard].life = s.chance(60), here // otherwise a delete of everything
		s.counts["written"]++
		s.event("%s writes shard %d: %v", n.id, shard, n.copies[shard].data)
	}
}

// handOver closes the shards that the node should hand over, and proposes the handovers of all closed shards.
func (s *sim) handOver(n *simNode) {
	if !n.up {
		return
	}
	for shard := range ShardID(simShards) {
		if asked, ok := n.closed[shard]; ok {
			s.propose(n, asked.op)
		}
	}
	ops := s.history[n.applied].Handover(n.id, func(id NodeID) bool { return s.isUp(id) }, func(shard ShardID) bool {
		_, closed := n.closed[shard]
		return s.serves(n, shard) && !closed && !n.copies[shard].data
	})
	for _, op := range ops {
		n.closed[op.Shard] = simHandover{op: op}
	}
	s.propose(n, ops...)
}

func (s *sim) isUp(id NodeID) bool {
	return slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.id == id && n.up })
}

func (s *sim) resign(n *simNode) {
	shard := ShardID(s.r.IntN(simShards))
	if s.serves(n, shard) {
		s.propose(n, Op{Kind: Resign, Shard: shard, Epoch: s.history[n.applied].Shards[shard].Epoch, Node: n.id})
	}
}

// checkPlan checks that all ops of a plan can be applied and that nothing remains to plan.
func (s *sim) checkPlan(on *Topology, v View, ops []Op) {
	next, errs := on.Apply(on.Index+1, Command{ops})
	if err := errors.Join(errs...); err != nil {
		s.fail("the topology refuses an op of its own plan: %v", err)
	}
	if more := next.Plan(v); len(more) > 0 {
		s.fail("the same view needs more ops: %+v", more)
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
	s.now += 2 * FlapPenalty
	for quiet := 0; quiet < 3; quiet++ {
		before := len(s.history)
		for _, n := range s.nodes {
			s.catchUp(n, len(s.history)-1)
			s.handOver(n)
			s.join(n)
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
		if len(s.history) > 3000 {
			s.fail("the cluster does not come to rest")
		}
	}
	s.checkRest()
}

func (s *sim) checkRest() {
	t := s.newest()
	live := func(id NodeID) bool {
		row, ok := t.Node(id)
		return ok && slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.id == id && n.up && n.incarnation == row.Incarnation })
	}
	anyone := slices.ContainsFunc(t.Nodes, func(n Node) bool { return n.State == Active && live(n.ID) })
	holds := map[NodeID]bool{}
	for i, row := range t.Shards {
		for _, id := range row.ISR {
			holds[id] = true
		}
		if can := slices.ContainsFunc(row.ISR, live) || len(row.ISR) == 0 && anyone; can && row.Primary == "" {
			s.fail("shard %d has no primary: %+v", i, row)
		}
		n := slices.IndexFunc(s.nodes, func(n *simNode) bool { return n.id == row.Primary })
		if n >= 0 && live(row.Primary) && !s.nodes[n].copies[i].data && len(row.Assigned) > 0 && row.Assigned[0] != row.Primary && live(row.Assigned[0]) {
			s.fail("shard %d is empty on %s, want it on %s", i, row.Primary, row.Assigned[0])
		}
		if n >= 0 && live(row.Primary) && !s.serves(s.nodes[n], ShardID(i)) {
			s.fail("%s does not serve shard %d: %+v", row.Primary, i, row)
		}
	}
	for _, n := range t.Nodes {
		if n.State == Leaving && !holds[n.ID] && len(t.Nodes) > 1 && anyone {
			s.fail("%s is leaving, has no copy, and is not forgotten", n.ID)
		}
	}
}

func same(a, b *Topology) bool {
	x, _ := a.Encode()
	y, _ := b.Encode()
	return string(x) == string(y)
}
