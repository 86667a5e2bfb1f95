package node

import (
	"context"
	"log/slog"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
)

// openCluster runs a cluster of count nodes within the test. When it returns, the nodes agree on the topology and
// each serves its share of the shards. They have data folders unless args say otherwise.
func openCluster(t *testing.T, count int, args ...string) []*Node {
	t.Helper()
	config, err := ParseConfig(append([]string{"--dev", strconv.Itoa(count), "--port", "0", "--http-port", "0"}, args...), environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	config.Cluster.timing = calm
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	d := newDev(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeWithin(t, d) })
	awaitTopology(t, d.nodes, asAssigned)
	return d.nodes
}

// joinCluster runs one more node, which joins the cluster of the others. It may have no shards yet when this returns.
func joinCluster(t *testing.T, others []*Node, args ...string) *Node {
	t.Helper()
	host, port := others[0].cluster.GossipAddress()
	config, err := ParseConfig(append([]string{"--port", "0", "--http-port", "0", "--node-id", "joined", "--dir", t.TempDir(),
		"--shards", strconv.Itoa(others[0].config.Shards), "--join", joinHostPort(host, port)}, args...), environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	config.Cluster.timing = calm
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	n := New(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	t.Cleanup(func() { closeWithin(t, n) })
	if err := n.Open(ctx); err != nil {
		t.Fatalf("a node did not become a member: %v", err)
	}
	return n
}

// closeWithin closes nodes.
func closeWithin(t *testing.T, nodes runner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clusterTime)
	defer cancel()
	if err := nodes.Close(ctx); err != nil {
		t.Error(err)
	}
}

// calm is slower than the default, so that the race detector on a busy machine does not make a node look dead.
var calm = cluster.Timing{Heartbeat: time.Second, Lease: 800 * time.Millisecond, Probe: time.Second, BeginEmpty: 3 * time.Second}

// clusterTime is how long a test waits for something that a cluster does within seconds.
const clusterTime = 3 * time.Minute

// awaitTopology returns the topology that all nodes route by, once they agree, all are members, each shard has a
// primary, and wanted accepts it.
func awaitTopology(t *testing.T, nodes []*Node, wanted func(*topology.Topology) bool) *topology.Topology {
	t.Helper()
	deadline := time.After(clusterTime)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		topo := nodes[0].Topology()
		if agreed(topo, nodes) && wanted(topo) {
			return topo
		}
		select {
		case <-tick.C:
		case <-deadline:
			for _, n := range nodes {
				text, err := n.Topology().Encode()
				t.Logf("%s routes by %.10000s %v", n.config.NodeID, text, err)
			}
			t.Fatal("the nodes do not agree on a topology as wanted")
		}
	}
}

// undisturbed does something while each shard is where it is assigned. It does it again if the topology has changed meanwhile: on a
// busy machine another copy may serve a shard for a moment.
func undisturbed(t *testing.T, nodes []*Node, do func()) {
	t.Helper()
	for deadline := time.Now().Add(clusterTime); time.Now().Before(deadline); {
		index := awaitTopology(t, nodes, asAssigned).Index
		do()
		if now := nodes[0].Topology(); now.Index == index && agreed(now, nodes) {
			return
		}
	}
	t.Fatal("the topology does not come to rest")
}

func agreed(topo *topology.Topology, nodes []*Node) bool {
	for _, n := range nodes {
		other := n.Topology()
		row, member := topo.Node(n.id)
		if !member || row.Incarnation != n.incarnation || len(topo.Nodes) != len(other.Nodes) || !reflect.DeepEqual(topo.Shards, other.Shards) {
			return false
		}
	}
	for _, s := range topo.Shards {
		if s.Primary == "" {
			return false
		}
	}
	return len(topo.Shards) > 0
}

// asAssigned reports whether each shard is served by its preferred primary, as empty shards end up.
func asAssigned(topo *topology.Topology) bool {
	served := map[topology.NodeID]bool{}
	for _, s := range topo.Shards {
		if len(s.Assigned) == 0 || s.Assigned[0] != s.Primary {
			return false
		}
		served[s.Primary] = true
	}
	return len(served) == len(topo.Nodes)
}

// keysOf returns count different keys whose slots the node serves.
func keysOf(t *testing.T, n *Node, count int) (keys []string) {
	t.Helper()
	topo := n.Topology()
	for i := 0; len(keys) < count; i++ {
		if i == 100_000 {
			t.Fatalf("%s has too few slots", n.config.NodeID)
		}
		key := "of-" + n.config.NodeID + "-" + strconv.Itoa(i)
		if owner, served := topo.Owner(topology.Slot([]byte(key))); served && owner.ID == n.id {
			keys = append(keys, key)
		}
	}
	return keys
}
