package topology

import (
	"fmt"
	"slices"
)

// simRecord is an acknowledged write: id is unique, leader the leader epoch in which it was written. data says
// whether the shard has data after it.
type simRecord struct {
	id     int
	leader uint64
	data   bool
}

type simLog []simRecord

// simCopy is one copy of a shard on a disk.
type simCopy struct {
	emptySince uint64 // of the row when the copy was last cleared
	log        simLog
	damaged    bool // the process knows that it lacks records, and may do nothing before raft knows it
}

// simLeader is a leader epoch and a time: when it was learned, or a lease granted in it.
type simLeader struct {
	epoch uint64
	at    int64
}

// simNode is one node: a disk, and a process while it is up.
type simNode struct {
	id          NodeID
	store       string
	always      bool // it syncs before it acknowledges
	copies      [simShards]simCopy
	starts      []uint64 // what the folder says: Op.Starts of the next process
	up          bool
	incarnation uint64
	started     int64
	applied     int                     // index into history that the process has applied
	closed      map[ShardID]simHandover // shards that the process has closed for a handover or a resignation
	pending     map[ShardID]Op          // proposals about members, repeated until the epoch changes
	opened      map[ShardID]uint64      // leader epochs that the process has served
	sealed      map[ShardID]uint64      // epochs that the process has reported
	learned     map[ShardID]simLeader   // the newest leader epoch that the process knows
	granted     map[ShardID]simLeader   // leases that the process has granted
	leases      map[ShardID]map[NodeID]simLeader
	join        Op   // of this process
	cloned      bool // another process runs with a copy of its folder
}

// simHandover is a pending handover.
type simHandover struct {
	op      Op
	refused int // index of the entry that refused it, once the node knows; 0 before
}

// simStart is how a process starts.
type simStart struct {
	wiped, power, restored, moved, damaged bool
}

// startOf draws how the next process of a node starts.
func (s *sim) startOf(n *simNode) simStart {
	switch s.r.IntN(10) {
	case 0:
		return simStart{wiped: true}
	case 1, 2:
		return simStart{power: true}
	case 3:
		return simStart{restored: true}
	case 4:
		return simStart{moved: true}
	case 5:
		return simStart{damaged: true}
	}
	return simStart{}
}

func (s *sim) addNode() {
	n := &simNode{id: NodeID(rune('a' + len(s.nodes))), always: s.chance(30)}
	s.nodes = append(s.nodes, n)
	s.start(n, simStart{wiped: true})
}

func (s *sim) nodeRow(n *simNode) Node {
	return Node{ID: n.id, Store: n.store, Incarnation: n.incarnation, Zone: string(n.id), Log: true, Always: n.always}
}

// start starts a process. It has any prefix of the log that it or another node ever had.
func (s *sim) start(n *simNode, how simStart) {
	if n.up || slices.Contains(s.ghosts, n) {
		return
	}
	s.clock++
	// What a start finds out stays in MANIFEST until the node has learned that raft decided its join.
	folder := n.join
	if how.restored || how.wiped {
		n.starts = nil
	}
	n.up, n.incarnation, n.started = true, s.clock, s.now
	n.closed, n.pending, n.opened, n.sealed = map[ShardID]simHandover{}, map[ShardID]Op{}, map[ShardID]uint64{}, map[ShardID]uint64{}
	n.learned, n.granted, n.leases = map[ShardID]simLeader{}, map[ShardID]simLeader{}, map[ShardID]map[NodeID]simLeader{}
	n.join = Op{Kind: NodeJoin, Starts: slices.Clone(n.starts), SameLock: !how.wiped && !how.power && !how.restored && !how.moved, Unclean: how.power || how.moved || folder.Unclean, Lossy: how.moved || folder.Lossy}
	for i := range n.copies {
		copy := &n.copies[i]
		damage := how.damaged && s.chance(20)
		copy.damaged = copy.damaged || damage // each start finds it again
		if how.power && !n.always || how.restored || damage {
			copy.log = copy.log[:s.r.IntN(len(copy.log)+1)]
		}
	}
	if how.wiped {
		n.store, n.copies = fmt.Sprint("store", s.clock), [simShards]simCopy{}
		n.join.Unclean, n.join.Lossy = false, false
		s.joined[n.id] = s.now
	}
	n.starts = append(n.starts, n.incarnation)
	n.join.Nodes = []Node{s.nodeRow(n)}
	n.applied = s.r.IntN(len(s.history))
	s.event("%s starts as %d, %+v, at index %d", n.id, n.incarnation, how, n.applied)
	s.apply(n)
	s.flap(n)
	s.propose(n, n.join)
}

