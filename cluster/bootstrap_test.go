package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/slowtest"
)

func TestNodeWithoutSeedsIsAClusterOfOne(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	config := onDisk(t, testConfig(t, "a", 0))
	n := nw.start(t, config)
	ready(t, n)
	first := n.Topology()
	if first.Cluster == "" || first.Cluster != n.ID() || len(first.Nodes) != 1 || len(first.Shards) != 16 {
		t.Errorf("the topology is %+v", first)
	}
	eventually(t, "the node serves all shards", func() bool { return served(n, n) == 16 })
	before := n.Topology().Shards[0].Epoch
	n.stop()
	n = nw.start(t, config)
	ready(t, n)
	eventually(t, "its next incarnation serves them", func() bool { return served(n, n) == 16 && n.Topology().Shards[0].Epoch > before })
	if n.ID() != first.Cluster {
		t.Errorf("the cluster id was %s, now it is %s", first.Cluster, n.ID())
	}
}

// served counts the shards that n serves according to another node.
func served(n, by *testNode) (count int) {
	for _, s := range by.Topology().Shards {
		if s.Primary == n.self.ID {
			count++
		}
	}
	return count
}

// bootstrap starts nodes that bootstrap a cluster. Each has all nodes started before it as seeds.
func bootstrap(t *testing.T, nw *network, count int, configure func(testing.TB, Config) Config) (nodes []*testNode, configs []Config) {
	t.Helper()
	var seeds []string
	for i := range count {
		config := testConfig(t, string(rune('a'+i)), count, seeds...)
		if configure != nil {
			config = configure(t, config)
		}
		configs = append(configs, config)
		nodes = append(nodes, nw.start(t, config))
		seeds = append(seeds, nodes[i].seed())
	}
	ready(t, nodes...)
	for _, n := range nodes {
		if n.ID() != nodes[0].ID() {
			t.Fatalf("%s belongs to cluster %s, %s to %s", n.self.Name, n.ID(), nodes[0].self.Name, nodes[0].ID())
		}
	}
	return nodes, configs
}

// A coordinator that loses its log must not bootstrap the cluster a second time.
func TestBootstrapRecordIsClearedOnceThereAreOtherMembers(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 2, onDisk)
	eventually(t, "no data folder has the bootstrap record", func() bool {
		for i := range nodes {
			if kept, err := loadIdentity(configs[i].Files); err != nil || kept.Bootstrap != nil || kept.Cluster == "" {
				return false
			}
		}
		return true
	})
}

func TestBootstrapInAnyOrder(t *testing.T) {
	t.Parallel()
	for round := range 2 {
		nw := newNetwork()
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		const count = 5
		// Each node has one of the nodes started before it as its seed.
		var nodes []*testNode
		for _, i := range r.Perm(count) {
			var seeds []string
			if len(nodes) > 0 {
				seeds = []string{nodes[r.IntN(len(nodes))].seed()}
			}
			nodes = append(nodes, nw.start(t, testConfig(t, fmt.Sprintf("n%d", i), count, seeds...)))
		}
		ready(t, nodes...)
		for _, n := range nodes {
			if n.ID() != nodes[0].ID() || len(n.Topology().Nodes) != count {
				t.Errorf("round %d, seed %d: %s belongs to cluster %s with %d nodes, not to %s", round, seed, n.self.Name, n.ID(), len(n.Topology().Nodes), nodes[0].ID())
			}
		}
		eventually(t, "5 voters", func() bool { return nodes[0].Status().Voters == count })
	}
}

