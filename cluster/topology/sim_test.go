package topology

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// The simulator: nodes, a log and a controller in one thread, driven by one seed. Messages are delayed,
// reordered, repeated and lost; nodes crash, come back with or without their disk, lag behind, join, leave
// and are forgotten; and plans use outdated topologies. After each step sim_check_test.go checks the invariants.
//
//	NDRING_SIM_SEEDS=100000 go test -run TestSimulation ./cluster/topology
//	NDRING_SIM_SEED=17 go test -v -run TestSimulation ./cluster/topology      one seed, with its events

const (
	simShards = MinShards
	simSteps  = 400
)

// simCopy is one copy of a shard on a disk.
type simCopy struct {
	emptySince uint64 // of the row when the copy was last cleared
	data       bool
	life       int // of the shard when the data was written; a shard that starts empty starts a new life
}

// simNode is one node: a disk, and a process while it is up.
type simNode struct {
	id          NodeID
	store       string
	copies      [simShards]simCopy
	up          bool
	incarnation uint64
	applied     int                     // index into history that the process has applied
	closed      map[ShardID]simHandover // shards that the process has closed for a handover
	opened      map[ShardID]uint64      // epochs that the process has served
}

// simHandover is a pending handover.
type simHandover struct {
	op      Op
	refused int // index of the entry that refused it, once the node knows; 0 before
}

// simMessage is a proposal on its way to the log.
type simMessage struct {
	command Command
	from    *simNode
	process uint64
}

type sim struct {
	t        testing.TB
	r        *rand.Rand
	seed     uint64
	now      int64
	clock    uint64 // of incarnations
	nodes    []*simNode
	history  []*Topology      // committed, by index
	lives    [][simShards]int // the life of each shard, by index
	inFlight []simMessage
	weights  []int             // of simActions, summed up
	served   map[string]string // (shard, epoch) to the process that served it
	flaps    map[NodeID]Liveness
	settings map[string]string // as set by the log, tracked separately
	trace    uint64
	events   []string
	counts   map[string]int
}

func newSim(t testing.TB, seed uint64) *sim {
	s := &sim{t: t, r: rand.New(rand.NewPCG(seed, 7)), seed: seed, served: map[string]string{}, flaps: map[NodeID]Liveness{}, settings: map[string]string{}, counts: map[string]int{}}
	s.history, s.lives = []*Topology{{}}, make([][simShards]int, 1)
	return s
}

func (s *sim) event(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s", s.trace, line)
	s.trace = h.Sum64()
	s.events = append(s.events, line)
}