// duplicate lets another process of a node start, with a copy of its folder or an empty one, while the first one
// goes on without knowing it.
func (s *sim) duplicate(n *simNode, cloned bool) {
	if !n.up || slices.Contains(s.ghosts, n) || len(s.ghosts) > 3 {
		return
	}
	ghost := *n
	ghost.starts = slices.Clone(n.starts)
	for i := range ghost.copies {
		ghost.copies[i].log = slices.Clone(ghost.copies[i].log)
	}
	s.ghosts = append(s.ghosts, &ghost)
	n.up = false
	s.counts["two processes of a node"]++
	s.event("%s/%d becomes a ghost", n.id, n.incarnation)
	ghost.cloned = cloned
	s.start(n, simStart{moved: ghost.cloned, wiped: !ghost.cloned})
}

// haunted reports whether another process of a node runs.
func (s *sim) haunted(id NodeID) bool {
	return slices.ContainsFunc(s.ghosts, func(n *simNode) bool { return n.id == id && n.up })
}

// lay ends all processes of a node that gossip does not see: the operator vouches for that.
func (s *sim) lay(id NodeID) {
	for _, n := range slices.Clone(s.ghosts) {
		if n.id == id && n.up {
			s.crash(n)
		}
	}
}

func (s *sim) crash(n *simNode) {
	if n.up {
		n.up = false
		if !slices.Contains(s.ghosts, n) {
			s.flap(n)
		}
		s.event("%s/%d crashes", n.id, n.incarnation)
	}
	s.ghosts = slices.DeleteFunc(s.ghosts, func(n *simNode) bool { return !n.up })
}

func (s *sim) flap(n *simNode) {
	f := s.flaps[n.id]
	if s.now-f.LastFlap > FlapPenalty {
		f.Flaps = 0
	}
	s.flaps[n.id] = Liveness{Flaps: f.Flaps + 1, LastFlap: s.now}
}

// join proposes the node until the process sees itself in the topology. A forgotten process exits and is
// restarted: it must not come back in the same incarnation.
func (s *sim) join(n *simNode) {
	if !n.up || slices.Contains(s.ghosts, n) {
		return
	}
	row, known := s.history[n.applied].Node(n.id)
	if known && row.Incarnation == n.incarnation {
		return
	}
	if !known && s.wasMember(n) {
		s.crash(n)
		return
	}
	s.propose(n, n.join)
}

func (s *sim) wasMember(n *simNode) bool {
	for _, t := range s.history[:n.applied+1] {
		if row, ok := t.Node(n.id); ok && row.Incarnation == n.incarnation {
			return true
		}
	}
	return false
}

// forget is an operator who gives up a node, and has made sure that it is off.
func (s *sim) forget(n *simNode) {
	if slices.Contains(s.ghosts, n) || n.up && !s.chance(10) {
		return
	}
	s.lay(n.id)
	s.crash(n)
	s.event("the operator forgets %s/%d", n.id, n.incarnation)
	s.inFlight = append(s.inFlight, simMessage{command: Command{[]Op{{Kind: NodeForget, Node: n.id, Incarnation: n.incarnation}}}})
}

