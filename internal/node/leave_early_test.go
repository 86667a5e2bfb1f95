package node

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// A node may be told to leave while shards are on their way to it: they come back, whatever was just proposed.
func TestLeaveWhileShardsCome(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 1, "--replicas", "1", "--shards", "32")
	c := redis.NewClient(&redis.Options{Addr: nodes[0].ClientAddrs()[0].String(), ReadTimeout: 20 * time.Second})
	t.Cleanup(func() { c.Close() })
	all := arraysCalled("kept", 200)
	all.store(t, c)
	count := 3
	fmt.Sscan(os.Getenv("NDRING_LEAVE_ROUNDS"), &count)
	for round := range count {
		n := joinCluster(t, nodes, "--replicas", "1", "--shards", "32")
		coming := round % 4 // shards that it has when it is told to leave
		awaitTopology(t, nodes, func(topo *topology.Topology) bool { return primaries(topo)[n.id] >= coming })
		if err := n.cluster.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		awaitTopology(t, nodes, func(topo *topology.Topology) bool {
			_, member := topo.Node(n.id)
			return !member && primaries(topo)[nodes[0].id] == 32
		})
		closeWithin(t, n)
	}
	for key, npy := range all {
		if got, err := c.Do(t.Context(), "NP.GET", key).Text(); err != nil || got != npy {
			t.Errorf("%s: %d bytes of %d, %v", key, len(got), len(npy), err)
		}
	}
}
