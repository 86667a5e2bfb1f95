package node

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// A node with arrays leaves: its shards get copies elsewhere first, and no request fails meanwhile.
func TestANodeWithArraysLeaves(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]string{"one copy": "1", "two copies": "2"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := openCluster(t, 3, "--replicas", replicas, "--shards", "16")
			w := startWriters(t, nodes, 4)
			all := arraysCalled("leaves", 200)
			var addrs []string
			for _, n := range nodes[1:] {
				addrs = append(addrs, n.ClientAddrs()[0].String())
			}
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 8})
			t.Cleanup(func() { c.Close() })
			all.store(t, c)
			leaver := redis.NewClient(&redis.Options{Addr: nodes[0].ClientAddrs()[0].String()})
			t.Cleanup(func() { leaver.Close() })
			if got, err := leaver.Do(t.Context(), "CLUSTER", "LEAVE").Text(); got != "OK" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			topo := awaitTopology(t, nodes[1:], func(topo *topology.Topology) bool {
				_, member := topo.Node(nodes[0].id)
				return !member && primaries(topo)[nodes[0].id] == 0
			})
			w.end(t)
			if err := all.check(t.Context(), c); err != nil {
				t.Error(err)
			}
			if topo.PossibleLosses > 0 {
				t.Errorf("%d possible losses", topo.PossibleLosses)
			}
		})
	}
}
