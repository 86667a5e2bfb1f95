package replica

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// simProposal is a command on its way to raft's log, of a process or of the controller.
type simProposal struct {
	from  *simProcess
	shard int
	op    []topology.Op
}

const simProposals = 60

func (s *sim) propose(p *simProcess, shard int, op topology.Op) {
	if p.cut {
		return
	}
	s.addProposal(simProposal{p, shard, []topology.Op{op}})
}

func (s *sim) addProposal(p simProposal) {
	for _, was := range s.inFlight { // a repeat of what is still under way changes nothing
		if was.from == p.from && reflect.DeepEqual(was.op, p.op) {
			return
		}
	}
	if len(s.inFlight) >= simProposals {
		i := s.r.IntN(len(s.inFlight))
		s.inFlight = slices.Delete(s.inFlight, i, i+1)
	}
	s.inFlight = append(s.inFlight, p)
}

// decideOne lets raft decide something that was proposed, in any order, or lose it; also of a process that has ended.
func (s *sim) decideOne() {
	if len(s.inFlight) == 0 || s.noLeader {
		return
	}
	i := s.r.IntN(len(s.inFlight))
	p := s.inFlight[i]
	if s.calm || !s.chance(10) {
		s.inFlight = slices.Delete(s.inFlight, i, i+1)
	}
	if !s.calm && s.chance(10) {
		return
	}
	s.decide(p)
}

func (s *sim) decide(p simProposal) {
	for _, op := range p.op {
		was := s.newest()
		if op.Kind == topology.NodeJoin && p.from != nil {
			op = s.join(p.from) // raft looks the start that it knows up in the folder's list
		}
		is, errs := was.Apply(was.Index+1, topology.Command{Ops: []topology.Op{op}})
		if errs[0] != nil {
			if s.world.withdrawProposal && p.from != nil && p.shard >= 0 && !p.from.dead {
				p.from.copies[p.shard].c.proposal = Proposal{}
			}
			continue
		}
		is = s.spoil(was, is, op)
		s.history = append(s.history, is)
		if op.Kind != topology.NodeJoin || len(was.Nodes) != len(is.Nodes) || !slices.EqualFunc(was.Nodes, is.Nodes, topology.Node.Equal) {
			s.event("decided: %s", simOp(op))
		}
		s.noteDecision(was, is, op)
	}
}

// spoil makes a decision what it would be without a rule.
func (s *sim) spoil(was, is *topology.Topology, op topology.Op) *topology.Topology {
	if op.Kind != topology.NodeJoin || !s.world.joinQuiet && !s.world.joinKeepsPrimary {
		return is
	}
	changed := *is
	changed.Shards = slices.Clone(is.Shards)
	for i := range changed.Shards {
		row, before := &changed.Shards[i], was.Shards[i]
		if s.world.joinKeepsPrimary {
			row.Primary, row.Relinquished = before.Primary, before.Relinquished
		}
		if s.world.joinQuiet && row.Primary == before.Primary && slices.Equal(row.ISR, before.ISR) && slices.Equal(row.Unclean, before.Unclean) {
			row.Epoch = before.Epoch
		}
	}
	return &changed
}

// simOp is an op in an event.
type simOp topology.Op

func (op simOp) String() string {
	if op.Kind == topology.NodeJoin {
		return fmt.Sprintf("node-join %s/%d after %v unclean %v same lock %v", op.Nodes[0].ID, op.Nodes[0].Incarnation, op.Starts, op.Unclean, op.SameLock)
	}
	return fmt.Sprintf("%s shard %d epoch %d: %s/%d isr %v reporters %v unclean %v empty %v", op.Kind, op.Shard, op.Epoch, op.Node, op.Incarnation, op.Members, op.Reporters, op.Unclean, op.Empty)
}

// noteDecision notes what a decision may lose, and counts it.
func (s *sim) noteDecision(was, is *topology.Topology, op topology.Op) {
	if len(was.Shards) > 0 && s.world == (simFlaws{}) {
		if err := topology.CheckStep(was, is); err != nil {
			s.fail("%v", err)
		}
	}
	if int(op.Shard) >= simShards {
		return
	}
	sh := &s.shards[op.Shard]
	switch op.Kind {
	case topology.Promote:
		s.counts["promoted"]++
		if op.Unclean {
			s.counts["promoted unclean"]++
		}
		if op.Empty {
			s.counts["begun empty"]++
		}
		if op.Empty || op.Unclean && (is.PossibleLosses > was.PossibleLosses || s.older()) {
			sh.pending = is.Shards[op.Shard].Epoch
			sh.lossy, sh.cloned = true, !op.Empty
		}
	case topology.ExpandISR:
		s.counts["expanded"]++
		s.checkExpanded(&op)
	case topology.ShrinkISR:
		s.counts["shrunk"]++
	case topology.TransferPrimary:
		s.counts["transferred"]++
	case topology.Resign:
		s.counts["resigned"]++
	}
}

