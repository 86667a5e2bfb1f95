package topology

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// The simulator: nodes, a log and a controller in one thread, driven by one seed. Messages are delayed,
// reordered, repeated and lost; nodes crash, lose power or their disk, run twice with one id, lag behind, join,
// leave and are forgotten; reports arrive late and again; plans use outdated topologies; and raft loses
// decisions for good. After each step sim_check_test.go checks the invariants, and each write and each read
// that a node would answer (sim_copies_test.go) checks that nothing acknowledged is lost and nothing read is old.
//
//	NDRING_SIM_SEEDS=100000 go test -run TestSimulation ./cluster/topology
//	NDRING_SIM_SEED=17 go test -v -run TestSimulation ./cluster/topology      one seed, with its events

const (
	simShards = MinShards
	simSteps  = 500
	simLease  = 500 // ms: L
	simGiveUp = 700 // ms: G
)

// simMessage is a proposal on its way to the log.
type simMessage struct {
	command Command
	from    *simNode
	process uint64
}

type sim struct {
	r         *rand.Rand
	seed      uint64
	flaw      string // a rule that is left out
	now       int64
	clock     uint64 // of incarnations
	nodes     []*simNode
	ghosts    []*simNode        // processes of which another one with the same id runs
	history   []*Topology       // committed, by index
	committed [simShards]simLog // what each shard has acknowledged
	said      [simShards]bool   // it was said that the shard may start empty
	reports   []Report          // at the controller
	inFlight  []simMessage
	weights   []int             // of simActions, summed up
	served    map[string]string // (shard, epoch) to the process that served it
	flaps     map[NodeID]Liveness
	joined    map[NodeID]int64  // when the node last joined with a new folder
	settings  map[string]string // as set by the log, tracked separately
	leaving   map[NodeID]bool   // nodes that had copies with data when they began to leave
	empty     string            // View.EmptyShards
	trace     uint64
	calm      bool // no more faults: it comes to rest
	events    []string
	counts    map[string]int
}

func newSim(seed uint64, flaw string) *sim {
	s := &sim{r: rand.New(rand.NewPCG(seed, 7)), seed: seed, flaw: flaw, served: map[string]string{}, flaps: map[NodeID]Liveness{}, joined: map[NodeID]int64{}, settings: map[string]string{}, leaving: map[NodeID]bool{}, counts: map[string]int{}}
	s.history = []*Topology{{}}
	return s
}

func (s *sim) event(format string, args ...any) {
	line := fmt.Sprintf("%6d ", s.now) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%x %s", s.trace, line)
	s.trace = h.Sum64()
	s.events = append(s.events, line)
}

// simViolation is what a check found.
type simViolation string

func (s *sim) fail(format string, args ...any) {
	panic(simViolation(fmt.Sprintf(format, args...)))
}

func (s *sim) newest() *Topology { return s.history[len(s.history)-1] }

func (s *sim) chance(percent int) bool { return s.r.IntN(100) < percent }

// run creates a cluster, disturbs it, and lets it come to rest. It returns what a check found.
func (s *sim) run() (found simViolation) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case simViolation:
			found = v
		default:
			panic(v)
		}
	}()
	s.weigh()
	s.empty = []string{EmptyAuto, EmptyOperator, ""}[s.r.IntN(3)]
	for range 1 + s.r.IntN(3) {
		s.addNode()
	}
	var founders []Node
	for _, n := range s.nodes {
		founders = append(founders, s.nodeRow(n))
	}
	op := Op{Kind: Create, Cluster: "c", Shards: simShards, Replicas: 1 + s.r.IntN(3), Epoch: 1 + s.r.Uint64N(1000), Nodes: founders, Format: LatestFormat}
	if len(founders) == 1 && s.chance(50) {
		op.Node = founders[0].ID
		s.committed[3] = simLog{{id: 1, data: true}}
		s.nodes[0].copies[3].log = slices.Clone(s.committed[3])
	}
	s.commit(simMessage{command: Command{[]Op{op}}})
	for range simSteps {
		s.tempt()
		s.step()
	}
	if s.flaw == "" { // what a flaw does to the rest is not looked at
		s.comeToRest()
	}
	return ""
}

