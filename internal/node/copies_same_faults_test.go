//go:build faults

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	clusterview "github.com/ndring/ndring/cluster/view"
)

// sameCopies waits until the copies of each shard in the ISR have the same commit index and digest. No client writes.
func (c *copiesCluster) sameCopies() {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(50 * time.Millisecond) {
		if err = c.copiesDiffer(c.t.Context()); err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("the copies differ at rest: %v", err)
			return
		}
	}
}

// copiesDiffer returns an error that names a shard whose copies in the ISR differ, or a node that has found one.
func (c *copiesCluster) copiesDiffer(ctx context.Context) error {
	digests := map[string]map[int64]string{} // by node and shard
	var v clusterview.Cluster
	for i, addr := range c.addrs {
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, ReadTimeout: 2 * time.Second, Protocol: 2})
		rows, err := client.Do(ctx, "CLUSTER", "DIGESTS").Slice()
		text, failed := client.Do(ctx, "CLUSTER", "TOPOLOGY").Text()
		client.Close()
		if err := errors.Join(err, failed); err != nil {
			return fmt.Errorf("n%d: %w", i, err)
		}
		v = clusterview.Cluster{}
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return err
		}
		of := map[int64]string{}
		for _, row := range rows {
			d := row.([]any)
			of[d[0].(int64)] = fmt.Sprint(d[1], " ", d[2])
		}
		digests[string(v.Self)] = of
	}
	for id, s := range v.Shards {
		for _, node := range s.InSync {
			if mine, other := digests[string(s.Primary)][int64(id)], digests[string(node)][int64(id)]; mine != other {
				return fmt.Errorf("shard %d: the primary has %q, a copy %q", id, mine, other)
			}
		}
	}
	return nil
}

// differed returns how often the logs of all processes say that copies differ, of those that have ended, too.
func (c *copiesCluster) differed() (n int) {
	for _, p := range c.all {
		n += strings.Count(p.logged(), "a copy differs from its primary's")
	}
	return n
}

// topology returns the cluster as a node sees it.
func (c *copiesCluster) topology(i int) (v clusterview.Cluster) {
	c.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: c.addrs[i], Protocol: 2})
	defer client.Close()
	text, err := client.Do(c.t.Context(), "CLUSTER", "TOPOLOGY").Text()
	if err = errors.Join(err, json.Unmarshal([]byte(text), &v)); err != nil {
		c.t.Fatal(err)
	}
	return v
}

// A copy whose files were damaged while its node was down is replaced from the other one, whether its node led the shard or not,
// and nothing is lost.
func TestDamagedCopyIsReplacedFromTheOther(t *testing.T) {
	for name, led := range map[string]bool{"replica": false, "primary": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCopiesCluster(t, rand.New(rand.NewPCG(1, 1)), 3)
			client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs, MaxRedirects: 16, ReadTimeout: 20 * time.Second})
			defer client.Close()
			all := arraysCalled("kept", 400)
			all.store(t, client)
			c.sameCopies()
			v := c.topology(0)
			damaged := slices.IndexFunc(v.Shards, func(s clusterview.Shard) bool {
				return slices.Contains(s.InSync, v.Self) && (s.Primary == v.Self) == led
			})
			if damaged < 0 {
				t.Fatal("no such shard")
			}
			c.kill(0)
			damageSegment(t, newestSegment(t, filepath.Join(c.dir, "0"), fmt.Sprintf("%05d", damaged)))
			c.start(0)
			c.awaitCopies()
			c.sameCopies()
			if logged := c.procs[0].logged(); !strings.Contains(logged, "quarantine") && !strings.Contains(logged, "damage") {
				t.Errorf("the start found no damage:\n%s", logged)
			}
			if !slices.Contains(c.topology(1).Shards[damaged].InSync, v.Self) {
				t.Error("the copy is not in the ISR again")
			}
			for key, npy := range all {
				if got, err := client.Do(t.Context(), "NP.GET", key).Text(); err != nil || got != npy {
					t.Errorf("%s: %d bytes of %d, %v", key, len(got), len(npy), err)
				}
			}
			if n := c.topology(1).Losses; n != 0 {
				t.Errorf("%d possible losses", n)
			}
		})
	}
}
