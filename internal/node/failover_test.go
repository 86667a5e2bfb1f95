package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// eachTwice reports whether each shard is served by its preferred primary and each assigned node has a clean copy.
func eachTwice(topo *topology.Topology) bool {
	if !asAssigned(topo) {
		return false
	}
	for _, s := range topo.Shards {
		if len(s.ISR) != topo.Replicas || len(s.Clean()) != topo.Replicas {
			return false
		}
	}
	return true
}

// primaries returns how many shards each node serves.
func primaries(topo *topology.Topology) map[topology.NodeID]int {
	n := map[topology.NodeID]int{}
	for _, s := range topo.Shards {
		n[s.Primary]++
	}
	return n
}

// openCopied is openCluster with three nodes and two copies of each shard.
func openCopied(t *testing.T) []*Node {
	t.Helper()
	nodes := openCluster(t, 3, "--replicas", "2", "--shards", "16")
	awaitTopology(t, nodes, eachTwice)
	return nodes
}

// writers are clients that write until they are stopped. No request may fail.
type writers struct {
	stop   context.CancelFunc
	group  sync.WaitGroup
	writes atomic.Int64
	failed atomic.Pointer[error]
	slow   atomic.Int64 // ns of the slowest
}

func startWriters(t *testing.T, nodes []*Node, count int) *writers {
	t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.ClientAddrs()[0].String())
	}
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 8, ReadTimeout: 20 * time.Second})
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	w := &writers{stop: cancel}
	for i := range count {
		w.group.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				time.Sleep(2 * time.Millisecond) // the tests beside this one need the processor, too
				began := time.Now()
				err := c.Do(t.Context(), "NP.SET", fmt.Sprintf("w%d-%d", i, n%500), npyOf(uint64(n), 8)).Err()
				if err != nil {
					w.failed.CompareAndSwap(nil, &err)
					return
				}
				w.writes.Add(1)
				for took := int64(time.Since(began)); ; {
					if old := w.slow.Load(); old >= took || w.slow.CompareAndSwap(old, took) {
						break
					}
				}
			}
		})
	}
	return w
}

func (w *writers) end(t *testing.T) {
	t.Helper()
	w.stop()
	w.group.Wait()
	if err := w.failed.Load(); err != nil {
		t.Errorf("a write failed: %v", *err)
	}
	t.Logf("%d writes, the slowest took %v", w.writes.Load(), time.Duration(w.slow.Load()))
}

// A node that is stopped hands its shards over first: no request of a client fails.
func TestAPlannedStopFailsNoRequest(t *testing.T) {
	t.Parallel()
	nodes := openCopied(t)
	w := startWriters(t, nodes, 8)
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	closeWithin(t, nodes[0])
	t.Logf("the stop took %v", time.Since(began))
	rest := nodes[1:]
	topo := awaitTopology(t, rest, func(topo *topology.Topology) bool { return primaries(topo)[nodes[0].id] == 0 })
	time.Sleep(300 * time.Millisecond)
	w.end(t)
	if topo.PossibleLosses > 0 {
		t.Errorf("%d possible losses", topo.PossibleLosses)
	}
	for _, n := range rest {
		if counts := n.reconciler.Counts(); counts.Failovers.Load() > 0 {
			t.Errorf("a planned stop counts as %d failovers", counts.Failovers.Load())
		}
	}
}

// An operator's failover makes the node that is asked the primary of all that it has copies of, and keeps it so for a while.
func TestFailoverOnRequest(t *testing.T) {
	t.Parallel()
	nodes := openCopied(t)
	w := startWriters(t, nodes, 4)
	asked := nodes[2]
	c := redis.NewClient(&redis.Options{Addr: asked.ClientAddrs()[0].String()})
	t.Cleanup(func() { c.Close() })
	want := 0
	for _, s := range asked.Topology().Shards {
		if s.Primary == asked.id || strings.Contains(fmt.Sprint(s.ISR), string(asked.id)) {
			want++
		}
	}
	if got, err := c.Do(t.Context(), "CLUSTER", "FAILOVER").Text(); got != "OK" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if n := primaries(asked.Topology())[asked.id]; n != want {
		t.Errorf("it serves %d shards, want %d", n, want)
	}
	time.Sleep(2500 * time.Millisecond) // in which the others would take their shards back twice
	if n := primaries(asked.Topology())[asked.id]; n != want {
		t.Errorf("after a while it serves %d shards, want %d", n, want)
	}
	if got, err := c.Do(t.Context(), "CLUSTER", "FAILOVER").Text(); err == nil || err.Error() != "ERR You should send CLUSTER FAILOVER to a replica" {
		t.Errorf("%q, %v", got, err)
	}
	w.end(t)
	info := c.Info(t.Context(), "replication").Val()
	for _, line := range []string{"role:master", "connected_slaves:2", fmt.Sprintf("shards_primary:%d", want), "shards_replica:0", "shards_degraded:0", "failovers:0", "possible_losses:0", "durability:ok"} {
		if !strings.Contains(info, line+"\r\n") {
			t.Errorf("no %s in %s", line, info)
		}
	}
}