// simActions are the possible events of a step, with their weights. Each seed makes some much likelier and
// some much rarer, so seeds explore different behaviour (Groce et al.: Swarm Testing, 2012).
var simActions = []struct {
	weight int
	do     func(*sim, *simNode)
}{
	{28, func(s *sim, _ *simNode) { s.deliver() }},
	{16, func(s *sim, n *simNode) { s.catchUp(n, len(s.history)-1) }},
	{8, func(s *sim, n *simNode) { s.catchUp(n, n.applied+s.r.IntN(len(s.history)-n.applied)) }},
	{10, (*sim).round},
	{14, func(s *sim, _ *simNode) {
		s.control(s.history[max(0, len(s.history)-1-s.r.IntN(4)*s.r.IntN(4))], s.view(s.chance(20)))
	}},
	{12, (*sim).write},
	{12, (*sim).read},
	{10, (*sim).renew},
	{14, (*sim).report},
	{8, (*sim).handOver},
	{16, (*sim).move},
	{2, (*sim).disturbLearners},
	{2, (*sim).crash},
	{8, func(s *sim, n *simNode) { s.start(n, s.startOf(n)) }},
	{2, func(s *sim, n *simNode) { s.duplicate(n, s.chance(50)) }},
	{3, (*sim).join},
	{1, func(s *sim, _ *simNode) {
		if len(s.nodes) < 5 {
			s.addNode()
		}
	}},
	{1, func(s *sim, n *simNode) { s.propose(n, Op{Kind: NodeLeave, Node: n.id}) }},
	{2, (*sim).operate},
	{1, (*sim).forget},
	{1, (*sim).beginEmpty},
	{1, (*sim).configure},
	{1, (*sim).recover},
	{1, (*sim).restartAll},
}

