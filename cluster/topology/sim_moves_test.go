package topology

import (
	"errors"
	"fmt"
	"slices"
)

// Where the copies of shards should be, and how they come there.

// handOver closes the shards that the node should hand over empty, and proposes the handovers of all closed shards.
func (s *sim) handOver(n *simNode) {
	if !n.up {
		return
	}
	for shard := range ShardID(simShards) {
		if asked, ok := n.closed[shard]; ok {
			s.propose(n, asked.op)
		}
	}
	var ops []Op
	for _, op := range s.moves(n) {
		if op.Empty {
			n.closed[op.Shard] = simHandover{op: op}
			ops = append(ops, op)
		}
	}
	s.propose(n, ops...)
}

// moves returns what a node should propose, and checks it. Only a shard that it serves and for which nothing is
// outstanding is closed as empty.
func (s *sim) moves(n *simNode) []Op {
	t := s.history[n.applied]
	alive := func(id NodeID) bool { return id != n.id && s.isUp(id) }
	asked := map[ShardID]bool{}
	ops := t.Moves(n.id, alive, func(shard ShardID) bool {
		asked[shard] = true
		_, pending := n.pending[shard]
		log := n.copies[shard].log
		return !pending && s.serves(n, shard) && (len(log) == 0 || !log[len(log)-1].data)
	})
	if err := checkMoves(t, n.id, ops, alive); err != nil && s.flaw == "" {
		s.fail("the moves of %s: %v", n.id, err)
	}
	for shard := range asked {
		if len(t.Shards[shard].ISR) > 1 {
			s.fail("%s closes shard %d to hand it over empty: it has copies on %v", n.id, shard, t.Shards[shard].ISR)
		}
	}
	return ops
}

// checkMoves checks that all moves of a node can be applied, and what must hold for them: there is one for a shard, the node is
// its primary, and the shard keeps a clean copy on each node that has one and should have one.
func checkMoves(t *Topology, self NodeID, ops []Op, alive func(NodeID) bool) error {
	next, errs := t.Apply(t.Index+1, Command{ops})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	shrinks, seen := false, map[ShardID]bool{}
	for _, op := range ops {
		was, is := t.Shards[op.Shard], next.Shards[op.Shard]
		n, _ := t.Node(op.Node)
		switch {
		case seen[op.Shard]:
			return fmt.Errorf("two for shard %d: %+v", op.Shard, ops)
		case was.Primary != self:
			return fmt.Errorf("shard %d is served by %s: %+v", op.Shard, was.Primary, op)
		case op.Incarnation != n.Incarnation:
			return fmt.Errorf("%s is in incarnation %d: %+v", n.ID, n.Incarnation, op)
		case shrinks && op.Kind == TransferPrimary:
			return fmt.Errorf("a transfer after a shrink: %+v", ops)
		case op.Kind == TransferPrimary && (n.State != Active || !alive(op.Node) || !slices.Contains(was.Assigned, op.Node)):
			return fmt.Errorf("shard %d goes to %s, which is dead, not active or not assigned", op.Shard, op.Node)
		case op.Kind == TransferPrimary && !op.Empty && !slices.Equal(was.ISR, is.ISR):
			return fmt.Errorf("the transfer of shard %d changes its copies: %v became %v", op.Shard, was.ISR, is.ISR)
		case op.Kind == ShrinkISR && (op.Node == self || slices.Contains(was.Assigned, op.Node)):
			return fmt.Errorf("%s should have a copy of shard %d: %+v", op.Node, op.Shard, op)
		case op.Kind == ShrinkISR && !within(was.Assigned, is.Clean()):
			return fmt.Errorf("shard %d loses a copy and has not got all of %v: %+v", op.Shard, was.Assigned, is)
		}
		shrinks, seen[op.Shard] = shrinks || op.Kind == ShrinkISR, true
	}
	return nil
}

// checkPlan checks that all ops of a plan can be applied and that nothing remains to plan. (For an outdated topology,
// reports of the epochs to which the ops lead may be there already.)
func (s *sim) checkPlan(on *Topology, v View, ops []Op) {
	next, errs := on.Apply(on.Index+1, Command{ops})
	if err := errors.Join(errs...); err != nil {
		s.fail("the topology refuses an op of its own plan: %v", err)
	}
	if err := checkLearners(on, v, ops); err != nil {
		s.fail("%v", err)
	}
	if on != s.newest() {
		return
	}
	if err := checkPlanned(next, v, ops); err != nil {
		s.fail("%v", err)
	}
}

