package cluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// reportTopology has two shards in epochs 5 and 7, and the nodes a and b in incarnations 1 and 2.
func reportTopology() *topology.Topology {
	return &topology.Topology{
		Cluster: "c", Nodes: []topology.Node{{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 2}},
		Shards: []topology.Shard{{Epoch: 5}, {Epoch: 7}},
	}
}

func TestReportsThatCountAreKept(t *testing.T) {
	t.Parallel()
	report := func(node topology.NodeID, incarnation uint64, shard topology.ShardID, epoch uint64) topology.Report {
		return topology.Report{Node: node, Incarnation: incarnation, Shard: shard, Epoch: epoch}
	}
	for name, tc := range map[string]struct {
		report topology.Report
		kept   bool
	}{
		"of the row's epoch":       {report("a", 1, 0, 5), true},
		"of a later epoch":         {report("b", 2, 1, 9), true}, // this node has not applied it yet
		"of an earlier epoch":      {report("a", 1, 1, 6), false},
		"of a later incarnation":   {report("a", 2, 0, 5), true},
		"of an earlier one":        {report("b", 1, 0, 5), false},
		"of a stranger":            {report("x", 1, 0, 5), false},
		"about a shard that isn't": {report("a", 1, 2, 5), false},
		"about shard -1":           {report("a", 1, -1, 5), false},
	} {
		r := newReports()
		r.add(reportTopology(), 100, []topology.Report{tc.report})
		if got := len(r.view(reportTopology())[tc.report.Shard]) == 1; got != tc.kept {
			t.Errorf("%s: kept %v, want %v", name, got, tc.kept)
		}
		if len(r.news) == 1 != tc.kept {
			t.Errorf("%s: the controller wakes: %v", name, len(r.news) == 1)
		}
	}
}

func TestRepeatedReportIsNoNews(t *testing.T) {
	t.Parallel()
	topo, r := reportTopology(), newReports()
	first := topology.Report{Node: "a", Incarnation: 1, Shard: 0, Epoch: 5, Point: topology.Point{Epoch: 4, Seq: 9}}
	news := func(now int64, report topology.Report) bool {
		r.add(topo, now, []topology.Report{report})
		select {
		case <-r.news:
			return true
		default:
			return false
		}
	}
	if !news(100, first) || news(200, first) {
		t.Error("a report is news once")
	}
	longer := first
	longer.Point.Seq = 10
	if !news(300, longer) {
		t.Error("another end of the copy is news")
	}
	if kept := r.view(topo)[0]; len(kept) != 1 || kept[0].Point.Seq != 10 || kept[0].At != 100 {
		t.Errorf("%+v, want the newest end and the first time", kept)
	}
	next := first
	next.Epoch = 6
	if !news(400, next) || news(500, first) {
		t.Error("a later epoch is news, and a delayed report of the earlier one is not")
	}
	if kept := r.view(topo)[0]; len(kept) != 1 || kept[0].Epoch != 6 || kept[0].At != 400 {
		t.Errorf("%+v, want that of epoch 6 alone", kept)
	}
	restarted := first
	restarted.Incarnation = 2
	if !news(600, restarted) || news(700, next) {
		t.Error("a later process takes the place of the earlier one, for good")
	}
	other := first
	other.Node, other.Incarnation = "b", 2
	if !news(800, other) || len(r.view(topo)[0]) != 2 {
		t.Error("each member reports for itself")
	}
	topo.Shards[0].Epoch = 6
	if left := r.view(topo); len(left) != 0 || len(r.kept) != 0 {
		t.Errorf("reports of an epoch that is over stay: %+v", left)
	}
	if !news(900, topology.Report{Node: "a", Incarnation: 1, Shard: 1, Epoch: 7}) {
		t.Error("no news about another shard")
	}
	if r.clear(); r.view(topo) != nil {
		t.Error("reports outlive the term")
	}
}

// While Plan waits for more reports, the controller decides again when the wait is over.
func TestControllerDecidesWhenReportsAreDue(t *testing.T) {
	t.Parallel()
	view := topology.View{Now: 1000}
	if wait := untilReportsDue(view); wait < time.Minute {
		t.Errorf("without reports it waits %v", wait)
	}
	view.Reports = map[topology.ShardID][]topology.Report{1: {{At: 980}, {At: 930}}, 2: {{At: 500}}}
	if wait := untilReportsDue(view); wait != 30*time.Millisecond {
		t.Errorf("it waits %v, want until %d ms after the report at 930", wait, topology.ReportWait)
	}
}

