package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/loadtest"
)

// client returns a client of all running nodes.
func (f *fleet) client(r *rand.Rand) *redis.ClusterClient {
	var addrs []string
	for _, n := range f.alive() {
		addrs = append(addrs, n.ClientAddrs()[0].String())
	}
	r.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: 4, ReadTimeout: 20 * time.Second, DialTimeout: time.Second, PoolSize: 4})
}

// TestHandover lets nodes join, leave and restart, and stops the leader in between, while clients fill and empty
// shards: no shard has two primaries, every read returns the last acknowledged write, and at the end everything is
// served as it was written.
func TestHandover(t *testing.T) {
	quiet()
	count := rounds(4, 2)
	if text := os.Getenv("NDRING_HANDOVER_ROUNDS"); text != "" {
		fmt.Sscan(text, &count)
	}
	seed := rand.Uint64()
	if text := os.Getenv("NDRING_HANDOVER_SEED"); text != "" {
		fmt.Sscan(text, &seed)
	}
	t.Logf("seed %d", seed)
	before := runtime.NumGoroutine()
	var logged bytes.Buffer
	log := &locked{w: &logged}
	r := rand.New(rand.NewPCG(seed, 0))
	f := &fleet{t: t, r: r, dir: t.TempDir(), shards: 16 << r.IntN(3), nodes: map[string]*Node{}, log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	defer func() {
		if t.Failed() && os.Getenv("NDRING_HANDOVER_LOG") != "" {
			t.Log(log.String())
		}
	}()
	defer func() {
		for _, name := range f.names() {
			f.stop(name)
		}
	}()
	f.must(f.start(3, "a", "b", "c"))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &loadtest.Load{Client: f.client}
	var group sync.WaitGroup
	failed := make(chan error, 20)
	run := func(what func(context.Context) error) {
		group.Go(func() {
			if err := what(ctx); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	for i := range 3 {
		run(func(ctx context.Context) error { return l.Write(ctx, i, rand.New(rand.NewPCG(seed, uint64(1+i)))) })
		run(func(ctx context.Context) error { return l.Read(ctx, rand.New(rand.NewPCG(seed, uint64(100+i)))) })
	}
	run(f.watch)
	for round := 0; round < count && ctx.Err() == nil; round++ {
		f.round(l, round)
		time.Sleep(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
	}
	cancel()
	group.Wait()
	select {
	case err := <-failed:
		t.Fatalf("seed %d: %v", seed, err)
	default:
	}
	f.eventually("each shard is served by one node", f.served)
	c := f.client(r)
	for _, err := range l.Verify(t.Context(), c) {
		t.Errorf("seed %d: at the end: %v", seed, err)
	}
	c.Close()
	t.Logf("%d shards, %d acknowledged writes, %d reads, %d tries failed", f.shards, l.Acks.Load(), l.Reads.Load(), l.Tries.Load())
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("seed %d: an error was logged: %s", seed, firstLine(log.String(), "level=ERROR"))
	}
	for _, name := range f.names() {
		f.stop(name)
	}
	f.eventually("the goroutines of the nodes end", func() bool { return runtime.NumGoroutine() <= before+5 })
}

// round changes the cluster, and returns when all shards are served again.
func (f *fleet) round(l *loadtest.Load, round int) {
	f.t.Helper()
	names := f.names()
	done := func() {}
	if f.r.IntN(3) > 0 {
		done = f.haltLeader()
	}
	switch {
	case len(names) == 3: // one joins, with an empty folder or the one that it left with
		name := slices.DeleteFunc([]string{"a", "b", "c", "d"}, func(n string) bool { return slices.Contains(names, n) })[0]
		wiped := f.r.IntN(2) == 0
		if wiped {
			os.RemoveAll(filepath.Join(f.dir, name))
		}
		f.t.Logf("round %d: %s joins; wiped: %v", round, name, wiped)
		l.Drain.Store(f.r.IntN(2) == 0)
		f.must(f.start(0, name))
	case f.r.IntN(3) > 0:
		f.leave(l, round, names[f.r.IntN(len(names))], done)
	default:
		name := names[f.r.IntN(len(names))]
		done()
		f.t.Logf("round %d: %s restarts", round, name)
		f.stop(name)
		f.must(f.start(0, name))
	}
	done()
	l.Drain.Store(false)
	f.eventually("all shards are served", f.served)
}

// leave removes a node from the cluster once its shards are empty.
func (f *fleet) leave(l *loadtest.Load, round int, name string, done func()) {
	f.t.Helper()
	f.t.Logf("round %d: %s leaves", round, name)
	l.Drain.Store(true)
	var id topology.NodeID
	f.eventually(name+" leaves", func() bool {
		n := f.alive()[name]
		if n == nil { // it was the leader and was stopped
			return false
		}
		id = n.Self()
		c := redis.NewClient(&redis.Options{Addr: n.ClientAddrs()[0].String()})
		defer c.Close()
		return c.Do(f.t.Context(), "CLUSTER", "LEAVE").Err() == nil
	})
	done() // keys of a leader that is down cannot be deleted
	f.eventually(name+" is forgotten", func() bool {
		for at, n := range f.alive() {
			if _, known := n.Topology().Node(id); at != name && len(n.Topology().Nodes) > 0 && !known {
				return true
			}
		}
		return false
	})
	f.stop(name)
}
