package replica

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// The simulator: processes with real copies, the real topology and its real planner, driven by one seed in one
// thread. Only the log of a copy and the network are toys. Messages are lost, delayed, repeated and swapped; nodes crash
// with and without the end of their log, freeze, lose their folder or come back with an old one; a folder
// is cloned while its node still runs; rows are learned late; plans use old topologies. sim_check_test.go has the checks.
//
//	make sim RUNS=20000
//	make sim SEED=17      one seed, with its events

const (
	simShards = 2 // that have copies here; the topology needs more
	simSteps  = 600
	// simMoveSteps are more, because a move takes many.
	simMoveSteps = 1500
	simTick      = int64(25e6)
)

// simTimes are shorter than the real ones, so that a seed sees many failovers. The ticks of G are a little longer than L.
var simTimes = Times{
	Lease: 9 * simTick, Silence: 12 * simTick, SilenceTicks: 12, LagTicks: 10, LateTick: 3 * simTick, Return: 10 * simTick, MaxReturn: 100 * simTick,
}

// simFlaws are rules outside of Copy that a run leaves out.
type simFlaws struct {
	joinQuiet          bool // a NodeJoin raises no epoch
	joinKeepsPrimary   bool // a NodeJoin leaves the node the primary
	promoteAny         bool // a member need not have reported
	noUnclean          bool // a NodeJoin does not say that copies are unclean
	lastStartOnly      bool // a NodeJoin says which start was the last, not which starts raft may not know
	forgetUnclean      bool // the folder does not keep that it is unclean
	replayAll          bool // recovery makes the whole log visible
	relinquishedByName bool // every restart on the same store counts as one whose former process has ended
	ackLater           bool // an acknowledged heartbeat renews what the primary leads by now
	withdrawProposal   bool // a refused proposal is dropped
	appendLast         bool // a primary sends before its own log has the record
	noHoldBack         bool // visibleEarly: a primary shows what it appends
	emptyUnasked       bool // a shard whose copies were wiped begins empty though another process may serve it
}

// simRecord is a record of the toy log. Records with id 0 are no-ops.
type simRecord struct {
	epoch, seq, commit uint64
	id                 int
}

// simFolder is a data folder: what survives the end of a process.
type simFolder struct {
	store       string
	incarnation uint64   // of the last start
	starts      []uint64 // since the last one of which it learned that raft knows it, that one included
	boot, lock  int
	cleanStop   bool
	unclean     bool
	applied     int // of raft's history
	logs        [simShards][]simRecord
	broken      [simShards]bool // a log lacks more than a loss of power takes
}

func (f *simFolder) clone() *simFolder {
	g := *f
	g.starts = slices.Clone(f.starts)
	for i := range g.logs {
		g.logs[i] = slices.Clone(f.logs[i])
	}
	return &g
}

// simHost is one folder and the process on it, if it runs. Two hosts may have one node id: that of a clone.
type simHost struct {
	id      topology.NodeID
	folder  *simFolder
	backup  *simFolder // an earlier state of the folder
	boot    int
	lock    int
	always  bool
	process *simProcess
}

// simProcess is a process of a node.
type simProcess struct {
	host    *simHost
	self    Process
	applied int // of raft's history
	copies  [simShards]*simCopy
	tick    uint64
	frozen  bool
	cut     bool     // it reaches no other process, and hears from none
	clean   bool     // what its NodeJoin says
	was     []uint64 // the folder's earlier starts
	same    bool
	dead    bool
}

type sim struct {
	t        testing.TB
	r        *rand.Rand
	seed     uint64
	flaws    Flaws
	world    simFlaws
	now      int64
	clock    uint64 // of incarnations
	boots    int
	stores   int
	ids      int
	hosts    []*simHost
	history  []*topology.Topology
	inFlight []simProposal
	messages []simMessage
	reports  map[topology.ShardID][]topology.Report
	noLeader bool        // raft has none
	pairs    [][2]string // nodes of which the second gets nothing from the first
	calm     bool        // nothing is lost any more
	moves    bool        // copies move, and are dropped
	idle     bool        // writes are rare
	actions  []simAction
	weights  []int
	replicas int
	slow     topology.NodeID // rarely learns rows
	shards   [simShards]simShard
	writers  map[simEpoch]Process
	points   map[simPoint]int
	traced   bool   // events are kept
	trace    uint64 // hash of the events; 0 unless traced
	events   []string
	counts   map[string]int
}

type simEpoch struct {
	shard int
	epoch uint64
}

type simPoint struct {
	shard      int
	epoch, seq uint64
}

func newSim(t testing.TB, seed uint64) *sim {
	s := &sim{
		t: t, r: rand.New(rand.NewPCG(seed, 7)), seed: seed, reports: map[topology.ShardID][]topology.Report{},
		writers: map[simEpoch]Process{}, points: map[simPoint]int{}, counts: map[string]int{},
	}
	s.history = []*topology.Topology{{}}
	return s
}