func TestReportsAreEncoded(t *testing.T) {
	t.Parallel()
	var all []topology.Report
	for range 100 {
		all = append(all, topology.Report{
			Shard: topology.ShardID(rand.IntN(topology.MaxShards)), Epoch: rand.Uint64(), Point: topology.Point{Epoch: rand.Uint64(), Seq: rand.Uint64()},
		})
	}
	got, err := decodeReports(encodeReports(all))
	if err != nil || !slices.Equal(got, all) {
		t.Errorf("%v\n%v\n%v", err, got, all)
	}
	for _, length := range []int{1, reportSize - 1, reportSize + 1, (topology.MaxShards + 1) * reportSize} {
		if _, err := decodeReports(make([]byte, length)); err == nil {
			t.Errorf("%d bytes are taken for reports", length)
		}
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if got, err := decodeReports(huge); err != nil || got[0].Shard < topology.MaxShards {
		t.Errorf("shard 2^32-1 becomes %+v, %v", got, err)
	}
}

// threeServing starts three nodes with logs that serve all shards.
func threeServing(t *testing.T, change func(*Config)) (*network, []*testNode, []Config) {
	t.Helper()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 3, func(t testing.TB, c Config) Config {
		c.Self.Log = true
		if change != nil {
			change(&c)
		}
		return onDisk(t, c)
	})
	eventually(t, "all shards are served by all nodes", func() bool {
		sum := 0
		for _, n := range nodes {
			count := served(n, nodes[0])
			if count == 0 {
				return false
			}
			sum += count
		}
		return sum == 16
	})
	sameTopology(t, nodes)
	return nw, nodes, configs
}

// follower returns the position of a node that does not lead.
func follower(t *testing.T, nodes []*testNode) int {
	t.Helper()
	leader := leaderOf(t, nodes...)
	return slices.IndexFunc(nodes, func(n *testNode) bool { return n != leader })
}

func TestRestartedNodeGetsItsShardsBackByReports(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, func(c *Config) { c.Timing = Timing{Rejoin: 500 * time.Millisecond} })
	at := follower(t, nodes)
	had := served(nodes[at], nodes[at])
	var took []time.Duration
	for range 5 {
		nodes[at].kill()
		began := time.Now()
		nodes[at] = nw.start(t, configs[at])
		ready(t, nodes[at])
		eventually(t, "it serves its shards", func() bool { return served(nodes[at], nodes[at]) == had })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("a restarted node has its shards back after %v at the median, %v to %v", took[2].Round(time.Millisecond), took[0].Round(time.Millisecond), took[4].Round(time.Millisecond))
	if losses := nodes[0].Topology().PossibleLosses; losses != 0 {
		t.Errorf("%d possible losses, though the folder lost nothing", losses)
	}
}

// The reports that a leader has received go with it; the members repeat them to the next one.
func TestReportsAreRepeatedToTheNextLeader(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, nil)
	at := follower(t, nodes)
	had := served(nodes[at], nodes[at])
	nodes[at].kill()
	nodes[at] = nw.startSilent(t, configs[at])
	ready(t, nodes[at])
	leader := leaderOf(t, nodes...)
	// A report that does not bring about a promotion, since the shard has a primary.
	topo := leader.Topology()
	other := topology.ShardID(slices.IndexFunc(topo.Shards, func(row topology.Shard) bool { return row.Primary != "" }))
	leader.Report([]topology.Report{{Shard: other, Epoch: topo.Shards[other].Epoch}})
	if len(leader.reporter.reports.view(leader.Topology())) == 0 {
		t.Fatal("the leader does not keep a report")
	}
	if err := leader.consensus.Load().LeadershipTransfer().Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reports are gone with the term", func() bool { return len(leader.reporter.reports.view(leader.Topology())) == 0 })
	nodes[at].silent.Store(false)
	eventually(t, "the restarted node serves its shards", func() bool { return served(nodes[at], nodes[at]) == had })
	if next := leaderOf(t, nodes...); next == leader {
		t.Logf("%s leads again", next.self.Name)
	}
}

