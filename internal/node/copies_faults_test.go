//go:build faults

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	clusterview "github.com/ndring/ndring/cluster/view"
	"github.com/ndring/ndring/internal/loadtest"
)

// copiesCluster is a cluster of processes whose shards have two copies.
type copiesCluster struct {
	t     *testing.T
	r     *rand.Rand
	dir   string
	addrs []string
	args  [][]string
	procs []*process // nil while a node is down
	count map[string]int
}

// freePorts returns ports that were free a moment ago.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, portIn(l.Addr().String()))
	}
	return ports
}

func newCopiesCluster(t *testing.T, r *rand.Rand, nodes int, args ...string) *copiesCluster {
	c := &copiesCluster{t: t, r: r, dir: t.TempDir(), procs: make([]*process, nodes), count: map[string]int{}}
	ports := freePorts(t, 4*nodes)
	var seeds []string
	for i := range nodes {
		seeds = append(seeds, "127.0.0.1:"+ports[4*i+2])
	}
	for i := range nodes {
		p := ports[4*i:]
		c.addrs = append(c.addrs, "127.0.0.1:"+p[0])
		c.args = append(c.args, append([]string{"--node-id", "n" + strconv.Itoa(i), "--port", p[0], "--bus-port", p[1], "--gossip-port", p[2], "--http-port", p[3],
			"--dir", filepath.Join(c.dir, strconv.Itoa(i)), "--join", strings.Join(seeds, ","), "--bootstrap-expect", strconv.Itoa(nodes), "--shards", "32"}, args...))
	}
	for i := range nodes {
		c.start(i)
	}
	c.awaitCopies()
	return c
}

// start starts a node that is down.
func (c *copiesCluster) start(i int) {
	c.t.Helper()
	path, err := built()
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	c.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, c.args[i]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	c.procs[i] = launch(c.t, cmd)
}

func (c *copiesCluster) kill(i int) {
	c.t.Helper()
	if p := c.procs[i]; p != nil {
		p.cmd.Process.Kill()
		p.awaitExit(c.t)
		c.procs[i] = nil
	}
}

// healthy reports whether each shard has a primary and two clean copies in the ISR, as every node sees it.
func (c *copiesCluster) healthy(ctx context.Context) error {
	for i, addr := range c.addrs {
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, Protocol: 2})
		text, err := client.Do(ctx, "CLUSTER", "TOPOLOGY").Text()
		client.Close()
		if err != nil {
			return fmt.Errorf("n%d: %w", i, err)
		}
		var v clusterview.Cluster
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return err
		}
		for id, s := range v.Shards {
			if s.Primary == "" || len(s.InSync) < 2 || len(s.Unclean) > 0 {
				return fmt.Errorf("n%d: shard %d has primary %.8s, ISR %d, unclean %d", i, id, s.Primary, len(s.InSync), len(s.Unclean))
			}
		}
		if len(v.Shards) == 0 {
			return fmt.Errorf("n%d has no shards", i)
		}
	}
	return nil
}

// awaitCopies waits until the cluster is healthy.
func (c *copiesCluster) awaitCopies() {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(clusterTime); ; time.Sleep(20 * time.Millisecond) {
		if err = c.healthy(c.t.Context()); err == nil {
			return
		}
		if time.Now().After(deadline) {
			for i, p := range c.procs {
				if p != nil {
					c.t.Logf("n%d:\n%s", i, tail(p.logged(), 6000))
				}
			}
			c.t.Fatalf("the copies are not in step: %v", err)
		}
	}
}

// awaitQuiet waits until the cluster has been healthy for a while: until then a primary may be about to remove a copy that was away,
// and the loss of its disk would be a second failure at the same time.
func (c *copiesCluster) awaitQuiet() {
	for quiet := time.Now(); time.Since(quiet) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if c.healthy(c.t.Context()) != nil {
			c.awaitCopies()
			quiet = time.Now()
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (c *copiesCluster) pause(limit time.Duration) {
	time.Sleep(time.Duration(c.r.Int64N(int64(limit))))
}

// fault does one thing to the cluster. A single crash that takes a disk with it, and any number of kills, may lose nothing.
func (c *copiesCluster) fault() {
	i := c.r.IntN(len(c.procs))
	switch what := c.r.IntN(10); {
	case what < 4:
		c.count["kill"]++
		c.kill(i)
		c.pause(2500 * time.Millisecond)
		c.start(i)
	case what < 7:
		c.count["freeze"]++
		if p := c.procs[i]; p != nil {
			p.cmd.Process.Signal(syscall.SIGSTOP)
			c.pause(3 * time.Second)
			p.cmd.Process.Signal(syscall.SIGCONT)
		}
	case what < 8:
		c.count["all at once"]++
		for i := range c.procs {
			c.kill(i)
		}
		for _, i := range c.r.Perm(len(c.procs)) {
			c.start(i)
		}
	case what < 9:
		c.awaitQuiet()
		c.count["wipe"]++
		c.kill(i)
		if err := os.RemoveAll(filepath.Join(c.dir, strconv.Itoa(i))); err != nil {
			c.t.Fatal(err)
		}
		c.start(i)
		c.awaitCopies()
	default:
		c.count["stop"]++
		if p := c.procs[i]; p != nil {
			p.cmd.Process.Signal(syscall.SIGTERM)
			p.awaitExit(c.t)
			c.start(i)
		}
	}
	c.pause(time.Second)
}

// TestKillCopies kills, freezes, stops and wipes nodes whose shards have two copies, one at a time and all at once, under a
// load of many writers of few keys. No acknowledged write is lost, no read is stale, no deleted key comes back.
func TestKillCopies(t *testing.T) {
	runs, span := 1, 20*time.Second
	if text := os.Getenv("NDRING_COPIES_RUNS"); text != "" {
		fmt.Sscan(text, &runs)
	}
	if text := os.Getenv("NDRING_COPIES_TIME"); text != "" {
		span, _ = time.ParseDuration(text)
	}
	for run := range runs {
		seed := rand.Uint64()
		if text := os.Getenv("NDRING_COPIES_SEED"); text != "" {
			fmt.Sscan(text, &seed)
		}
		t.Run(fmt.Sprint("run ", run), func(t *testing.T) {
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 1))
			c := newCopiesCluster(t, r, 3+2*(run%2))
			h := &loadtest.Histories{Addrs: c.addrs, Seed: seed, Folder: os.Getenv("NDRING_HISTORIES")}
			ctx, cancel := context.WithTimeout(t.Context(), span)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- h.Run(ctx) }()
			for ctx.Err() == nil && len(ended) == 0 {
				c.fault()
			}
			cancel()
			err := <-ended
			if !errors.Is(err, loadtest.ErrViolation) {
				c.awaitCopies()
				err = errors.Join(err, h.FinalReads(t.Context()))
				c.sameCopies()
			}
			if n := c.differed(); n > 0 {
				t.Errorf("seed %d: copies differed %d times", seed, n)
			}
			report := h.Check()
			t.Logf("%v\n%s", c.count, report.String())
			if err := errors.Join(err, report.Err()); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
}