// doubled reports whether a node has had two processes at once.
func (s *sim) doubled() bool { return s.counts["cloned"] > 0 }

// older reports whether a folder may be older than what its node acknowledged, though each write was synced.
func (s *sim) older() bool {
	return s.doubled() || s.counts["put back"] > 0 || s.counts["damaged"] > 0
}

// view is what the controller knows: gossip is often wrong.
func (s *sim) view() topology.View {
	v := topology.View{Now: s.now / 1e6, NodesChanged: s.now / 1e6, Nodes: map[topology.NodeID]topology.Liveness{}, EmptyShards: topology.EmptyOperator, Format: topology.LatestFormat}
	for _, h := range s.hosts {
		p := h.process
		alive := p != nil && !p.frozen && !p.cut
		if !s.calm && s.chance(15) {
			alive = !alive
		}
		incarnation := h.folder.incarnation
		if was, ok := v.Nodes[h.id]; !ok || incarnation > was.Incarnation {
			v.Nodes[h.id] = topology.Liveness{Alive: alive, Incarnation: incarnation, Format: topology.Format1} // it says nothing about its room
		}
	}
	for _, row := range s.newest().Shards[:simShards] {
		if len(row.Assigned) < s.replicas {
			v.NodesChanged = -1 << 40 // settled: Plan assigns
		}
	}
	v.Reports = s.reports
	return v
}

// plan lets the controller plan, sometimes by an old topology, and the operator order.
func (s *sim) plan() {
	if s.noLeader {
		return
	}
	t := s.newest()
	if !s.calm && s.chance(20) {
		t = s.history[max(0, len(s.history)-1-s.r.IntN(4))]
	}
	if t.Cluster == "" {
		return
	}
	v := s.view()
	if s.world.promoteAny {
		v.Reports = s.invent(t)
	}
	var ops []topology.Op
	for _, op := range t.Plan(v) {
		if int(op.Shard) < simShards {
			ops = append(ops, op)
		}
	}
	for i := range simShards {
		ops = append(ops, s.copyOps(t, i, v)...)
	}
	for _, op := range ops { // each on its own: they may be decided in any order
		s.addProposal(simProposal{shard: -1, op: []topology.Op{op}})
	}
}

// copyOps gives learners to a shard whose assigned nodes have no copy, and lets an operator begin it empty.
func (s *sim) copyOps(t *topology.Topology, shard int, v topology.View) (ops []topology.Op) {
	row := t.Shards[shard]
	for _, id := range row.Assigned {
		n, _ := t.Node(id)
		if row.Primary != "" && !slices.Contains(row.ISR, id) && !slices.Contains(row.Learners, id) && v.Nodes[id].Alive {
			ops = append(ops, topology.Op{Kind: topology.AddLearner, Shard: topology.ShardID(shard), Epoch: row.Epoch, Node: id, Incarnation: n.Incarnation})
		}
	}
	if len(row.Wiped) > 0 && s.chance(30) && (s.world.emptyUnasked || !s.mayServe(row.Wiped)) {
		ops = append(ops, topology.Op{Kind: topology.BeginEmpty, Shard: topology.ShardID(shard), Epoch: row.Epoch})
	}
	return ops
}

// mayServe reports whether an earlier process of one of the nodes still runs somewhere.
func (s *sim) mayServe(ids []topology.NodeID) bool {
	for _, id := range ids {
		known, _ := s.newest().Node(id)
		n := 0
		for _, h := range s.hosts {
			if h.id != id || h.process == nil {
				continue
			}
			if n++; n > 1 || h.process.self.Incarnation < known.Incarnation {
				return true
			}
		}
	}
	return false
}

// invent returns reports of members that have not reported.
func (s *sim) invent(t *topology.Topology) map[topology.ShardID][]topology.Report {
	out := map[topology.ShardID][]topology.Report{}
	for i := range simShards {
		row := t.Shards[i]
		for _, id := range row.ISR {
			if n, _ := t.Node(id); id != row.Primary && s.chance(20) {
				out[topology.ShardID(i)] = append(out[topology.ShardID(i)], topology.Report{Node: id, Incarnation: n.Incarnation, Shard: topology.ShardID(i), Epoch: row.Epoch})
			}
		}
	}
	return out
}

func (s *sim) dropLearner() {
	t := s.newest()
	if t.Cluster == "" || s.noLeader {
		return
	}
	shard := s.r.IntN(simShards)
	if row := t.Shards[shard]; len(row.Learners) > 0 {
		s.addProposal(simProposal{shard: -1, op: []topology.Op{{Kind: topology.DropLearner, Shard: topology.ShardID(shard), Epoch: row.Epoch, Node: pick(s, row.Learners)}}})
	}
}