// Neither a report of an earlier epoch or process, nor one of a node without a copy promotes anyone.
func TestStaleReportPromotesNobody(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, nil)
	at := follower(t, nodes)
	had := served(nodes[at], nodes[at])
	before := nodes[at].caller()
	epochs := nodes[at].Topology().Shards
	nodes[at].kill()
	nodes[at] = nw.startSilent(t, configs[at])
	ready(t, nodes[at])
	leader := leaderOf(t, nodes...)
	third := nodes[(at+1)%3] // it may lead
	eventually(t, "the leader knows the new incarnation", func() bool { return nodes[at].self.in(leader.Topology()) })
	var now, earlier []topology.Report
	topo := leader.Topology()
	for i, row := range topo.Shards {
		if row.Primary == "" {
			now = append(now, topology.Report{Shard: topology.ShardID(i), Epoch: row.Epoch})
			earlier = append(earlier, topology.Report{Shard: topology.ShardID(i), Epoch: epochs[i].Epoch})
		}
	}
	if len(now) != had {
		t.Fatalf("%d shards without a primary, want %d", len(now), had)
	}
	for _, sent := range []struct {
		from Caller
		all  []topology.Report
	}{{before, now}, {nodes[at].caller(), earlier}, {third.caller(), now}} {
		if _, err := leader.ServeCall(t.Context(), sent.from, MethodReport, encodeReports(sent.all)); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 { // the controller has decided in between
		leader.reporter.reports.news <- struct{}{}
	}
	if count := served(nodes[at], leader) + 16 - had; count != 16-had || len(vacant(leader)) != had {
		t.Errorf("%d shards of the restarted node are served without its report", count-16+had)
	}
	nodes[at].silent.Store(false)
	eventually(t, "it serves its shards after its own reports", func() bool { return served(nodes[at], nodes[at]) == had })
}

func TestStrangerDoesNotReport(t *testing.T) {
	t.Parallel()
	_, nodes, _ := threeServing(t, nil)
	stranger := Caller{Node: "x", Store: "y", Incarnation: 1}
	if _, err := nodes[0].ServeCall(t.Context(), stranger, MethodReport, nil); err == nil {
		t.Error("a node of no cluster reports")
	}
	if _, err := nodes[0].ServeCall(t.Context(), nodes[1].caller(), MethodReport, []byte{1}); err == nil {
		t.Error("malformed reports are accepted")
	}
	// A node that does not lead would keep reports for ever.
	n := nodes[follower(t, nodes)]
	report := topology.Report{Shard: 0, Epoch: n.Topology().Shards[0].Epoch}
	if _, err := n.ServeCall(t.Context(), nodes[1].caller(), MethodReport, encodeReports([]topology.Report{report})); err != nil {
		t.Fatal(err)
	}
	if kept := n.reporter.reports.view(n.Topology()); len(kept) > 0 {
		t.Errorf("a follower keeps %v", kept)
	}
}

// A leader that does not answer must not keep the node from telling the next one.
func TestReportsDoNotWaitForADeadLeader(t *testing.T) {
	t.Parallel()
	bus := &hangingBus{started: make(chan topology.NodeID, 10), ended: make(chan topology.NodeID, 10)}
	c := New(testConfig(t, "a", 0), bus, &testNode{})
	t.Cleanup(c.life.end)
	for _, id := range []topology.NodeID{"b", "c"} {
		c.members.observe(incarnation{meta: meta{node: id, incarnation: 1}, alive: true, bus: string(id)})
	}
	c.reporter.send("b", nil)
	c.reporter.send("b", nil)
	if first := within(t, bus.started); first != "b" {
		t.Fatal(first)
	}
	c.reporter.send("c", nil)
	if next := within(t, bus.started); next != "c" {
		t.Errorf("%s is asked, want the next leader and each leader once at a time", next)
	}
	if ended := within(t, bus.ended); ended != "b" {
		t.Errorf("the request to %s ends", ended)
	}
	eventually(t, "a leader that has not answered for long is asked again", func() bool {
		c.reporter.send("c", nil)
		return len(bus.started) > 0
	})
}

// hangingBus answers no request.
type hangingBus struct {
	Bus
	started, ended chan topology.NodeID
}

func (b *hangingBus) Call(ctx context.Context, to Target, _ Method, _ []byte) ([]byte, error) {
	b.started <- to.Node
	<-ctx.Done()
	b.ended <- to.Node
	return nil, ctx.Err()
}

// vacant returns the shards without a primary, as a node knows.
func vacant(by *testNode) (all []topology.ShardID) {
	for i, row := range by.Topology().Shards {
		if row.Primary == "" {
			all = append(all, topology.ShardID(i))
		}
	}
	return all
}