// beginEmpty is an operator who gives up wiped copies, and has made sure that the processes that had them are off.
func (s *sim) beginEmpty(*simNode) {
	t := s.newest()
	var ops []Op
	for i, row := range t.Shards {
		if len(row.Wiped) > 0 {
			for _, id := range row.Wiped {
				s.lay(id)
			}
			ops = append(ops, Op{Kind: BeginEmpty, Shard: ShardID(i), Epoch: row.Epoch})
		}
	}
	if len(ops) > 0 {
		s.counts["begin-empty by the operator"]++
		s.inFlight = append(s.inFlight, simMessage{command: Command{ops}})
	}
}

// recover continues from a topology that lacks the last decisions, as after the loss of a majority of voters. Nodes
// may have carried them out. The operator has stopped them: what they would go on to acknowledge by a lost
// decision, nothing can save.
func (s *sim) recover(*simNode) {
	base := s.history[max(1, len(s.history)-s.r.IntN(4)-1)]
	if s.newest().Cluster == "" || base.Cluster == "" || !s.chance(20) {
		return
	}
	is := base.Recovered(uint64(len(s.history)), RecoveryGap+(s.newest().Recovery&1))
	if s.flaw == "recoverClean" {
		for i := range is.Shards {
			is.Shards[i].Unclean, is.Shards[i].Lossy = nil, false
		}
	}
	if err := is.Check(); err != nil && s.flaw == "" {
		s.fail("after raft was recovered: %v", err)
	}
	for _, n := range slices.Concat(s.ghosts, s.nodes) {
		s.crash(n)
	}
	s.counts["raft recovered"]++
	s.event("%d: raft is recovered from entry %d", is.Index, base.Index)
	for i, row := range is.Shards {
		s.said[i] = s.said[i] || len(row.ISR) == 0 // what began empty since is not known
	}
	s.settings = map[string]string{}
	for k, v := range is.Settings {
		s.settings[k] = v
	}
	s.history = append(s.history, is)
}

// catchUp makes a process apply the log up to an index.
func (s *sim) catchUp(n *simNode, to int) {
	for n.up && n.applied < to {
		n.applied++
		s.apply(n)
	}
}

// apply is what a process does with the topology that it has just applied. It checks that no other process serves,
// or ever served, what it serves now.
func (s *sim) apply(n *simNode) {
	t := s.history[n.applied]
	if s.isMember(n) {
		n.join.Unclean, n.join.Lossy, n.starts = false, false, []uint64{n.incarnation}
	}
	for shard := range ShardID(len(t.Shards)) {
		row := t.Shards[shard]
		if asked, ok := n.closed[shard]; ok && (row.Epoch != asked.op.Epoch || asked.refused > 0 && n.applied >= asked.refused) {
			delete(n.closed, shard)
		}
		if op, ok := n.pending[shard]; ok && row.Epoch != op.Epoch {
			delete(n.pending, shard)
		}
		if n.learned[shard].epoch != row.LeaderEpoch {
			n.learned[shard] = simLeader{row.LeaderEpoch, s.now}
		}
		if s.named(n, shard) {
			for _, key := range []string{fmt.Sprint(shard, " ", row.Epoch), fmt.Sprint(shard, " leader ", row.LeaderEpoch)} {
				process := fmt.Sprint(n.id, "/", n.incarnation)
				if other, ok := s.served[key]; ok && other != process {
					s.fail("shard %s is served by %s and by %s", key, other, process)
				}
				s.served[key] = process
			}
		}
		if s.isMember(n) && (!slices.Contains(row.ISR, n.id) || slices.Contains(row.Unclean, n.id) && row.Lossy) {
			n.copies[shard].damaged = false // raft knows: it may report, and install
		}
		s.open(n, shard)
	}
}

// named is the rule of a node: its topology names it as the primary, in the incarnation of this process.
func (s *sim) named(n *simNode, shard ShardID) bool {
	t := s.history[n.applied]
	return n.up && t.Cluster != "" && t.Shards[shard].Primary == n.id && s.isMember(n)
}

// isMember reports whether a process sees itself in its topology.
func (s *sim) isMember(n *simNode) bool {
	row, ok := s.history[n.applied].Node(n.id)
	return ok && row.Incarnation == n.incarnation
}
