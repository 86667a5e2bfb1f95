//go:build faults

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	clusterview "github.com/ndring/ndring/cluster/view"
)

// copiesCluster is a cluster of processes whose shards have two copies.
type copiesCluster struct {
	t       *testing.T
	r       *rand.Rand
	network *network // nil if the nodes share 127.0.0.1
	flaw    string   // the rules that the nodes leave out; "" for none
	dir     string
	addrs   []string
	args    [][]string
	procs   []*process // nil while a node is down
	all     []*process // every one that was started: the logs of those that have ended count, too
	count   map[string]int
}

// builtWithFlaws is the ndring program that leaves out the rules that NDRING_FLAW names.
var builtWithFlaws = sync.OnceValues(func() (path string, err error) {
	if path, err = built(); err != nil { // it makes the folder
		return "", err
	}
	path += "-with-flaws"
	if out, err := exec.Command("go", "build", "-tags", "flaws", "-o", path, "../../cmd/node").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// freePorts returns ports that are free now. They are below those that the system gives to outgoing connections, so that a process that is
// started again finds its ports free.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range 10000 {
		port := strconv.Itoa(int(nextPort.Add(1))%10000 + 20000)
		tcp, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		defer tcp.Close()
		udp, err := net.ListenPacket("udp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		defer udp.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatalf("no %d ports are free", n)
	return nil
}

// nextPort makes tests that run at the same time take different ports. It begins anywhere, because other processes may run tests, too.
var nextPort = func() *atomic.Int64 {
	first := new(atomic.Int64)
	first.Store(rand.Int64N(10000))
	return first
}()

// newCopiesCluster starts a cluster of nodes and waits until it is healthy.
func newCopiesCluster(t *testing.T, r *rand.Rand, nodes int, args ...string) *copiesCluster {
	c := &copiesCluster{t: t, r: r}
	c.open(nodes, args...)
	return c
}

// open starts the nodes, each in a namespace of the network if there is one, and waits until the cluster is healthy.
func (c *copiesCluster) open(nodes int, args ...string) {
	c.t.Helper()
	c.dir, c.procs, c.count = c.t.TempDir(), make([]*process, nodes), map[string]int{}
	var seeds []string
	for _, at := range c.listen(nodes) {
		c.addrs = append(c.addrs, at.client)
		c.args = append(c.args, at.args)
		seeds = append(seeds, at.gossip)
	}
	for i := range nodes {
		c.args[i] = append(append(c.args[i], "--node-id", "n"+strconv.Itoa(i), "--dir", filepath.Join(c.dir, strconv.Itoa(i)),
			"--join", strings.Join(seeds, ","), "--bootstrap-expect", strconv.Itoa(nodes), "--shards", "32"), args...)
		c.start(i)
	}
	c.awaitCopies()
}

// listenAt is where a node listens, and what tells it so.
type listenAt struct {
	client, gossip string
	args           []string
}

// listen returns where each node listens.
func (c *copiesCluster) listen(nodes int) (all []listenAt) {
	if c.network != nil {
		for i := range nodes {
			at := c.network.address(i + 1)
			all = append(all, listenAt{at + ":7379", at, []string{"--bind", at, "--port", "7379", "--protected-mode", "no", "--insecure"}})
		}
		return all
	}
	ports := freePorts(c.t, 4*nodes)
	for i := range nodes {
		p := ports[4*i:]
		all = append(all, listenAt{"127.0.0.1:" + p[0], "127.0.0.1:" + p[2],
			[]string{"--port", p[0], "--bus-port", p[1], "--gossip-port", p[2], "--http-port", p[3]}})
	}
	return all
}

// start starts a node that is down.
func (c *copiesCluster) start(i int) {
	c.t.Helper()
	program := built
	if c.flaw != "" {
		program = builtWithFlaws
	}
	path, err := program()
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	c.t.Cleanup(cancel)
	command := append([]string{path}, c.args[i]...)
	if c.network != nil { // ip becomes the program, so signals reach it
		command = append([]string{"ip", "netns", "exec", c.network.node(i + 1)}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NDRING_FLAW=" + c.flaw}
	c.procs[i] = launch(c.t, cmd)
	c.all = append(c.all, c.procs[i])
}

func (c *copiesCluster) kill(i int) {
	c.t.Helper()
	if p := c.procs[i]; p != nil {
		p.cmd.Process.Kill()
		p.awaitExit(c.t)
		c.procs[i] = nil
	}
}

// healthy reports whether each shard has a primary and two clean copies in the ISR, as every node but those of a list sees it.
func (c *copiesCluster) healthy(ctx context.Context, but ...int) error {
	for i, addr := range c.addrs {
		if slices.Contains(but, i) {
			continue
		}
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
			c.t.Fatalf("the copies are not in sync: %v", err)
		}
	}
}

// awaitQuiet waits until the cluster has been healthy for a while: until then a primary may be about to remove a copy that was away,
// and the loss of its disk would be a second failure at the same time.
func (c *copiesCluster) awaitQuiet() {
	c.t.Helper()
	for quiet := time.Now(); time.Since(quiet) < 2*time.Second; time.Sleep(50 * time.Millisecond) {
		if c.healthy(c.t.Context()) != nil {
			c.awaitCopies()
			quiet = time.Now()
		}
	}
}

// crash kills a node while each shard has two clean copies in the ISR, so that the crash may lose nothing even if it takes the
// node's data with it. On a busy machine a primary may remove a copy at any time. So the node is stopped first, for less time than
// the others need to act on it, and it goes on if they see then that it has just removed one.
func (c *copiesCluster) crash(i int) {
	c.t.Helper()
	for {
		c.awaitQuiet()
		c.procs[i].cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(100 * time.Millisecond)
		if c.healthy(c.t.Context(), i) == nil {
			c.kill(i)
			return
		}
		c.procs[i].cmd.Process.Signal(syscall.SIGCONT)
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (c *copiesCluster) pause(limit time.Duration) {
	time.Sleep(time.Duration(c.r.Int64N(int64(limit))))
}