func TestMissingNodesAreReported(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 3))
	b := nw.start(t, testConfig(t, "b", 3, a.seed()))
	eventually(t, "a reports what it waits for", func() bool {
		return strings.Contains(a.Waiting(), "3 nodes to bootstrap a cluster; it sees 2: a (") && strings.Contains(a.Waiting(), "b (")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Ready(ctx); err == nil || !strings.Contains(err.Error(), "sees 2") {
		t.Errorf("Ready: %v", err)
	}
	c := nw.start(t, testConfig(t, "c", 3, b.seed()))
	ready(t, a, b, c)
	// One more node than expected joins.
	d := nw.start(t, testConfig(t, "d", 3, c.seed()))
	ready(t, d)
	if d.ID() != a.ID() {
		t.Errorf("the fourth node belongs to cluster %s, not to %s", d.ID(), a.ID())
	}
}

func TestOverlappingSeedsFormOneCluster(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	// Two groups of three see only themselves, where four nodes bootstrap a cluster. Then one node
	// joins both.
	group := func(names ...string) (nodes []*testNode) {
		var seeds []string
		for _, name := range names {
			nodes = append(nodes, nw.start(t, testConfig(t, name, 4, seeds...)))
			seeds = append(seeds, nodes[0].seed())
		}
		return nodes
	}
	first, second := group("a", "c", "e"), group("b", "d", "f")
	bridge := nw.start(t, testConfig(t, "g", 4, first[1].seed(), second[1].seed()))
	all := append(append(first, second...), bridge)
	ready(t, all...)
	for _, n := range all {
		if n.ID() != bridge.ID() {
			t.Errorf("%s belongs to cluster %s, %s to %s", n.self.Name, n.ID(), bridge.self.Name, bridge.ID())
		}
	}
}

func TestNodeWithDataDoesNotBootstrap(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 2))
	config := testConfig(t, "b", 2, a.seed())
	config.HasData = true
	b := nw.start(t, config)
	if err := readyError(t, b); err == nil || !strings.Contains(err.Error(), "a node joins with an empty folder") {
		t.Errorf("Ready: %v", err)
	}
}

func TestDataFolderOfAnotherClusterIsRejected(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	old := onDisk(t, testConfig(t, "a", 0))
	n := nw.start(t, old)
	ready(t, n)
	n.stop()
	other := nw.start(t, testConfig(t, "b", 0))
	ready(t, other)
	old.Join = []string{other.seed()}
	again := nw.start(t, old)
	if err := readyError(t, again); err == nil || !strings.Contains(err.Error(), "belong to another one: start this node with an empty folder") {
		t.Errorf("Ready: %v", err)
	}
	if len(other.Topology().Nodes) != 1 {
		t.Errorf("the other cluster has %d nodes", len(other.Topology().Nodes))
	}
}

// A node of another cluster now runs at the address of a member in the book. It is rejected, and
// nothing else happens.
func TestForeignNodeAtAnAddressInTheBook(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	id, was := nodes[0].ID(), nodes[2].seed()
	for _, n := range nodes {
		eventually(t, n.self.Name+" has the others in its address book", func() bool { return len(n.book.all()) == 2 })
	}
	for _, n := range nodes {
		n.stop()
	}
	_, port, err := net.SplitHostPort(was)
	if err != nil {
		t.Fatal(err)
	}
	stranger := testConfig(t, "z", 0)
	stranger.GossipPort, err = strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	z := nw.start(t, stranger)
	ready(t, z)
	configs[0].Join = nil
	nodes[0] = nw.start(t, configs[0])
	eventually(t, "the foreign node answers", func() bool {
		nodes[0].members.mu.Lock()
		defer nodes[0].members.mu.Unlock()
		_, met := nodes[0].members.foreign[was]
		return met && nodes[0].startup.seeds.foreign.Load() != nil
	})
	for range 2 { // the second attempt begins after the foreign node answered
		nodes[0].readiness.await("the test")
		eventually(t, "the node has made another attempt", func() bool {
			select {
			case <-nodes[0].readiness.failed:
				t.Fatalf("the node fails: %v", *nodes[0].readiness.fatal.Load())
			default:
			}
			return nodes[0].Waiting() != "the test"
		})
	}
	configs[1].Join = []string{nodes[0].seed()}
	nodes[1] = nw.start(t, configs[1])
	ready(t, nodes[:2]...)
	if nodes[0].ID() != id || z.ID() == id || len(z.Topology().Nodes) != 1 {
		t.Errorf("cluster %s is now %s, the other one is %s with %d nodes", id, nodes[0].ID(), z.ID(), len(z.Topology().Nodes))
	}
}