// checkPlanned checks that the view that led to ops leads to nothing else once they are applied, except, a few times, to
// learners: those of shards that they promoted, and those for which there was no room before others went.
func checkPlanned(next *Topology, v View, ops []Op) error {
	for range 4 {
		ops = next.Plan(v)
		if len(ops) == 0 {
			return checkWaits(next, v)
		}
		for _, op := range ops {
			if op.Kind != AddLearner && op.Kind != DropLearner {
				return fmt.Errorf("the same view needs more ops: %+v", ops)
			}
		}
		var errs []error
		if next, errs = next.Apply(next.Index+1, Command{ops}); errors.Join(errs...) != nil {
			return errors.Join(errs...)
		}
	}
	return fmt.Errorf("the same view needs more and more ops: %+v", ops)
}

// checkLearners checks that a plan takes no copy from a shard without a primary: a learner may have what its ISR lost. What
// it adds is assigned and alive.
func checkLearners(on *Topology, v View, ops []Op) error {
	forget := slices.IndexFunc(ops, func(op Op) bool { return op.Kind == NodeForget })
	if forget < 0 {
		forget = len(ops)
	}
	then, _ := on.Apply(on.Index+1, Command{ops[:forget]})
	for _, op := range ops {
		row := on.Shards[op.Shard]
		n, _ := on.Node(op.Node)
		switch {
		case op.Kind == DropLearner && (row.Primary == "" || slices.Contains(then.Shards[op.Shard].Assigned, op.Node)):
			return fmt.Errorf("shard %d should keep its learner %s: %s", op.Shard, op.Node, rowText(row))
		case op.Kind == AddLearner && (!slices.Contains(then.Shards[op.Shard].Assigned, op.Node) || n.State != Active || !v.Nodes[op.Node].Alive):
			return fmt.Errorf("%s should be no learner of shard %d: %s", op.Node, op.Shard, rowText(row))
		case op.Kind == NodeForget && slices.ContainsFunc(then.Shards, func(row Shard) bool { return row.AsksAll() && slices.Contains(row.Learners, op.Node) }):
			return fmt.Errorf("%s is forgotten, and may have what the ISR of a shard lost", op.Node)
		}
	}
	return nil
}

// disturbLearners adds and drops learners against the plan, as a controller does that has heard of other nodes.
func (s *sim) disturbLearners(*simNode) {
	t := s.newest()
	var ops []Op
	for i, row := range t.Shards {
		op := Op{Shard: ShardID(i), Epoch: row.Epoch}
		n := t.Nodes[s.r.IntN(len(t.Nodes))]
		switch {
		case row.Primary == "" || !s.chance(10):
		case !row.hasCopy(n.ID):
			op.Kind, op.Node, op.Incarnation = AddLearner, n.ID, n.Incarnation
			ops = append(ops, op)
		case slices.Contains(row.Learners, n.ID):
			op.Kind, op.Node = DropLearner, n.ID
			ops = append(ops, op)
		}
	}
	if len(ops) > 0 {
		s.inFlight = append(s.inFlight, simMessage{command: Command{ops}})
	}
}

// restartAll ends all processes at once and starts them again.
func (s *sim) restartAll(*simNode) {
	if s.newest().Cluster == "" {
		return
	}
	s.counts["all restarted"]++
	how := simStart{power: s.chance(50)}
	for _, n := range slices.Concat(s.ghosts, s.nodes) {
		s.crash(n)
	}
	for _, n := range s.nodes {
		s.start(n, how)
	}
}

// tidy makes what a primary does all the time: learners catch up and join the ISR, members that do not answer leave it,
// and copies move to where they are assigned.
func (s *sim) tidy(n *simNode) {
	moves := map[ShardID]Op{}
	for _, op := range s.moves(n) {
		moves[op.Shard] = op
	}
	for shard := range ShardID(simShards) {
		if _, pending := n.pending[shard]; pending || !s.serves(n, shard) {
			continue
		}
		row := s.row(n, shard)
		op, ok := moves[shard]
		if ok = ok && !op.Empty; ok && op.Kind == TransferPrimary {
			ok = s.install(n, shard, op.Node)
		}
		for _, id := range slices.Concat(row.Learners, row.Unclean) {
			if !ok && slices.Contains(row.Assigned, id) && s.install(n, shard, id) {
				to, _ := s.history[n.applied].Node(id)
				op, ok = Op{Kind: ExpandISR, Shard: shard, Epoch: row.Epoch, Node: id, Incarnation: to.Incarnation}, true
			}
		}
		for _, id := range row.ISR {
			if _, answers := s.member(n, shard, id); !ok && id != n.id && !answers {
				op, ok = Op{Kind: ShrinkISR, Shard: shard, Epoch: row.Epoch, Node: id}, true
			}
		}
		if ok {
			s.proposeMove(n, op)
		}
	}
}

