package node

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/slowtest"
)

// Shards that move while clients use them cost an unmodified client no error: no two nodes redirect it to each other
// until it gives up.
func TestNoRedirectLoops(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	quiet()
	nodes := openCluster(t, 3, "--shards", "256")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].ClientAddrs()[0].String()}})
			defer c.Close()
			for i := 0; ctx.Err() == nil; i++ {
				err := c.Exists(ctx, "some key "+strings.Repeat("x", i%200)).Err()
				// On a slow machine a primary may lack its lease for longer than the client tries.
				if err != nil && ctx.Err() == nil && !strings.HasPrefix(err.Error(), "TRYAGAIN") {
					t.Errorf("a client gets %v", err)
					return
				}
			}
		})
	}
	for _, id := range []string{"d", "e"} {
		nodes = append(nodes, joinCluster(t, nodes, "--node-id", id))
		awaitTopology(t, nodes, asAssigned)
	}
	cancel()
	group.Wait()
}
