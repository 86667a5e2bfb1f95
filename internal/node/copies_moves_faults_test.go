//go:build faults

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	clusterview "github.com/ndring/ndring/cluster/view"
)

// says sends a command to a node, and returns its reply, or an error.
func (c *copiesCluster) says(ctx context.Context, i int, args ...any) (string, error) {
	client := redis.NewClient(&redis.Options{Addr: c.addrs[i], MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 5 * time.Second, Protocol: 2})
	defer client.Close()
	reply, err := client.Do(ctx, args...).Result()
	return fmt.Sprint(reply), err
}

// view returns the cluster as a node sees it.
func (c *copiesCluster) view(ctx context.Context, i int) (v clusterview.Cluster, err error) {
	text, err := c.says(ctx, i, "CLUSTER", "TOPOLOGY")
	if err == nil {
		err = json.Unmarshal([]byte(text), &v)
	}
	return v, err
}

// operate makes an operator drain nodes, give them their shares again, move single shards, rebalance and cancel until ctx is done. Nodes
// that are down or cut off refuse or do not answer. It returns how often each succeeded.
func (c *copiesCluster) operate(ctx context.Context, r *rand.Rand) map[string]int {
	done := map[string]int{}
	for ctx.Err() == nil {
		timer := time.NewTimer(time.Duration(r.Int64N(int64(3 * time.Second))))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		i := r.IntN(len(c.addrs))
		v, err := c.view(ctx, i)
		if err != nil || len(v.Nodes) == 0 || len(v.Shards) == 0 {
			continue
		}
		id := string(v.Nodes[r.IntN(len(v.Nodes))].ID)
		var args []any
		switch r.IntN(8) {
		case 0, 1:
			args = []any{"CLUSTER", "DRAIN", id}
		case 2:
			args = []any{"CLUSTER", "REBALANCE"}
		case 3:
			args = []any{"CLUSTER", "MOVES", "CANCEL"}
		case 4, 5:
			args = []any{"CLUSTER", "MOVE", "SHARD", r.IntN(len(v.Shards)), "TO", id}
		default:
			for _, n := range v.Nodes {
				if n.Draining {
					id = string(n.ID)
				}
			}
			args = []any{"CLUSTER", "UNDRAIN", id}
		}
		if _, err := c.says(ctx, i, args...); err == nil {
			done[fmt.Sprint(args[1])]++
		}
	}
	return done
}

// keepAll ends what the operator has begun: no node is drained any longer.
func (c *copiesCluster) keepAll() {
	c.t.Helper()
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(100 * time.Millisecond) {
		v, err := c.view(c.t.Context(), 0)
		drained := 0
		for _, n := range v.Nodes {
			if n.Draining {
				drained++
				c.says(c.t.Context(), 0, "CLUSTER", "UNDRAIN", string(n.ID))
			}
		}
		if err == nil && len(v.Nodes) == len(c.addrs) && drained == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d nodes are still drained: %v", drained, err)
		}
	}
}

// TestKillCopiesThatMove is TestKillCopies while an operator moves copies all the time, so that nodes die, freeze and lose their disks and
// their network in every state of a move. No acknowledged write is lost, no read is stale, and all moves end.
func TestKillCopiesThatMove(t *testing.T) {
	runs, span := 2, 20*time.Second
	fmt.Sscan(os.Getenv("NDRING_MOVES_RUNS"), &runs)
	if text := os.Getenv("NDRING_COPIES_TIME"); text != "" {
		span, _ = time.ParseDuration(text)
	}
	for n := range runs {
		seed := rand.Uint64()
		fmt.Sscan(os.Getenv("NDRING_COPIES_SEED"), &seed)
		run := copiesRun{seed: seed, nodes: 4 + n%2, cuts: n%2 == 0, logs: true, span: span, flaw: os.Getenv("NDRING_FLAW"), moves: true}
		t.Run(fmt.Sprint("run ", n), func(t *testing.T) {
			if err := run.do(t, faults(run.logs, run.cuts)); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
}