func (s *sim) fail(format string, args ...any) {
	s.t.Helper()
	for _, line := range s.events[max(0, len(s.events)-40):] {
		s.t.Log(line)
	}
	s.t.Fatalf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

func (s *sim) newest() *Topology { return s.history[len(s.history)-1] }

func (s *sim) chance(percent int) bool { return s.r.IntN(100) < percent }

// run creates a cluster, disturbs it, lets it come to rest, and returns a hash of all events.
func (s *sim) run() uint64 {
	s.weigh()
	for range 1 + s.r.IntN(3) {
		s.addNode()
	}
	var founders []Node
	for _, n := range s.nodes {
		founders = append(founders, s.nodeRow(n))
	}
	op := Op{Kind: Create, Cluster: "c", Shards: simShards, Replicas: 1 + s.r.IntN(2), Epoch: 1 + s.r.Uint64N(1000), Nodes: founders}
	if len(founders) == 1 && s.chance(50) {
		op.Node = founders[0].ID
		s.nodes[0].copies[3] = simCopy{data: true}
	}
	s.commit(simMessage{command: Command{[]Op{op}}})
	for range simSteps {
		s.step()
	}
	s.comeToRest()
	return s.trace
}

// simActions are the possible events of a step, with their weights. Each seed makes some much likelier and
// some much rarer, so seeds explore different behaviour (Groce et al.: Swarm Testing, 2012).
var simActions = []struct {
	weight int
	do     func(*sim, *simNode)
}{
	{28, func(s *sim, _ *simNode) { s.deliver() }},
	{12, func(s *sim, n *simNode) { s.catchUp(n, len(s.history)-1) }},
	{12, func(s *sim, n *simNode) { s.catchUp(n, n.applied+s.r.IntN(len(s.history)-n.applied)) }},
	{10, func(s *sim, _ *simNode) {
		s.control(s.history[max(0, len(s.history)-1-s.r.IntN(4)*s.r.IntN(4))], s.view(s.chance(20)))
	}},
	{12, (*sim).write},
	{8, (*sim).handOver},
	{3, (*sim).crash},
	{6, func(s *sim, n *simNode) { s.start(n, false) }},
	{1, func(s *sim, n *simNode) { s.start(n, true) }},
	{2, (*sim).join},
	{1, func(s *sim, _ *simNode) {
		if len(s.nodes) < 5 {
			s.addNode()
		}
	}},
	{1, func(s *sim, n *simNode) { s.propose(n, Op{Kind: NodeLeave, Node: n.id}) }},
	{2, func(s *sim, n *simNode) {
		if !n.up || s.chance(10) {
			s.inFlight = append(s.inFlight, simMessage{command: Command{[]Op{{Kind: NodeForget, Node: n.id, Incarnation: n.incarnation}}}})
		}
	}},
	{1, (*sim).resign},
	{1, (*sim).configure},
}

func (s *sim) step() {
	s.now += s.r.Int64N(500)
	n := s.nodes[s.r.IntN(len(s.nodes))]
	p := s.r.IntN(s.weights[len(s.weights)-1])
	for i, upTo := range s.weights {
		if p < upTo {
			simActions[i].do(s, n)
			return
		}
	}
}

// weigh draws the cumulative weights of a seed.
func (s *sim) weigh() {
	sum := 0
	for _, a := range simActions {
		sum += a.weight * []int{1, 4, 4, 16}[s.r.IntN(4)]
		s.weights = append(s.weights, sum)
	}
}

func (s *sim) addNode() {
	n := &simNode{id: NodeID(rune('a' + len(s.nodes)))}
	s.nodes = append(s.nodes, n)
	s.start(n, true)
}

func (s *sim) nodeRow(n *simNode) Node {
	return Node{ID: n.id, Store: n.store, Incarnation: n.incarnation, Zone: string(n.id)}
}

// start starts a process. It has any prefix of the log that it or another node ever had.
func (s *sim) start(n *simNode, wiped bool) {
	if n.up {
		return
	}
	s.clock++
	n.up, n.incarnation, n.closed, n.opened = true, s.clock, map[ShardID]simHandover{}, map[ShardID]uint64{}
	if wiped {
		n.store, n.copies = fmt.Sprint("store", s.clock), [simShards]simCopy{}
	}
	n.applied = s.r.IntN(len(s.history))
	s.serve(n)
	s.flap(n)
	s.event("%s starts as %d, wiped %v, at index %d", n.id, n.incarnation, wiped, n.applied)
	s.join(n)
}

func (s *sim) crash(n *simNode) {
	if n.up {
		n.up = false
		s.flap(n)
		s.event("%s crashes", n.id)
	}
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
	if !n.up {
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
	s.propose(n, Op{Kind: NodeJoin, Nodes: []Node{s.nodeRow(n)}})
}

func (s *sim) wasMember(n *simNode) bool {
	for _, t := range s.history[:n.applied+1] {
		if row, ok := t.Node(n.id); ok && row.Incarnation == n.incarnation {
			return true
		}
	}
	return false
}

func (s *sim) propose(n *simNode, ops ...Op) {
	if n.up && len(ops) > 0 {
		s.inFlight = append(s.inFlight, simMessage{Command{ops}, n, n.incarnation})
	}
}

// deliver delivers a random message. One in ten is lost, and one in five is delivered again later.
func (s *sim) deliver() {
	if len(s.inFlight) == 0 {
		return
	}
	i := s.r.IntN(len(s.inFlight))
	m := s.inFlight[i]
	if !s.chance(20) {
		s.inFlight = append(s.inFlight[:i:i], s.inFlight[i+1:]...)
	}
	if !s.chance(10) {
		s.commit(m)
	}
}

// view is what gossip shows the controller, which is wrong at times.
func (s *sim) view(wrong bool) View {
	v := View{Now: s.now, Nodes: map[NodeID]Liveness{}, NodesChanged: s.now - s.r.Int64N(3*SettleTime)}
	for _, n := range s.nodes {
		sight := s.flaps[n.id]
		sight.Alive, sight.Incarnation = n.up, n.incarnation
		if wrong && s.chance(30) {
			sight.Alive = !sight.Alive
		}
		v.Nodes[n.id] = sight
	}
	return v
}

// control runs a controller, of this term or of an earlier one that does not know that its term is over.
func (s *sim) control(on *Topology, v View) {
	ops := on.Plan(v)
	s.checkPlan(on, v, ops)
	if len(ops) > 0 {
		s.inFlight = append(s.inFlight, simMessage{command: Command{ops}})
	}
}

func seedsToRun(t testing.TB, few int) (first, n uint64, verbose bool) {
	if one, err := strconv.ParseUint(os.Getenv("NDRING_SIM_SEED"), 10, 64); err == nil {
		return one, 1, true
	}
	if many, err := strconv.ParseUint(os.Getenv("NDRING_SIM_SEEDS"), 10, 64); err == nil {
		return 1, many, false
	}
	if testing.Short() {
		few /= 10
	}
	return 1, uint64(few), false
}

func TestSimulation(t *testing.T) {
	first, n, verbose := seedsToRun(t, 120)
	counts := map[string]int{}
	for seed := first; seed < first+n; seed++ {
		s := newSim(t, seed)
		s.run()
		for k, v := range s.counts {
			counts[k] += v
		}
		if verbose {
			for _, line := range s.events {
				t.Log(line)
			}
		}
	}
	t.Logf("seeds %d to %d: %v", first, first+n-1, counts)
	// A simulation without events proves nothing.
	for _, k := range []string{"done", "refused", "written", "handed over empty", "promoted", "lost with a node", "primary taken by a new start", "setting changed"} {
		if n >= 100 && counts[k] == 0 {
			t.Errorf("it never came to %q", k)
		}
	}
}

func TestSimulationIsItsSeed(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := range uint64(5) {
		hash := newSim(t, seed).run()
		if again := newSim(t, seed).run(); again != hash {
			t.Fatalf("seed %d: %x, then %x", seed, hash, again)
		}
		if other, ok := seen[hash]; ok {
			t.Fatalf("seeds %d and %d are one", seed, other)
		}
		seen[hash] = seed
	}
}
