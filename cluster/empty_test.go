package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// wipe restarts a node with another data folder and returns it with how many shards it had.
func wipe(t *testing.T, nw *network, nodes []*testNode, configs []Config) (again *testNode, had int) {
	t.Helper()
	at := follower(t, nodes)
	had = served(nodes[at], nodes[at])
	nodes[at].kill()
	config := onDisk(t, configs[at])
	config.Self.Store = fmt.Sprintf("%032x", "new"+config.Self.Name)
	nodes[at] = nw.start(t, config)
	ready(t, nodes[at])
	return nodes[at], had
}

func TestWipedShardsBeginEmptyAfterAWhile(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, func(c *Config) { c.Timing.BeginEmpty = 1500 * time.Millisecond })
	again, had := wipe(t, nw, nodes, configs)
	began := time.Now()
	if down := len(vacant(again)); down != had {
		t.Errorf("%d shards are down after their node was wiped, want %d", down, had)
	}
	if again.Topology().PossibleLosses != 0 {
		t.Error("a loss is counted before a shard begins empty")
	}
	eventually(t, "the shards begin empty", func() bool { return len(vacant(again)) == 0 })
	if took := time.Since(began); took < time.Second {
		t.Errorf("they begin empty after %v, want about %v", took, again.config.Timing.BeginEmpty)
	}
	if losses := again.Topology().PossibleLosses; losses != uint64(had) {
		t.Errorf("%d possible losses, want one for each of %d shards", losses, had)
	}
}

func TestOperatorDecidesThatWipedShardsBeginEmpty(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, func(c *Config) {
		c.Timing.BeginEmpty = time.Millisecond
		c.EmptyShards = func() string { return topology.EmptyOperator }
	})
	again, had := wipe(t, nw, nodes, configs)
	for range 5 { // the controller has decided in between
		if err := propose(again, time.Minute); err != nil {
			t.Fatal(err)
		}
		leader := leaderOf(t, nodes...)
		leader.reporter.reports.news <- struct{}{}
	}
	waiting := vacant(again)
	if len(waiting) != had {
		t.Fatalf("%d shards wait for the operator, want %d", len(waiting), had)
	}
	alive := topology.ShardID(0)
	for again.Topology().Shards[alive].Primary == "" {
		alive++
	}
	if _, err := again.BeginEmpty(t.Context(), waiting[0], alive); !errors.Is(err, ErrNotWiped) {
		t.Errorf("begin-empty of a shard that is served: %v", err)
	}
	if _, err := again.BeginEmpty(t.Context(), waiting[0], 16); !errors.Is(err, topology.ErrUnknownShard) {
		t.Errorf("begin-empty of a shard that does not exist: %v", err)
	}
	if len(vacant(again)) != had {
		t.Error("an order with an error has an effect")
	}
	if n, err := again.BeginEmpty(t.Context(), waiting[0], waiting[0]); n != 1 || err != nil {
		t.Errorf("begin-empty of one shard: %d, %v", n, err)
	}
	eventually(t, "that one is served", func() bool { return len(vacant(again)) == had-1 })
	if n, err := again.BeginEmpty(t.Context()); n != had-1 || err != nil {
		t.Errorf("begin-empty of all others: %d, %v, want %d", n, err, had-1)
	}
	eventually(t, "all are served", func() bool { return len(vacant(again)) == 0 })
	if n, err := again.BeginEmpty(t.Context()); n != 0 || err != nil {
		t.Errorf("begin-empty of none: %d, %v", n, err)
	}
	if losses := again.Topology().PossibleLosses; losses != uint64(had) {
		t.Errorf("%d possible losses, want one for each of %d shards", losses, had)
	}
}

// A node without logs loses its copies at each restart, so its shards begin empty at once.
func TestShardsWithoutLogsBeginEmptyAtOnce(t *testing.T) {
	t.Parallel()
	nw, nodes, configs := threeServing(t, func(c *Config) { c.Self.Log = false })
	again, _ := wipe(t, nw, nodes, configs)
	eventually(t, "the shards begin empty", func() bool { return len(vacant(again)) == 0 })
}

// The time counts while gossip sees the node as it joined, and no other process of its id.
func TestTimeOfAWipedNode(t *testing.T) {
	t.Parallel()
	topo := &topology.Topology{
		Cluster: "c", Nodes: []topology.Node{{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 2}},
		Shards: []topology.Shard{{Wiped: []topology.NodeID{"a", "gone"}}, {Wiped: []topology.NodeID{"a"}}, {Primary: "b", ISR: []topology.NodeID{"b"}}},
	}
	h, alone := newHistory(), true
	sole := func(id topology.NodeID, incarnation uint64) bool {
		if id != "a" || incarnation != 1 {
			t.Errorf("asked about %s, incarnation %d", id, incarnation)
		}
		return alone
	}
	for _, step := range []struct {
		now   int64
		alone bool
		since int64 // 0: not known
	}{{100, true, 100}, {200, true, 100}, {300, false, 0}, {400, true, 400}, {500, true, 400}} {
		alone = step.alone
		h.recordWiped(topo, step.now, sole)
		if since := h.wipedSince["a"]; since != step.since || len(h.wipedSince) > 1 {
			t.Errorf("at %d: %v, want since %d", step.now, h.wipedSince, step.since)
		}
	}
	topo.Shards[0].Wiped, topo.Shards[1].Wiped = nil, nil
	if h.recordWiped(topo, 600, sole); len(h.wipedSince) > 0 {
		t.Errorf("the time of a node for which no shard waits is kept: %v", h.wipedSince)
	}
}

func TestSoleProcessOfANode(t *testing.T) {
	t.Parallel()
	m := newMembers("self", 5, testLog(t, "self"))
	see := func(node topology.NodeID, i uint64, alive bool) {
		m.observe(incarnation{meta: meta{node: node, incarnation: i}, alive: alive})
	}
	check := func(what string, node topology.NodeID, i uint64, want bool) {
		t.Helper()
		if got := m.sole(node, i); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("a node that gossip has not seen", "b", 1, false)
	see("b", 2, true)
	check("alone", "b", 2, true)
	check("another incarnation", "b", 1, false)
	see("b", 1, true)
	check("with an earlier process", "b", 2, false)
	see("b", 1, false)
	check("the earlier one has ended", "b", 2, true)
	see("b", 2, false)
	check("dead", "b", 2, false)
	check("this node", "self", 5, true)
	check("this node as another incarnation", "self", 4, false)
	see("self", 4, true)
	check("this node, running twice", "self", 5, false)
	see("self", 4, false)
	check("this node after that", "self", 5, true)
}