func TestSeedsOfTwoClustersAreRejected(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	a, b := nw.start(t, testConfig(t, "a", 0)), nw.start(t, testConfig(t, "b", 0))
	ready(t, a, b)
	c := nw.start(t, testConfig(t, "c", 0, a.seed(), b.seed()))
	if err := readyError(t, c); err == nil || !strings.Contains(err.Error(), "different clusters") {
		t.Errorf("Ready: %v", err)
	}
}

func TestDuplicateNodeIDIsRejected(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 0))
	ready(t, a)
	duplicate := testConfig(t, "a", 0, a.seed())
	duplicate.Self.Store = strings.Repeat("f", 32)
	second := nw.start(t, duplicate)
	if err := readyError(t, second); err == nil || !strings.Contains(err.Error(), "is running at") {
		t.Errorf("Ready: %v", err)
	}
}

func TestDifferentNumberOfShardsIsRejected(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	a := nw.start(t, testConfig(t, "a", 0))
	ready(t, a)
	config := testConfig(t, "b", 0, a.seed())
	config.Shards = 32
	b := nw.start(t, config)
	if err := readyError(t, b); err == nil || !strings.Contains(err.Error(), "16 shards") {
		t.Errorf("Ready: %v", err)
	}
}

// All nodes restart at new addresses. The addresses in their books lead nowhere, so each node but
// the first needs one seed.
func TestAllNodesComeBackWithNewAddresses(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	cluster := nodes[0].ID()
	for _, n := range nodes {
		n.stop()
	}
	configs[0].Join = nil
	nodes[0] = nw.start(t, configs[0])
	eventually(t, "the first one reports who is missing", func() bool {
		return strings.Contains(nodes[0].Waiting(), "1 more of the 3 voters") && strings.Contains(nodes[0].Waiting(), "b (")
	})
	for i := range configs[1:] {
		configs[i+1].Join = []string{nodes[0].seed()}
		nodes[i+1] = nw.start(t, configs[i+1])
	}
	ready(t, nodes...)
	for _, n := range nodes {
		if n.ID() != cluster || len(n.Topology().Nodes) != 3 {
			t.Errorf("%s belongs to cluster %s with %d nodes", n.self.Name, n.ID(), len(n.Topology().Nodes))
		}
	}
	eventually(t, "all shards are served", func() bool {
		return served(nodes[0], nodes[0])+served(nodes[1], nodes[0])+served(nodes[2], nodes[0]) == 16
	})
}

func TestDifferentGossipKeysKeepNodesApart(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	keyed := func(name, key string, join ...string) Config {
		config := testConfig(t, name, 2, join...)
		if key != "" {
			config.GossipKeys = [][]byte{[]byte(key)}
		}
		return config
	}
	a := nw.start(t, keyed("a", "0123456789abcdef"))
	stranger := nw.start(t, keyed("c", "fedcba9876543210", a.seed()))
	plain := nw.start(t, keyed("d", "", a.seed()))
	b := nw.start(t, keyed("b", "0123456789abcdef", a.seed()))
	ready(t, a, b)
	for _, n := range []*testNode{stranger, plain} {
		if n.ID() != "" || !strings.Contains(n.Waiting(), "sees 1") && !strings.Contains(n.Waiting(), starting) {
			t.Errorf("%s belongs to cluster %q, and waits for %s", n.self.Name, n.ID(), n.Waiting())
		}
	}
	eventually(t, "a sees only b", func() bool {
		seen := len(a.members.alive())
		if seen > 1 {
			t.Fatalf("a sees %d nodes", seen)
		}
		return seen == 1
	})
}

// A node that bootstraps a cluster around a folder that may lack arrays says so: the loss is counted.
func TestBootstrapAroundAnUncleanFolder(t *testing.T) {
	t.Parallel()
	for unclean, want := range map[bool]uint64{false: 0, true: 16} {
		config := testConfig(t, "a", 0)
		config.HasData, config.Start = true, Start{Unclean: unclean, Lossy: unclean}
		n := newNetwork().start(t, config)
		ready(t, n)
		eventually(t, "it serves its shards", func() bool { return len(vacant(n)) == 0 })
		if got := n.Topology().PossibleLosses; got != want {
			t.Errorf("unclean %v: %d possible losses, want %d", unclean, got, want)
		}
	}
}