// proposeMove proposes an op about the members of a shard, which is outstanding from then on.
func (s *sim) proposeMove(n *simNode, op Op) {
	n.pending[op.Shard] = op
	if op.Kind == TransferPrimary || op.Kind == Resign {
		n.closed[op.Shard] = simHandover{op: op}
	}
	s.event("%s/%d proposes %s of %s for shard %d", n.id, n.incarnation, op.Kind, op.Node, op.Shard)
	s.propose(n, op)
}

// countLeaving counts the nodes that had copies with data when they began to leave, and left.
func (s *sim) countLeaving(op Op, was *Topology) {
	switch op.Kind {
	case NodeLeave:
		for i, row := range was.Shards {
			if log := s.committed[i]; slices.Contains(row.ISR, op.Node) && len(log) > 0 && log[len(log)-1].data {
				s.leaving[op.Node] = true
			}
		}
	case NodeForget:
		if op.Empty && s.leaving[op.Node] {
			s.counts["left with copies"]++
		}
		delete(s.leaving, op.Node)
	}
}

// isLive reports whether the process that the newest topology names runs.
func (s *sim) isLive(id NodeID) bool {
	row, ok := s.newest().Node(id)
	return ok && slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.id == id && n.up && n.incarnation == row.Incarnation })
}

func (s *sim) isUp(id NodeID) bool {
	return slices.ContainsFunc(s.nodes, func(n *simNode) bool { return n.id == id && n.up })
}

// checkPlaces checks, at rest, that each shard with a primary has its copies where they are assigned. A dead node cannot
// catch up; until it is back or forgotten, the copies elsewhere stay. A node that leaves is forgotten once each
// shard of which it had a copy has others.
func (s *sim) checkPlaces() {
	t := s.newest()
	primaries, complete, keeps := map[NodeID]int{}, true, map[NodeID]bool{}
	dead := func(id NodeID) bool { return !s.isLive(id) }
	for i, row := range t.Shards {
		if row.Primary == "" || dead(row.Primary) || len(row.Assigned) == 0 {
			complete = false
			for _, id := range slices.Concat(row.ISR, row.Learners, row.Wiped) {
				keeps[id] = true
			}
			continue
		}
		primaries[row.Primary]++
		for _, id := range row.Assigned {
			if s.isLive(id) && !slices.Contains(row.Clean(), id) {
				s.fail("shard %d has no clean copy on %s: %s", i, id, rowText(row))
			}
		}
		switch {
		case slices.ContainsFunc(row.ISR, dead) || !within(row.Learners, row.Assigned):
			s.fail("shard %d has members that are gone: %s", i, rowText(row))
		case slices.ContainsFunc(row.Assigned, dead):
			complete = false
			for _, id := range row.ISR {
				keeps[id] = true
			}
		case !within(row.ISR, row.Assigned):
			s.fail("shard %d has copies elsewhere: %s", i, rowText(row))
		case row.Primary != row.Assigned[0]:
			s.fail("shard %d should be served by %s: %s", i, row.Assigned[0], rowText(row))
		case len(row.Assigned) > 1:
			s.counts["with all its copies"]++
		}
	}
	var active []int
	for _, n := range t.Nodes {
		if n.State == Active && (s.isLive(n.ID) || complete) {
			if s.isLive(n.ID) {
				active = append(active, primaries[n.ID])
			}
		} else if n.State == Draining && !keeps[n.ID] && t.holds(n.ID) {
			s.fail("%s is drained, its copies are elsewhere, and it still has some", n.ID)
		} else if n.State != Leaving {
			continue
		} else if !keeps[n.ID] && len(t.Nodes) > 1 {
			s.fail("%s is leaving, its copies are elsewhere, and it is not forgotten", n.ID)
		}
	}
	if complete && slices.Max(active)-slices.Min(active) > 1 {
		s.fail("the shares of the nodes are %v", primaries)
	}
}
