package node

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fleet is a cluster in this process whose nodes join, leave and restart.
type fleet struct {
	t      *testing.T
	r      *rand.Rand
	dir    string
	shards int
	log    *slog.Logger

	mu    sync.Mutex // guards nodes
	nodes map[string]*Node
}

// alive returns the nodes by name.
func (f *fleet) alive() map[string]*Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.nodes)
}

func (f *fleet) names() []string { return slices.Sorted(maps.Keys(f.alive())) }

// start starts nodes, and returns when they serve. Expect is the number of nodes that bootstrap the cluster, 0 for
// those that join.
func (f *fleet) start(expect int, names ...string) error {
	started := make([]*Node, len(names))
	for i, name := range names {
		args := []string{
			"--port", "0", "--http-port", "0", "--node-id", name, "--dir", filepath.Join(f.dir, name), "--shards", strconv.Itoa(f.shards),
			"--bootstrap-expect", strconv.Itoa(expect), "--join", "127.0.0.1:9",
		}
		for _, n := range f.alive() {
			host, port := n.cluster.GossipAddress()
			args = append(args, "--join", net.JoinHostPort(host, strconv.Itoa(port)))
		}
		config, err := ParseConfig(args, environment(), "test")
		if err != nil {
			return err
		}
		n := New(*config, f.log.With("at", name), new(slog.LevelVar))
		if err := n.Start(f.t.Context()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		started[i] = n
		f.mu.Lock()
		f.nodes[name] = n
		f.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), clusterTime)
	defer cancel()
	for i, n := range started {
		if err := n.Ready(ctx); err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return nil
}

// must fails the test on an error.
func (f *fleet) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// stop stops a node in an orderly way.
func (f *fleet) stop(name string) {
	f.t.Helper()
	f.mu.Lock()
	n := f.nodes[name]
	delete(f.nodes, name)
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		f.t.Errorf("%s does not stop cleanly: %v", name, err)
	}
}

// leader returns the name of the leader, or an empty string.
func (f *fleet) leader() string {
	for name, n := range f.alive() {
		if n.view.Status().Leader == n.Self() {
			return name
		}
	}
	return ""
}

// haltLeader stops the current leader a few moments from now, and restarts it a little later.
func (f *fleet) haltLeader() (done func()) {
	wait, pause := time.Duration(f.r.Int64N(int64(2*time.Second))), time.Duration(f.r.Int64N(int64(time.Second)))
	ended := make(chan error, 1)
	go func() {
		time.Sleep(wait)
		name := f.leader()
		if name == "" {
			ended <- nil
			return
		}
		f.stop(name)
		f.t.Logf("the leader, %s, was stopped after %v", name, wait)
		time.Sleep(pause)
		ended <- f.start(0, name)
	}()
	result := sync.OnceValue(func() error { return <-ended })
	return func() {
		f.t.Helper()
		f.must(result())
	}
}

// eventually waits for a condition.
func (f *fleet) eventually(what string, is func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			for name, n := range f.alive() {
				f.t.Logf("%s: %+v, topology %d of %d nodes", name, n.view.Status(), n.Topology().Index, len(n.Topology().Nodes))
			}
			f.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// served reports whether all shards are served, and all nodes know their primaries.
func (f *fleet) served() bool {
	nodes := f.alive()
	for i := range f.shards {
		open := 0
		for _, n := range nodes {
			row := n.Topology().Shards
			if len(row) != f.shards {
				return false
			}
			if n.store.Shard(i).Serving() {
				open++
			}
			for _, o := range nodes {
				if (row[i].Primary == o.Self()) != o.store.Shard(i).Serving() {
					return false
				}
			}
		}
		if open != 1 {
			return false
		}
	}
	return true
}

// watch fails if two nodes serve one shard at the same time.
func (f *fleet) watch(ctx context.Context) error {
	for ctx.Err() == nil {
		nodes := f.alive()
		for i := range f.shards {
			for a, n := range nodes {
				first := n.store.Shard(i)
				epoch := first.Epoch()
				if !first.Serving() {
					continue
				}
				for b, o := range nodes {
					if second := o.store.Shard(i); b != a && second.Serving() && first.Serving() && first.Epoch() == epoch && second.Serving() {
						return fmt.Errorf("shard %d is served by %s in epoch %d and by %s in epoch %d", i, a, epoch, b, second.Epoch())
					}
				}
			}
		}
		time.Sleep(100 * time.Microsecond)
	}
	return nil
}

// locked is a writer for concurrent use.
type locked struct {
	mu sync.Mutex // guards w
	w  *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.String()
}

func firstLine(text, with string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, with) {
			return line
		}
	}
	return ""
}
