//go:build faults

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// differed returns how often the logs of the present processes say that copies differ.
func (c *copiesCluster) differed() (n int) {
	for _, p := range c.procs {
		if p != nil {
			n += strings.Count(p.logged(), "a copy differs from its primary's")
		}
	}
	return n
}
