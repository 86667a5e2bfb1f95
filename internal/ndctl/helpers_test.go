package ndctl

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/internal/node"
)

// patience bounds how long a test waits for something that takes a cluster seconds.
const patience = time.Minute

// testCluster is a cluster of nodes in this process, with the names n1, n2 and so on.
type testCluster struct {
	t     *testing.T
	dir   string
	args  []string
	nodes []*node.Node               // nil for a stopped node
	ports []string                   // client addresses
	own   func(name string) []string // flags of a node of its own; nil for none
}

// startCluster starts nodes with the flags args and returns when all of them serve.
func startCluster(t *testing.T, count int, args ...string) *testCluster {
	t.Helper()
	return startClusterWith(t, nil, count, args...)
}

// startClusterWith does the same, and gives ndctl an environment.
func startClusterWith(t *testing.T, env []string, count int, args ...string) *testCluster {
	t.Helper()
	return startClusterOf(t, env, count, nil, args...)
}

// startClusterOf does the same, and gives each node flags of its own.
func startClusterOf(t *testing.T, env []string, count int, own func(name string) []string, args ...string) *testCluster {
	t.Helper()
	redis.SetLogger(silence{})
	c := &testCluster{t: t, dir: t.TempDir(), args: args, own: own, nodes: make([]*node.Node, count), ports: make([]string, count)}
	for i := range c.nodes {
		c.launch(i, "--bootstrap-expect", strconv.Itoa(count))
	}
	for i := range c.nodes {
		c.ready(i)
	}
	c.eventually("the cluster is healthy", func() string {
		r := c.run(c.env(env...), "status")
		return r.out + r.err
	}, func(got string) bool {
		return strings.Contains(got, "health     ok") && strings.Contains(got, fmt.Sprintf("%d of %[1]d up", count))
	})
	return c
}

func (c *testCluster) folder(i int) string { return filepath.Join(c.dir, fmt.Sprintf("n%d", i+1)) }

// launch starts a node on its folder and returns when others can reach it.
func (c *testCluster) launch(i int, args ...string) {
	c.t.Helper()
	name := fmt.Sprintf("n%d", i+1)
	all := append([]string{"--bind", "127.0.0.1", "--port", "0", "--http-port", "0", "--shards", "16", "--node-id", name, "--dir", c.folder(i), "--join", "127.0.0.1:9"}, c.args...)
	for _, n := range c.nodes {
		if n != nil {
			all = append(all, "--join", n.GossipAddr())
		}
	}
	if c.own != nil {
		all = append(all, c.own(name)...)
	}
	config, err := node.ParseConfig(append(all, args...), func(string) (string, bool) { return "", false }, "1.2.3-test")
	if err != nil {
		c.t.Fatal(err)
	}
	config.Cluster.SetTiming(cluster.Timing{Heartbeat: time.Second, Lease: 800 * time.Millisecond, Probe: time.Second})
	n := node.New(*config, slog.New(slog.DiscardHandler), new(slog.LevelVar))
	if err := n.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.nodes[i], c.ports[i] = n, n.ClientAddrs()[0].String()
	c.t.Cleanup(func() { c.stop(i) })
}

// ready waits until a node serves.
func (c *testCluster) ready(i int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.nodes[i].Ready(ctx); err != nil {
		c.t.Fatal(err)
	}
}

// stop stops a node.
func (c *testCluster) stop(i int) {
	n := c.nodes[i]
	if n == nil {
		return
	}
	c.nodes[i] = nil
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		c.t.Errorf("n%d does not stop cleanly: %v", i+1, err)
	}
}

// env returns an environment with the address of the first running node.
func (c *testCluster) env(more ...string) map[string]string {
	env := map[string]string{}
	for i, n := range c.nodes {
		if n != nil && env["NDRING_ADDR"] == "" {
			env["NDRING_ADDR"] = c.ports[i]
		}
	}
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	return env
}

// result is what a run wrote, and its exit code.
type result struct {
	out, err string
	code     int
}

func (c *testCluster) run(env map[string]string, args ...string) result {
	return runWith(c.t, env, "", args...)
}

// lookup returns an environment with the variables in env.
func lookup(env map[string]string) environment {
	return func(name string) (string, bool) { v, ok := env[name]; return v, ok }
}

// emptyApp returns a run that reads nothing and writes nowhere.
func emptyApp() *app {
	return newApp("ndctl", "", strings.NewReader(""), io.Discard, io.Discard, lookup(nil))
}

// runWith runs the program with an environment and standard input.
func runWith(t *testing.T, env map[string]string, stdin string, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	a := newApp("ndctl", "1.2.3-test", strings.NewReader(stdin), &out, &err, lookup(env))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	code := a.run(ctx, args)
	return result{out.String(), err.String(), code}
}

var (
	blanks = regexp.MustCompile(`[ \t]+`)
	sizes  = regexp.MustCompile(`\d+(\.\d)? (B|[KMGT]iB)\b`)
	times  = regexp.MustCompile(`\b(\d+d)?(\d+h)?(\d+m)?\d+s\b`)
	epochs = regexp.MustCompile(`\b17\d{11}\b|\b18\d{11}\b`)
	hashes = regexp.MustCompile(`\b[0-9a-f]{32}\b`)
)

// plainly replaces what differs from run to run by its kind, such as SIZE, and sets columns one
// blank apart.
func (c *testCluster) plainly(text string) string {
	for i, at := range c.ports {
		text = strings.ReplaceAll(text, at, fmt.Sprintf("@n%d", i+1))
	}
	for _, r := range []struct {
		from *regexp.Regexp
		to   string
	}{{sizes, "SIZE"}, {epochs, "EPOCH"}, {times, "TIME"}, {hashes, "UUID"}, {blanks, " "}} {
		text = r.from.ReplaceAllString(text, r.to)
	}
	return text
}

// eventually waits until what see returns is wanted.
func (c *testCluster) eventually(what string, see func() string, wanted func(string) bool) {
	c.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = see(); wanted(last) {
			return
		}
	}
	c.t.Fatalf("timed out waiting until %s; instead:\n%s", what, last)
}

// npyOf returns a .npy file with n float64.
func npyOf(n int) string {
	head := fmt.Sprintf("{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }", n)
	head += strings.Repeat(" ", 127-10-len(head)) + "\n"
	b := append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), 0)
	b = append(b, head...)
	for i := range n {
		b = binary.LittleEndian.AppendUint64(b, uint64(i)*0x9e3779b97f4a7c15)
	}
	return string(b)
}

// file writes a file for the test and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// matches reports whether a text contains all parts. A part that begins with ! it must not contain.
func matches(text string, parts ...string) bool {
	for _, p := range parts {
		if part, not := strings.CutPrefix(p, "!"); not == strings.Contains(text, part) {
			return false
		}
	}
	return true
}
