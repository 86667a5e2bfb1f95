package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	clusterview "github.com/ndring/ndring/cluster/view"
	"github.com/ndring/ndring/internal/loadtest"
)

// arrays are the arrays that a cluster must have: bytes by key.
type arrays map[string]string

// someArrays makes arrays whose keys are in many slots.
func someArrays(n int) arrays { return arraysCalled("array", n) }

func arraysCalled(name string, n int) arrays {
	all := arrays{}
	for i := range n {
		all[fmt.Sprintf("%s %d", name, i)] = npyOf(uint64(i), 1+i*37%5000)
	}
	return all
}

// told returns what a member says of the cluster; zero if it does not answer.
func (m *member) told() (told clusterview.Cluster) {
	json.Unmarshal([]byte(m.says("CLUSTER", "TOPOLOGY")), &told)
	return told
}

// haveCopies waits until each shard has two clean copies in its ISR, as every member knows.
func haveCopies(t *testing.T, all ...*member) {
	t.Helper()
	eventually(t, "each shard has two copies", all, func() string {
		for _, m := range all {
			told := m.told()
			for id, s := range told.Shards {
				if s.Primary == "" || len(s.InSync) != 2 || len(s.Unclean) > 0 {
					return fmt.Sprintf("%s: shard %d has primary %q, copies %v, of which unclean %v", m.name, id, s.Primary, s.InSync, s.Unclean)
				}
			}
			if len(told.Shards) == 0 {
				return m.name + " knows no shards"
			}
		}
		return ""
	})
}

// atHome waits until the copies of each shard are where they are assigned, as every member knows: then none moves.
func atHome(t *testing.T, all ...*member) {
	t.Helper()
	eventually(t, "all copies are where they are assigned", all, func() string {
		for _, m := range all {
			told := m.told()
			for id, s := range told.Shards {
				if len(s.Assigned) == 0 || s.Primary != s.Assigned[0] || len(s.InSync) != len(s.Assigned) {
					return fmt.Sprintf("%s: shard %d has primary %q, copies %v, assigned %v", m.name, id, s.Primary, s.InSync, s.Assigned)
				}
			}
			if len(told.Shards) == 0 {
				return m.name + " knows no shards"
			}
		}
		return ""
	})
}

// clusterClient is a client as applications set it up.
func clusterClient(t *testing.T, all ...*member) *redis.ClusterClient {
	quiet()
	options := &redis.ClusterOptions{MaxRedirects: 16, ReadTimeout: 20 * time.Second}
	for _, m := range all {
		options.Addrs = append(options.Addrs, m.client())
	}
	c := redis.NewClusterClient(options)
	t.Cleanup(func() { c.Close() })
	return c
}

func (a arrays) store(t *testing.T, c redis.UniversalClient) {
	t.Helper()
	for key, npy := range a {
		if err := c.Do(t.Context(), "NP.SET", key, npy).Err(); err != nil {
			t.Fatalf("storing %s: %v", key, err)
		}
	}
}

// check reads all of them.
func (a arrays) check(ctx context.Context, c redis.UniversalClient) error {
	for key, npy := range a {
		if got, err := c.Do(ctx, "NP.GET", key).Text(); err != nil {
			return fmt.Errorf("reading %s: %w", key, err)
		} else if got != npy {
			return fmt.Errorf("%s has other bytes", key)
		}
	}
	return nil
}

// readable fails the test unless the cluster has all arrays, bit for bit.
func (a arrays) readable(t *testing.T, all ...*member) {
	t.Helper()
	if err := a.check(t.Context(), clusterClient(t, all...)); err != nil {
		t.Fatal(err)
	}
}

// serves checks that a cluster stores new arrays.
func serves(t *testing.T, all ...*member) {
	t.Helper()
	more := arraysCalled(fmt.Sprintf("served at %d", time.Now().UnixNano()), 60)
	more.store(t, clusterClient(t, all...))
	more.readable(t, all...)
}

// npyOf makes an array of n bytes that depend on an id.
func npyOf(id uint64, n int) string { return loadtest.Array(id, n) }

// leftOf returns the arrays that a cluster still has; none may have other bytes.
func (a arrays) leftOf(t *testing.T, all ...*member) arrays {
	t.Helper()
	c, left := clusterClient(t, all...), arrays{}
	for key, npy := range a {
		switch got, err := c.Do(t.Context(), "NP.GET", key).Text(); {
		case errors.Is(err, redis.Nil):
		case err != nil || got != npy:
			t.Fatalf("%s: %v", key, err)
		default:
			left[key] = npy
		}
	}
	return left
}
