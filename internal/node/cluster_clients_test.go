package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/slowtest"
)

// goRedisCluster is go-redis as users set it up, with the address of one node.
func goRedisCluster(t *testing.T, n *Node, protocol int) *redis.ClusterClient {
	t.Helper()
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{n.ClientAddrs()[0].String()}, Protocol: protocol})
	t.Cleanup(func() { c.Close() })
	return c
}

// redirects returns how many MOVED replies the nodes have sent in all.
func redirects(t *testing.T, nodes []*Node) (sum int) {
	t.Helper()
	for _, n := range nodes {
		_, after, found := strings.Cut(dialTalker(t, n).say("INFO", "errorstats"), "errorstat_MOVED:count=")
		if !found {
			continue
		}
		var count int
		if _, err := fmt.Sscan(after, &count); err != nil {
			t.Fatal(err)
		}
		sum += count
	}
	return sum
}

func TestGoRedisAgainstThreeNodes(t *testing.T) {
	t.Parallel()
	nodes := openCluster(t, 3)
	for i, protocol := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", protocol), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
			defer cancel()
			client := goRedisCluster(t, nodes[1+i], protocol)
			var keys []string
			for _, n := range nodes {
				keys = append(keys, keysOf(t, n, 100)...)
			}
			testGoSingly(ctx, t, client, keys)
			testGoPipelines(ctx, t, client, keys)
			for _, n := range nodes {
				key := "{" + keysOf(t, n, 1)[0] + "}of the slot"
				if err := client.Do(ctx, "NP.SET", key, array).Err(); err != nil {
					t.Fatal(err)
				}
				testGoTransactions(ctx, t, client, key)
				testGoTransactionOfSeveralKeys(ctx, t, client, key)
			}
			testGoEveryNode(ctx, t, client, keys)
		})
	}
	t.Run("tips", func(t *testing.T) { testGoRoutesByTips(t, nodes) })
	if n := redirects(t, nodes); n != 0 {
		t.Errorf("%d redirects, though the map that clients are given is right", n)
	}
}

// testGoSingly leaves all keys with a time to live.
func testGoSingly(ctx context.Context, t *testing.T, client *redis.ClusterClient, keys []string) {
	t.Helper()
	for _, key := range keys {
		if reply, err := client.Do(ctx, "NP.SET", key, array).Result(); err != nil || reply != "OK" {
			t.Fatalf("NP.SET %s: %v, %v", key, reply, err)
		}
		if found, err := client.Exists(ctx, key).Result(); err != nil || found != 1 {
			t.Fatalf("EXISTS %s: %d, %v", key, found, err)
		}
		if set, err := client.Expire(ctx, key, time.Hour).Result(); err != nil || !set {
			t.Fatalf("EXPIRE %s: %v, %v", key, set, err)
		}
	}
	for _, key := range keys {
		if got, err := client.Do(ctx, "NP.GET", key).Text(); err != nil || got != array {
			t.Fatalf("NP.GET %s: %q, %v", key, got, err)
		}
		if ttl, err := client.PTTL(ctx, key).Result(); err != nil || ttl <= 0 || ttl > time.Hour {
			t.Fatalf("PTTL %s: %v, %v", key, ttl, err)
		}
		if err := client.Do(ctx, "NP.GET", key+" not").Err(); !errors.Is(err, redis.Nil) {
			t.Fatalf("NP.GET of nothing: %v", err)
		}
		if err := client.Do(ctx, "NP.SET", key, "garbage").Err(); err == nil || !strings.HasPrefix(err.Error(), "BADNPY ") {
			t.Fatalf("NP.SET of garbage: %v", err)
		}
	}
	// The client does not split these by node, and Redis refuses them too.
	if found, err := client.Exists(ctx, keys...).Result(); !redis.HasErrorPrefix(err, "CROSSSLOT") {
		t.Errorf("EXISTS of keys of several slots: %d, %v", found, err)
	}
}

// testGoPipelines sends commands for all nodes in one pipeline, including refused ones.
func testGoPipelines(ctx context.Context, t *testing.T, client *redis.ClusterClient, keys []string) {
	t.Helper()
	replies, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			p.Do(ctx, "NP.GET", key)
			p.Do(ctx, "NP.SET", key, array, "NX")
			p.Expire(ctx, key, time.Duration(i+1)*time.Hour)
			p.Do(ctx, "NP.SET", key, "garbage")
		}
		return nil
	})
	if err == nil || len(replies) != 4*len(keys) {
		t.Fatalf("a pipeline: %d replies, %v", len(replies), err)
	}
	for i, key := range keys {
		if got, err := replies[4*i].(*redis.Cmd).Text(); err != nil || got != array {
			t.Fatalf("NP.GET %s in a pipeline: %q, %v", key, got, err)
		}
		if err := replies[4*i+1].Err(); !errors.Is(err, redis.Nil) {
			t.Fatalf("NP.SET NX %s in a pipeline: %v", key, err)
		}
		if set, err := replies[4*i+2].(*redis.BoolCmd).Result(); err != nil || !set {
			t.Fatalf("EXPIRE %s in a pipeline: %v, %v", key, set, err)
		}
		if err := replies[4*i+3].Err(); err == nil || !strings.HasPrefix(err.Error(), "BADNPY ") {
			t.Fatalf("NP.SET of garbage in a pipeline: %v", err)
		}
		if ttl, err := client.TTL(ctx, key).Result(); err != nil || ttl > time.Duration(i+1)*time.Hour || ttl < time.Duration(i)*time.Hour {
			t.Fatalf("TTL %s: %v, %v", key, ttl, err)
		}
	}
}

