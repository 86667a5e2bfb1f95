package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// array is what np.save writes for np.arange(4, dtype="<i2").
const array = "\x93NUMPY\x01\x00\x46\x00{'descr': '<i2', 'fortran_order': False, 'shape': (4,), }            \n\x00\x00\x01\x00\x02\x00\x03\x00"

// openNode runs a node within the test.
func openNode(t *testing.T, args ...string) *Node {
	t.Helper()
	n := newNode(t, args...)
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	if err := n.Open(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

// newNode makes a node that is closed with the test.
func newNode(t *testing.T, args ...string) *Node {
	t.Helper()
	config, err := ParseConfig(append([]string{"--port", "0", "--http-port", "0", "--node-id", t.Name(), "--dir", t.TempDir()}, args...), environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	n := New(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	t.Cleanup(func() {
		if err := n.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestGoRedis(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	address := n.ClientAddrs()[0].String()
	for name, client := range map[string]redis.UniversalClient{
		"Client":              redis.NewClient(&redis.Options{Addr: address}),
		"Client RESP2":        redis.NewClient(&redis.Options{Addr: address, Protocol: 2}),
		"ClusterClient":       redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{address}}),
		"ClusterClient RESP2": redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{address}, Protocol: 2}),
	} {
		t.Run(name, func(t *testing.T) {
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
			defer cancel()
			if reply, err := client.Do(ctx, "NP.SET", name, array, "PX", 60_000).Result(); err != nil || reply != "OK" {
				t.Fatalf("NP.SET: %v, %v", reply, err)
			}
			if got, err := client.Do(ctx, "NP.GET", name).Text(); err != nil || got != array {
				t.Fatalf("NP.GET: %q, %v", got, err)
			}
			if shape, err := client.Do(ctx, "NP.SHAPE", name).Int64Slice(); err != nil || len(shape) != 1 || shape[0] != 4 {
				t.Errorf("NP.SHAPE: %v, %v", shape, err)
			}
			if err := client.Do(ctx, "NP.GET", "none").Err(); !errors.Is(err, redis.Nil) {
				t.Errorf("NP.GET of nothing: %v", err)
			}
			if err := client.Do(ctx, "NP.SET", name, "garbage").Err(); err == nil || !strings.HasPrefix(err.Error(), "BADNPY ") {
				t.Errorf("NP.SET of garbage: %v", err)
			}
			if ttl, err := client.PTTL(ctx, name).Result(); err != nil || ttl <= 0 || ttl > time.Minute {
				t.Errorf("PTTL: %v, %v", ttl, err)
			}
			replies, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range 100 {
					p.Do(ctx, "NP.GET", name)
				}
				return nil
			})
			if err != nil || len(replies) != 100 {
				t.Fatalf("a pipeline: %d replies, %v", len(replies), err)
			}
			for _, r := range replies {
				if got, err := r.(*redis.Cmd).Text(); err != nil || got != array {
					t.Fatalf("in a pipeline: %q, %v", got, err)
				}
			}
			testGoTransactions(ctx, t, client, name)
			if deleted, err := client.Del(ctx, name).Result(); err != nil || deleted != 1 {
				t.Errorf("DEL: %d, %v", deleted, err)
			}
		})
	}
}

// testGoTransactions sends transactions with and without WATCH; key exists.
func testGoTransactions(ctx context.Context, t *testing.T, client redis.UniversalClient, key string) {
	t.Helper()
	replies, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Do(ctx, "NP.GET", key)
		p.Expire(ctx, key, time.Hour)
		p.Do(ctx, "NP.SHAPE", key)
		return nil
	})
	if err != nil || len(replies) != 3 {
		t.Fatalf("a transaction: %v, %v", replies, err)
	}
	if got, err := replies[0].(*redis.Cmd).Text(); err != nil || got != array {
		t.Errorf("NP.GET in a transaction: %q, %v", got, err)
	}
	for _, interfere := range []bool{false, true} {
		err := client.Watch(ctx, func(tx *redis.Tx) error {
			if interfere {
				if err := client.Do(ctx, "NP.SET", key, array).Err(); err != nil {
					return err
				}
			}
			_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Persist(ctx, key).Err() })
			return err
		}, key)
		if interfere != errors.Is(err, redis.TxFailedErr) || !interfere && err != nil {
			t.Errorf("WATCH, and another writes: %v, got %v", interfere, err)
		}
	}
}

func TestListenersAnnounceTheirOwnAddresses(t *testing.T) {
	t.Parallel()
	n := openNode(t, "--listen", "inside=127.0.0.1:0,announce=node1:7379", "--listen", "host=127.0.0.1:0")
	slots := func(i int) string {
		client := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[i].String()})
		defer client.Close()
		rows, err := client.Do(t.Context(), "CLUSTER", "SLOTS").Slice()
		if err != nil || len(rows) != 1 {
			t.Fatalf("CLUSTER SLOTS: %v, %v", rows, err)
		}
		primary := rows[0].([]any)[2].([]any)
		return fmt.Sprintf("%v:%v", primary[0], primary[1])
	}
	if got := slots(0); got != "node1:7379" {
		t.Errorf("inside is announced as %s", got)
	}
	if got, want := slots(1), n.ClientAddrs()[1].String(); got != want {
		t.Errorf("host is announced as %s, want %s", got, want)
	}
}

func TestReadyOnlyWhileItServes(t *testing.T) {
	t.Parallel()
	n := openNode(t)
	if code, _ := httpGet(t, "http://"+n.HTTPAddr().String()+"/readyz"); code != 200 {
		t.Errorf("a node that serves answers %d", code)
	}
	n.ready.Store(false)
	if code, _ := httpGet(t, "http://"+n.HTTPAddr().String()+"/readyz"); code != 503 {
		t.Errorf("a node that does not serve answers %d", code)
	}
	if code, _ := httpGet(t, "http://"+n.HTTPAddr().String()+"/healthz"); code != 200 {
		t.Errorf("a live process answers %d", code)
	}
	if err := New(n.config, n.log, n.effective.level).Close(t.Context()); err != nil {
		t.Errorf("closing a node that was never opened: %v", err)
	}
}

// Versions of a node without a log must not repeat after a restart.
func TestVersionsGoUpAcrossStarts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	version := func(n *Node) string {
		client := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[0].String()})
		defer client.Close()
		v, err := client.Do(ctx, "NP.SET", "k", array, "WITHVERSION").Text()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first := openNode(t)
	before := version(first)
	if err := first.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if after := version(openNode(t)); after <= before || len(after) != len(before) {
		t.Errorf("version %s after %s", after, before)
	}
}
