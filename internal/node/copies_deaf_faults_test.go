//go:build faults

package node

import (
	"math/rand/v2"
	"testing"
	"time"

	clusterview "github.com/ndring/ndring/cluster/view"
)

// A node that hears nothing, but is heard, loses its shards to the other copies. If it could remove them from the ISR first, it would
// never learn of that, and no node would serve its shards until the network is healed.
func TestPartitionReplacesADeafPrimary(t *testing.T) {
	const count = 5
	c := &copiesCluster{t: t, r: rand.New(rand.NewPCG(1, 1)), network: newNetwork(t, count)}
	c.open(count)
	for deaf := range count {
		c.awaitCopies()
		self := c.topology(deaf).Self
		ledBy := func(v clusterview.Cluster) (n int) {
			for _, s := range v.Shards {
				if s.Primary == self {
					n++
				}
			}
			return n
		}
		led := ledBy(c.topology(deaf))
		began := time.Now()
		hearsNothing := func(_, to int) bool { return to == deaf+1 }
		c.network.cut(count, hearsNothing, true)
		for other := (deaf + 1) % count; ; time.Sleep(50 * time.Millisecond) {
			left := ledBy(c.topology(other))
			if left == 0 {
				break
			}
			if time.Since(began) > 20*time.Second {
				t.Fatalf("n%d hears nothing, and raft still has it as the primary of %d of %d shards:\n%s", deaf, left, led, tail(c.procs[deaf].logged(), 3000))
			}
		}
		t.Logf("n%d led %d shards, none after %v", deaf, led, time.Since(began).Round(time.Millisecond))
		c.network.cut(count, hearsNothing, false)
	}
}
