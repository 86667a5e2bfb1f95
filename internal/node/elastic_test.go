package node

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// settled reports whether each shard has its copies where it should, and nowhere else.
func settled(topo *topology.Topology) bool {
	return len(topo.Shards) > 0 && !topo.Moving() && !slices.ContainsFunc(topo.Shards, func(row topology.Shard) bool {
		return len(row.Assigned) == 0 || row.Primary != row.Assigned[0]
	})
}

// copiesOn returns how many copies of shards a node has.
func copiesOn(topo *topology.Topology, id topology.NodeID) (n int) {
	for _, row := range topo.Shards {
		if slices.Contains(row.ISR, id) {
			n++
		}
	}
	return n
}

// The cluster grows from 3 to 5 nodes, drains one and gives it its share again, moves one shard by hand, and shrinks to 3, while clients
// write. No request fails, no array is lost, each node comes to have its share, and what a node gave up leaves its memory.
func TestElastic(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	for name, replicas := range map[string]int{"one copy": 1, "two copies": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const shards = 16
			nodes := slices.Clone(openCluster(t, 3, "--replicas", strconv.Itoa(replicas), "--shards", strconv.Itoa(shards)))
			awaitTopology(t, nodes, settled)
			c := clientOfAll(t, nodes)
			all := arraysCalled("grows", 300)
			all.store(t, c)
			w := startWriters(t, nodes, 4)
			share := func(topo *topology.Topology, of []*Node) bool {
				for _, n := range of {
					least := shards * replicas / len(of)
					if has := copiesOn(topo, n.id); has < least || has > least+1 {
						return false
					}
				}
				return settled(topo)
			}
			for _, name := range []string{"fourth", "fifth"} {
				nodes = append(nodes, joinCluster(t, nodes, "--node-id", name))
				awaitTopology(t, nodes, func(topo *topology.Topology) bool { return share(topo, nodes) })
			}
			drained := nodes[1]
			operate(t, nodes[0], "CLUSTER", "DRAIN", string(drained.id))
			awaitTopology(t, nodes, func(topo *topology.Topology) bool { return settled(topo) && copiesOn(topo, drained.id) == 0 })
			awaitDropped(t, nodes)
			operate(t, nodes[4], "CLUSTER", "UNDRAIN", string(drained.id))
			topo := awaitTopology(t, nodes, func(topo *topology.Topology) bool { return share(topo, nodes) })
			to := slices.IndexFunc(nodes, func(n *Node) bool { return !slices.Contains(topo.Shards[3].Assigned, n.id) })
			operate(t, nodes[2], "CLUSTER", "MOVE", "SHARD", "3", "TO", string(nodes[to].id))
			awaitTopology(t, nodes, func(topo *topology.Topology) bool {
				return settled(topo) && topo.Shards[3].Primary == nodes[to].id
			})
			for range 2 {
				leaver := nodes[0]
				operate(t, leaver, "CLUSTER", "LEAVE")
				nodes = nodes[1:]
				awaitTopology(t, nodes, func(topo *topology.Topology) bool {
					_, member := topo.Node(leaver.id)
					return !member && settled(topo)
				})
			}
			w.end(t)
			if err := all.check(t.Context(), clientOfAll(t, nodes)); err != nil {
				t.Error(err)
			}
			if topo := nodes[0].Topology(); topo.PossibleLosses > 0 {
				t.Errorf("%d possible losses", topo.PossibleLosses)
			}
		})
	}
}

// clientOfAll returns a client of nodes.
func clientOfAll(t *testing.T, nodes []*Node) *redis.ClusterClient {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.ClientAddrs()[0].String())
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 8})
	t.Cleanup(func() { c.Close() })
	return c
}

// operate sends a command to a node, which must answer OK.
func operate(t *testing.T, n *Node, args ...any) {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[0].String(), ReadTimeout: clusterTime})
	defer c.Close()
	if got, err := c.Do(t.Context(), args...).Text(); got != "OK" || err != nil {
		t.Fatalf("%v: %q, %v", args, got, err)
	}
}

// awaitDropped waits until no node keeps anything of a shard of which it should have no copy.
func awaitDropped(t *testing.T, nodes []*Node) {
	t.Helper()
	deadline := time.Now().Add(clusterTime)
	for {
		left := 0
		for _, n := range nodes {
			for i, row := range n.Topology().Shards {
				if !slices.Contains(row.ISR, n.id) && !slices.Contains(row.Learners, n.id) {
					left += n.store.Shard(i).Keys()
				}
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nodes keep %d keys of shards that others have", left)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A node that does not come back is replaced: other nodes get its copies, and no operator is needed. Before that time it is
// waited for.
func TestADeadNodeIsReplaced(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nodes := openCluster(t, 4, "--replicas", "2", "--shards", "16", "--replace-after", "3s")
	awaitTopology(t, nodes, settled)
	c := clientOfAll(t, nodes)
	all := arraysCalled("heals", 300)
	all.store(t, c)
	dead, rest := nodes[3], nodes[:3]
	closeWithin(t, dead)
	awaitTopology(t, rest, func(topo *topology.Topology) bool {
		return primaries(topo)[dead.id] == 0 && copiesOn(topo, dead.id) == 0
	})
	if topo := rest[0].Topology(); settled(topo) {
		t.Error("other nodes have the copies of a node that has just died")
	}
	topo := awaitTopology(t, rest, func(topo *topology.Topology) bool {
		return settled(topo) && !slices.ContainsFunc(topo.Shards, func(row topology.Shard) bool {
			return len(row.Clean()) != 2 || slices.Contains(row.Assigned, dead.id)
		})
	})
	if _, member := topo.Node(dead.id); !member {
		t.Error("a dead node was forgotten without an operator")
	}
	if err := all.check(t.Context(), clientOfAll(t, rest)); err != nil {
		t.Error(err)
	}
}
