package main

// A state has three nodes, one shard, the rows that raft has decided, and everything that may
// still be in flight.
//
// The state keeps no single message. What a primary sends in an epoch is always a prefix of its
// log of that epoch (epoch.log), its commit index is at most epoch.commit, and an acknowledgement
// names a prefix, too. So "a member receives any prefix, at any time, or never" covers loss,
// delay, reordering and repetition of all appends and acknowledgements. Reports and proposals stay
// in flight until their epoch is over; raft may decide them at any time or never.
//
// The state keeps no time. node.lease says that a member has acknowledged a heartbeat of a leader
// epoch so recently that the primary may still count on it. The primary's lease ends before the
// member may report (L < G, and the rates of clocks differ by little), so the lease ends in one
// step, after which the member may report. A frozen node is one that takes no step.
//
// The state is a plain array of bytes without padding, because explorer hashes its memory.

const (
	nodes     = 3
	maxLog    = 6
	maxEpochs = 7 // epochs 1..maxEpochs-1; 0 means none
	maxRows   = 7 // rows that some node has not learned yet

	maxRestarts = 6 // incarnations are 1 to 7, so that a byte holds a set of them
)

// entry is a record of a log: epoch<<4 | number of the write. Number 0 is a no-op.
type entry uint8

func newEntry(epoch, write uint8) entry { return entry(epoch<<4 | write) }

func (e entry) epoch() uint8 { return uint8(e) >> 4 }

// row is a shard row of the topology.
type row struct {
	epoch, leaderEpoch uint8 // leaderEpoch: the epoch in which the primary became the primary
	primary            int8  // none: -1
	isr, unclean       uint8 // sets of nodes
	incarnations       [nodes]uint8
}

// node is the process of a node with its copy of the shard.
type node struct {
	incarnation, view uint8 // view: index of the newest row that it has learned
	end               uint8 // entries in its log
	log               [maxLog]entry
	commit            uint8 // it has applied, and shows, so many of them
	lost              uint8 // what its NodeJoin says: keptAll, lostTail (unclean), lostAll (another store)
	starts            uint8 // set of earlier incarnations in its folder since the last whose NodeJoin it learned, that one included

	truncated uint8 // epoch in which it has truncated its log to what it shares with the primary's
	sealed    uint8 // epoch that it has reported: it accepts and acknowledges nothing of it
	lease     uint8 // leader epoch of which it has acknowledged a heartbeat so recently that the primary may count on it
	heard     uint8 // epoch of that heartbeat (kept under the flaw silenceEpoch only)
	fresh     bool  // it has acknowledged no heartbeat since its start

	acts, leader   uint8 // epoch in which it acts as the primary, 0 for none, and the leader epoch of that
	noOp           uint8 // length of its log with the no-op of the leader epoch as the last entry
	silent         bool  // it was alone in the maximal ISR from the start of its leader epoch and has appended no no-op: it sends nothing
	open, handover bool  // it serves; it has closed the gate for a transfer or resignation
	looked         bool  // it has looked up a value that is out of date, and has not answered yet
}

// epoch is what a primary has said in an epoch.
type epoch struct {
	end, begin, commit  uint8 // begin: length of the log when the epoch began
	log                 [maxLog]entry
	acked, ackedBy      [nodes]uint8 // how much each member has acknowledged, and in which incarnation
	actor, actorStarted uint8        // node+1, and its incarnation
	silent              bool         // nothing has been sent: the primary has appended no no-op
}

type report struct {
	epoch, incarnation uint8
	first              bool // its node waited for the lease to end; others may report when it asks them to
}

type proposal struct{ kind, target, epoch, incarnation uint8 }

type state struct {
	nodes     [nodes]node
	rows      [maxRows]row
	nrows     uint8
	epochs    [maxEpochs]epoch
	reports   [nodes]report
	proposals [nodes]proposal
	committed uint8 // length of committedLog: all that any primary has committed
	global    [maxLog]entry
	decidedIn [maxLog]uint8 // the epoch in which each was committed
	writes    uint8         // what is left of the bounds: writes, kills, ...
	kills     uint8
	powers    uint8
	wipes     uint8
	handovers uint8
	backups   uint8
	lossy     bool // only an unclean promotion can follow: the run ends here
}

// What a NodeJoin says about the copy of its node.
const (
	keptAll = iota
	lostTail
	lostAll
)

// Kinds of proposals.
const (
	noProposal = iota
	shrink
	expand
	transfer
	resign
)

func (s *state) now() *row            { return &s.rows[s.nrows-1] }
func (s *state) row(i int) *row       { return &s.rows[s.nodes[i].view] }
func (s *state) joined(i int) bool    { return s.row(i).incarnations[i] == s.nodes[i].incarnation }
func has(set uint8, i int) bool       { return set&(1<<i) != 0 }
func (s *state) started(e uint8) bool { return s.epochs[e].actor != 0 }

// push adds a row. It reports false where the row exceeds the bounds.
func (s *state) push(r row) bool {
	if s.nrows == maxRows || r.epoch >= maxEpochs {
		return false
	}
	s.rows[s.nrows] = r
	s.nrows++
	return true
}

// tidy removes what can have no effect any more, so that states that differ only in that become one.
func (s *state) tidy(f *flaws) {
	s.dropRows()
	first := uint8(255) // the first epoch that a node still knows as the present one
	leads := [maxEpochs]bool{}
	for i := range s.nodes {
		n := &s.nodes[i]
		present := s.row(i).epoch
		first = min(first, present)
		if n.acts != 0 {
			first = min(first, n.acts)
			leads[n.leader] = true
		}
		if n.sealed < present {
			n.sealed = 0
		}
		if n.truncated < present {
			n.truncated = 0
		}
		if s.reports[i].epoch < s.now().epoch {
			s.reports[i] = report{}
		}
		if p := &s.proposals[i]; p.epoch != s.now().epoch && p.epoch != n.acts {
			*p = proposal{}
		}
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		if !leads[n.lease] {
			n.lease, n.heard = 0, 0
		}
		if !f.silenceEpoch {
			n.heard = 0
		}
	}
	for e := uint8(1); e < first && !f.noEpochCheck; e++ {
		s.epochs[e] = epoch{}
	}
}

// dropRows removes the rows that every node has learned, except the newest of them.
func (s *state) dropRows() {
	oldest := s.nrows - 1
	for i := range s.nodes {
		oldest = min(oldest, s.nodes[i].view)
	}
	if oldest == 0 {
		return
	}
	copy(s.rows[:], s.rows[oldest:])
	s.nrows -= oldest
	for i := int(s.nrows); i < maxRows; i++ {
		s.rows[i] = row{}
	}
	for i := range s.nodes {
		s.nodes[i].view -= oldest
	}
}

// start is the state at the beginning of a run: node 0 is the primary, the first members nodes are
// in the ISR, the others are learners.
func start(b bounds) state {
	s := state{nrows: 1, writes: uint8(b.writes), kills: uint8(b.kills), powers: uint8(b.powers), wipes: uint8(b.wipes), handovers: uint8(b.handovers),
		backups: uint8(b.backups)}
	s.rows[0] = row{epoch: 1, leaderEpoch: 1, isr: 1<<b.isr - 1, incarnations: [nodes]uint8{1, 1, 1}}
	for i := range s.nodes {
		s.nodes[i].incarnation = 1
	}
	n := &s.nodes[0]
	n.acts, n.leader, n.open, n.silent = 1, 1, true, b.isr == 1
	s.beginEpoch(0)
	return s
}
