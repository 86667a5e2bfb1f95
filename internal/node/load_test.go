package node

import (
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// loadOf returns what a node says of its copies and its room.
func loadOf(n *Node) topology.Load { return (&clusterHost{node: n}).Load() }

// A node says how large its copies are, what clients do with those that it serves, and what room it has.
func TestLoad(t *testing.T) {
	t.Parallel()
	nodes := openCopied(t)
	const count = 100
	arraysCalled("loaded", count).storeAt(t, nodes)
	keys, writes := int64(0), int64(0)
	awaitThat(t, "each copy has its keys", func() bool {
		keys, writes = 0, 0
		for _, n := range nodes {
			for _, s := range loadOf(n).Shards {
				keys, writes = keys+s.Keys, writes+s.Writes
				if s.Bytes < s.Keys*100 {
					t.Fatalf("%+v", s)
				}
			}
		}
		return keys == 2*count
	})
	if writes < count || writes > 3*count {
		t.Errorf("of %d writes %d are counted", count, writes)
	}
	load := loadOf(nodes[0])
	if load.Memory != topology.NoLimit || load.Disk <= 0 || load.Incarnation != nodes[0].incarnation || len(load.Sends) > 0 {
		t.Errorf("%+v", load)
	}
	expect(t, nodes[0], "+OK", "CONFIG SET maxmemory 100gb")
	if memory := loadOf(nodes[0]).Memory; memory < 90<<30 || memory > 100<<30 {
		t.Errorf("there is room for %d bytes of memory", memory)
	}
}

// awaitThat waits for a condition.
func awaitThat(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(clusterTime); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// When a node joins, the others drop the copies that have moved to it, and nothing is lost.
func TestNodesDropWhatHasMoved(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nodes := openCluster(t, 2, "--replicas", "2", "--shards", "16")
	awaitTopology(t, nodes, eachTwice)
	const count = 200
	all := arraysCalled("moved", count)
	all.storeAt(t, nodes)
	nodes = append(nodes, joinCluster(t, nodes))
	awaitTopology(t, nodes, func(topo *topology.Topology) bool { return settled(topo) && copiesOn(topo, nodes[2].id) > 0 })
	awaitThat(t, "each key is in two copies", func() bool {
		keys := int64(0)
		for _, n := range nodes {
			for _, s := range loadOf(n).Shards {
				keys += s.Keys
			}
		}
		return keys == 2*count
	})
	for i := range nodes {
		if keys := nodes[i].store.Stats(); keys.Keys+keys.KeysNotServed == count {
			t.Errorf("node %d still has every key", i)
		}
	}
	if err := all.check(t.Context(), clientOfAll(t, nodes)); err != nil {
		t.Error(err)
	}
}

// move-rate takes effect at once, by CONFIG SET and for the whole cluster.
func TestMoveRateIsLive(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 2, "--move-rate", "8mb")
	want := func(rates ...int64) {
		t.Helper()
		for i, n := range nodes {
			if rate := n.effective.config().Cluster.MoveRate; rate != rates[i] {
				t.Errorf("move-rate of node %d is %d, want %d", i, rate, rates[i])
			}
		}
	}
	want(8<<20, 8<<20)
	expect(t, nodes[0], "+OK", "CONFIG SET move-rate 0")
	want(0, 8<<20)
	expect(t, nodes[0], "+OK", "CLUSTER CONFIG SET move-rate 16mb")
	awaitSetting(t, nodes, "move-rate", "16777216")
	want(16<<20, 16<<20)
	reply := dialTalker(t, nodes[0]).say("CONFIG", "SET", "move-rate", "1000")
	if len(reply) == 0 || reply[0] != '-' {
		t.Errorf("a rate at which transfers seem to stop: %s", reply)
	}
	want(16<<20, 16<<20)
}