func testGoTransactionOfSeveralKeys(ctx context.Context, t *testing.T, client *redis.ClusterClient, key string) {
	t.Helper()
	err := client.Watch(ctx, func(tx *redis.Tx) error {
		if found, err := tx.Exists(ctx, key, key+"2").Result(); err != nil || found != 1 {
			t.Errorf("EXISTS of keys that are watched: %d, %v", found, err)
		}
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Do(ctx, "NP.SET", key+"2", array)
			p.Del(ctx, key)
			return nil
		})
		return err
	}, key, key+"2")
	if err != nil {
		t.Fatalf("a transaction of two keys: %v", err)
	}
	if first, err := client.Exists(ctx, key).Result(); err != nil || first != 0 {
		t.Errorf("what a transaction has deleted: %d, %v", first, err)
	}
	if deleted, err := client.Del(ctx, key, key+"2").Result(); err != nil || deleted != 1 {
		t.Errorf("DEL of what a transaction has stored: %d, %v", deleted, err)
	}
}

// testGoEveryNode counts, lists and deletes node by node. Keys are all existing keys.
func testGoEveryNode(ctx context.Context, t *testing.T, client *redis.ClusterClient, keys []string) {
	t.Helper()
	var nodes, sum atomic.Int64
	err := client.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error {
		size, err := one.DBSize(ctx).Result()
		listed := one.Scan(ctx, 0, "of-*", 20).Iterator()
		for listed.Next(ctx) {
			size--
		}
		if size != 0 || int(one.DBSize(ctx).Val()) != len(keys)/3 {
			t.Errorf("%s has %d keys, and lists %d fewer", one.Options().Addr, one.DBSize(ctx).Val(), size)
		}
		nodes.Add(1)
		sum.Add(one.DBSize(ctx).Val())
		return errors.Join(err, listed.Err())
	})
	if err != nil || nodes.Load() != 3 || int(sum.Load()) != len(keys) {
		t.Errorf("%d nodes have %d keys, %v", nodes.Load(), sum.Load(), err)
	}
	for i, key := range []string{keys[0], keys[len(keys)-1]} {
		if deleted, err := client.Del(ctx, key).Result(); err != nil || deleted != 1 {
			t.Errorf("DEL: %d, %v", deleted, err)
		}
		if left, err := client.DBSize(ctx).Result(); err != nil || int(left) != len(keys)-i-1 {
			t.Errorf("after DEL there are %d keys, %v", left, err)
		}
	}
	if err := client.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error { return one.FlushAll(ctx).Err() }); err != nil {
		t.Errorf("FLUSHALL: %v", err)
	}
	if left, err := client.DBSize(ctx).Result(); err != nil || left != 0 {
		t.Errorf("after FLUSHALL there are %d keys, %v", left, err)
	}
}

// Empty shards move to a joining node: the slot maps of clients are stale until a redirect.
func TestGoRedisFollowsShardsToANewNode(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nodes := openCluster(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	clients := map[string]redis.UniversalClient{}
	for _, protocol := range []int{2, 3} {
		for _, what := range []string{"singly", "in a pipeline", "in a transaction"} {
			c := goRedisCluster(t, nodes[0], protocol)
			if err := c.Do(ctx, "NP.GET", "none").Err(); !errors.Is(err, redis.Nil) { // the client reads its map
				t.Fatal(err)
			}
			clients[fmt.Sprintf("RESP%d %s", protocol, what)] = c
		}
	}
	third := joinCluster(t, nodes)
	nodes = append(nodes, third)
	awaitTopology(t, nodes, asAssigned)
	if n := redirects(t, nodes); n != 0 {
		t.Errorf("%d redirects before anything was asked", n)
	}
	key, seen := keysOf(t, third, 1)[0], 0
	for name, client := range clients {
		set := func(p redis.Pipeliner) error {
			p.Do(ctx, "NP.SET", key, array)
			p.Do(ctx, "NP.DTYPE", key)
			return nil
		}
		var err error
		switch {
		case strings.HasSuffix(name, "singly"):
			err = client.Do(ctx, "NP.SET", key, array).Err()
		case strings.HasSuffix(name, "pipeline"):
			_, err = client.Pipelined(ctx, set)
		default:
			_, err = client.TxPipelined(ctx, set)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		now := redirects(t, nodes)
		if now == seen {
			t.Errorf("%s was not redirected: its map was not stale", name)
		}
		seen = now
		if got, err := client.Do(ctx, "NP.GET", key).Text(); err != nil || got != array {
			t.Errorf("%s: NP.GET: %q, %v", name, got, err)
		}
		if deleted, err := client.Del(ctx, key).Result(); err != nil || deleted != 1 {
			t.Errorf("%s: DEL: %d, %v", name, deleted, err)
		}
	}
}