func (s *sim) step() {
	s.now += s.r.Int64N([]int64{5, 5, 5, 100, 1000}[s.r.IntN(5)])
	n := s.nodes[s.r.IntN(len(s.nodes))]
	if len(s.ghosts) > 0 && s.chance(25) {
		n = s.ghosts[s.r.IntN(len(s.ghosts))]
	}
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

// round is a moment without faults: all that is under way arrives, members report, the controller decides, and
// everybody applies it, writes, reads and renews leases.
func (s *sim) round(*simNode) {
	s.settle()
	for _, n := range s.nodes {
		s.report(n)
		s.move(n)
	}
	if s.chance(70) {
		s.control(s.newest(), s.view(false))
	}
	s.settle()
	for _, n := range slices.Concat(s.nodes, s.ghosts) {
		s.write(n)
	}
	for _, n := range slices.Concat(s.ghosts, s.nodes) {
		s.read(n)
		s.renew(n)
	}
}

// tempt makes what a missing rule needs, and what chance brings too seldom: something within the half second of a lease.
func (s *sim) tempt() {
	if s.flaw != "relinquishedByStore" && s.flaw != "memberInc" || !s.chance(5) {
		return
	}
	s.round(nil)
	var primary, member *simNode
	for _, row := range s.newest().Shards {
		if row.Primary == "" || len(row.ISR) < 2 {
			continue
		}
		for _, n := range s.nodes {
			if n.id == row.Primary {
				primary = n
			} else if slices.Contains(row.ISR, n.id) {
				member = n
			}
		}
		break
	}
	switch {
	case primary == nil || member == nil || !primary.up || !member.up:
	case s.flaw == "relinquishedByStore": // a copy of the primary's folder starts
		s.duplicate(primary, true)
		s.now += 10
		s.round(nil)
	default: // a member reports, restarts, and grants a lease
		s.now += simGiveUp
		s.report(member)
		s.crash(member)
		s.start(member, simStart{})
		s.settle()
		s.renew(primary)
		s.now += ReportWait
		s.control(s.newest(), s.view(false))
		for _, m := range s.inFlight {
			s.commit(m)
		}
		s.inFlight = nil
		s.catchUp(member, len(s.history)-1)
		s.write(member)
		s.read(primary)
	}
}

// settle lets all that is under way arrive, and all nodes apply it.
func (s *sim) settle() {
	for _, m := range s.inFlight {
		s.commit(m)
	}
	s.inFlight = nil
	for _, n := range s.nodes {
		s.catchUp(n, len(s.history)-1)
	}
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

// view is what gossip shows the controller, which is wrong at times, and the reports that have reached it.
func (s *sim) view(wrong bool) View {
	v := View{Now: s.now, Nodes: map[NodeID]Liveness{}, NodesChanged: s.now - s.r.Int64N(3*SettleTime), Format: LatestFormat,
		Reports: map[ShardID][]Report{}, EmptyShards: s.empty, WipedSince: map[NodeID]int64{}}
	for _, n := range s.nodes {
		sight := s.flaps[n.id]
		sight.Alive, sight.Incarnation, sight.Format = n.up, n.incarnation, LatestFormat
		if wrong && s.chance(30) {
			sight.Alive = !sight.Alive
		}
		v.Nodes[n.id] = sight
		if at, ok := s.joined[n.id]; ok && n.up && !s.haunted(n.id) {
			v.WipedSince[n.id] = at
		}
	}
	for _, r := range s.reports {
		v.Reports[r.Shard] = append(v.Reports[r.Shard], r)
	}
	s.seeMoves(&v)
	s.bendView(&v)
	return v
}

// control runs a controller, of this term or of an earlier one that does not know that its term is over. A new
// leader has no reports.
func (s *sim) control(on *Topology, v View) {
	if s.chance(3) {
		s.reports = nil
	}
	ops := on.Plan(v)
	if s.flaw == "" {
		s.checkPlan(on, v, ops)
	}
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

func (s *sim) log(t *testing.T, last int) {
	t.Helper()
	for _, line := range s.events[max(0, len(s.events)-last):] {
		t.Log(line)
	}
}

func TestSimulation(t *testing.T) {
	first, n, verbose := seedsToRun(t, 300)
	counts := map[string]int{}
	for seed := first; seed < first+n; seed++ {
		s := newSim(seed, "")
		found := s.run()
		for k, v := range s.counts {
			counts[k] += v
		}
		if verbose {
			s.log(t, len(s.events))
		}
		if found != "" {
			s.log(t, 60)
			t.Fatalf("seed %d: %s", seed, found)
		}
	}
	t.Logf("seeds %d to %d: %v", first, first+n-1, counts)
	// A simulation without events proves nothing.
	for _, k := range []string{"done", "refused", "written", "written to two copies", "read", "handed over empty", "promoted", "promoted unclean", "unclean without a loss", "taken over with others in the ISR",
		"started empty after a loss", "begin-empty by the controller", "begin-empty by the operator", "primary taken by a new start", "relinquished", "expanded", "transferred", "resigned", "shrunk", "marked unclean",
		"raft recovered", "two processes of a node", "reported", "setting changed", "all restarted", "learner added", "learner dropped", "with all its copies", "left with copies", "moved with data", "drained", "replaced a dead node", "placed by an operator"} {
		if n >= 300 && counts[k] == 0 {
			t.Errorf("it never came to %q", k)
		}
	}
}

func TestSimulationIsItsSeed(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := range uint64(5) {
		trace := func() uint64 {
			s := newSim(seed, "")
			if found := s.run(); found != "" {
				t.Fatalf("seed %d: %s", seed, found)
			}
			return s.trace
		}
		hash := trace()
		if again := trace(); again != hash {
			t.Fatalf("seed %d: %x, then %x", seed, hash, again)
		}
		if other, ok := seen[hash]; ok {
			t.Fatalf("seeds %d and %d are one", seed, other)
		}
		seen[hash] = seed
	}
}