// event notes what happens, in a run that is traced: most runs are not, because formatting would be a tenth of their time.
func (s *sim) event(format string, args ...any) {
	if !s.traced {
		return
	}
	line := fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s", s.trace, line)
	s.trace = h.Sum64()
	s.events = append(s.events, line)
}

// violation is what fail panics with: a run ends at the first.
type violation string

func (s *sim) fail(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) }

func (s *sim) newest() *topology.Topology { return s.history[len(s.history)-1] }

func (s *sim) chance(percent int) bool { return s.r.IntN(100) < percent }

func pick[T any](s *sim, of []T) T { return of[s.r.IntN(len(of))] }

// simAction is something that can happen in a step.
type simAction struct {
	weight int
	do     func(*sim)
}

// simActions are what can happen in a step, each with a greatest weight: a seed draws its own weights up to these, so
// that some seeds are full of restarts and others of lost messages.
var simActions = []simAction{
	{60, (*sim).tickAll}, {80, (*sim).deliverSome}, {40, (*sim).write}, {40, (*sim).lookUp}, {40, (*sim).decideOne}, {40, (*sim).learnOne},
	{60, (*sim).plan}, {2, (*sim).kill}, {2, (*sim).losePower}, {1, (*sim).stopClean}, {1, (*sim).wipe}, {1, (*sim).cloneFolder}, {1, (*sim).restoreBackup},
	{3, (*sim).freeze}, {8, (*sim).wake}, {2, (*sim).cutOff}, {8, (*sim).reconnect}, {4, (*sim).handOver}, {2, (*sim).loseLeader}, {16, (*sim).electLeader}, {24, (*sim).start}, {2, (*sim).takeBackup},
	{2, (*sim).dropLearner}, {1, (*sim).damage}, {3, (*sim).cutPair}, {4, (*sim).healPairs},
}

// simMoves are what can happen besides where copies move.
var simMoves = []simAction{{6, (*sim).assign}, {40, (*sim).bringBack}, {200, (*sim).deliverSome}, {60, (*sim).moveCopies}, {60, (*sim).dropCopies}, {60, (*sim).tickAll}, {60, (*sim).plan}, {60, (*sim).decideOne}}

func (s *sim) weigh() {
	sum := 0
	s.actions = simActions
	quiet := s.moves && s.chance(50)
	if s.moves {
		s.actions = slices.Concat(simActions, simMoves)
		s.idle = s.chance(60)
	}
	for i, a := range s.actions {
		if weight := s.r.IntN(a.weight + 1); !s.moves || a.weight > 16 || i >= len(simActions) || !quiet && s.chance(30) { // a move takes a while without trouble
			sum += weight
		}
		s.weights = append(s.weights, sum)
	}
	for i := range s.weights { // time passes and messages arrive in every seed
		s.weights[i] += 20
	}
}

func (s *sim) step() {
	n := s.r.IntN(s.weights[len(s.weights)-1])
	for i, upTo := range s.weights {
		if n < upTo {
			s.actions[i].do(s)
			return
		}
	}
}

// run lets things happen, then calms down and checks what is left. It returns what went wrong.
func (s *sim) run() (wrong string) {
	defer func() {
		if r := recover(); r != nil {
			v, is := r.(violation)
			if !is {
				panic(r)
			}
			wrong = string(v)
		}
	}()
	s.weigh()
	s.found()
	steps := simSteps
	if s.moves {
		steps = simMoveSteps
	}
	for range steps {
		s.step()
		s.check()
	}
	s.comeToRest()
	return ""
}

// found makes a cluster of 3 to 5 nodes, whose shards have 1 to 3 copies.
func (s *sim) found() {
	var rows []topology.Node
	s.replicas = pick(s, []int{1, 2, 2, 3, 3})
	if s.moves {
		s.replicas = max(s.replicas, 2)
	}
	for i := range 3 + s.r.IntN(3) {
		h := &simHost{id: topology.NodeID(rune('a' + i)), folder: s.newFolder(), always: s.chance(20)}
		h.lock = s.newLock()
		s.hosts = append(s.hosts, h)
		p := s.startOn(h)
		rows = append(rows, h.row(p.self.Incarnation))
	}
	if s.chance(60) {
		s.slow = pick(s, s.hosts).id
	}
	s.event("found: %d nodes, %d copies, slow: %s", len(rows), s.replicas, s.slow)
	s.decide(simProposal{op: []topology.Op{{
		Kind: topology.Create, Cluster: "c", Shards: topology.MinShards, Replicas: s.replicas, Epoch: 1, Nodes: rows, Format: topology.LatestFormat,
	}}})
	if s.chance(85) { // else the trouble begins before the copies have caught up
		s.calm = true
		for range 60 {
			if s.round(); s.unsettled() == "" {
				break
			}
		}
		s.calm = false
	}
}

// newTracedSim returns a simulation that keeps its events.
func newTracedSim(t testing.TB, seed uint64) *sim {
	s := newSim(t, seed)
	s.traced = true
	return s
}
