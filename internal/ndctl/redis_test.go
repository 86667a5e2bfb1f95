package ndctl

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis runs a redis-server on a Unix socket and returns its URL and a client.
func startRedis(t *testing.T, args ...string) (url string, c *redis.Client) {
	t.Helper()
	c = redisOn(t, append([]string{"--port", "0"}, args...)...)
	return "unix://" + c.Options().Addr, c
}

// redisOn runs a redis-server with flags until the test ends, and returns a client that uses its
// Unix socket.
func redisOn(t *testing.T, flags ...string) *redis.Client {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed")
	}
	dir, err := os.MkdirTemp("", "ndctl") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	var log bytes.Buffer
	cmd := exec.Command(program, append([]string{"--unixsocket", socket, "--save", "", "--dir", dir}, flags...)...)
	cmd.Stdout = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait() // fails, because the process is killed
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
	})
	redis.SetLogger(silence{})
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { c.Close() })
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if err := c.Ping(t.Context()).Err(); err == nil || rightsHint(err) != "" {
			return c
		}
		ended := time.Now().After(deadline)
		select {
		case <-exited:
			ended = true
		default:
		}
		if ended {
			cmd.Process.Kill()
			<-exited
			t.Fatalf("redis-server is not ready: %s", &log)
		}
	}
}

var hosts atomic.Uint32

// freeAddress returns a loopback address that no other process uses (all of 127/8 is loopback) and
// two free ports on it.
func freeAddress(t *testing.T) (host, port, second string) {
	t.Helper()
	n := hosts.Add(1)
	host = net.IPv4(127, byte(1+os.Getpid()%250), byte(n>>8), byte(n)).String()
	var ports []string
	for range 2 {
		socket, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close() // after both are chosen
		ports = append(ports, strconv.Itoa(socket.Addr().(*net.TCPAddr).Port))
	}
	return host, ports[0], ports[1]
}

// redisNode is a node of a Redis Cluster.
type redisNode struct {
	*redis.Client
	host, port, bus string
}

func (n redisNode) addr() string { return net.JoinHostPort(n.host, n.port) }
func (n redisNode) url() string  { return "redis://" + n.addr() }

// startRedisCluster runs three nodes that know each other. The first owners of them share the slots
// from 0 to last.
func startRedisCluster(t *testing.T, owners, last int) (nodes []redisNode) {
	t.Helper()
	for range 3 {
		n := redisNode{}
		n.host, n.port, n.bus = freeAddress(t)
		n.Client = redisOn(t, "--port", n.port, "--bind", n.host, "--cluster-announce-ip", n.host, "--cluster-enabled", "yes", "--cluster-port", n.bus, "--cluster-require-full-coverage", "no")
		nodes = append(nodes, n)
	}
	ctx := t.Context()
	for i := range owners {
		if err := nodes[i].ClusterAddSlotsRange(ctx, i*(last+1)/owners, (i+1)*(last+1)/owners-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := nodes[i].Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range nodes[1:] {
		if err := nodes[0].Do(ctx, "CLUSTER", "MEET", nodes[1+i].host, nodes[1+i].port, nodes[1+i].bus).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range nodes {
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			rows, err := n.Do(ctx, "CLUSTER", "SLOTS").Slice()
			info := n.ClusterInfo(ctx).Val()
			if err == nil && len(rows) == owners && strings.Contains(info, "cluster_known_nodes:3\r\n") && (owners == 0 || strings.Contains(info, "cluster_state:ok")) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("node %d knows %v, %v\n%s", i, rows, err, info)
			}
		}
	}
	return nodes
}

// fill stores arrays on all nodes of a Redis Cluster, and returns their keys.
func fill(t *testing.T, nodes []redisNode, count int) (keys []string) {
	t.Helper()
	all := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].addr()}, Protocol: 2})
	defer all.Close()
	for i := range count {
		keys = append(keys, fmt.Sprint("k", i))
		if err := all.Set(t.Context(), keys[i], npyOf(i+1), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// A Redis Cluster is copied through any of its nodes.
func TestImportFromARedisCluster(t *testing.T) {
	t.Parallel()
	nodes := startRedisCluster(t, 3, 16383)
	keys := fill(t, nodes, 30)
	for i, n := range nodes {
		if held := n.DBSize(t.Context()).Val(); held == 0 || held == 30 {
			t.Fatalf("node %d has %d keys", i, held)
		}
	}
	c := startCluster(t, 2)
	for i, url := range []string{nodes[0].url(), nodes[2].url(), "unix://" + nodes[1].Options().Addr} {
		args, want := []string{"import", url}, "30 keys: 30 arrays copied (SIZE), 0 existed already, 0 expired meanwhile, 0 not copied\n"
		if i > 0 {
			args = append(args, "--overwrite")
		}
		if r := c.run(c.env(), args...); r.code != 0 || c.plainly(r.out) != want || r.err != "" {
			t.Errorf("ndctl %q: %+v", args, r)
		}
	}
	for i, key := range keys {
		if r := c.run(c.env(), "get", key, "-o", "-"); r.out != npyOf(i+1) {
			t.Errorf("%s: %d bytes: %s", key, len(r.out), r.err)
		}
	}

	// One of its nodes does not answer: it is reported, and the others are copied.
	lost := nodes[1].DBSize(t.Context()).Val()
	addr := nodes[1].addr()
	nodes[1].ShutdownNoSave(t.Context()) // the answer is the end of the connection
	c.eventually("the node has stopped", func() string {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return "it still accepts connections"
		}
		return ""
	}, func(got string) bool { return got == "" })
	r := c.run(c.env(), "import", nodes[0].url(), "--overwrite")
	want := fmt.Sprintf("%d keys: %[1]d arrays copied (", 30-lost)
	if r.code != 1 || !matches(r.out, want) || !matches(r.err, "ndctl: the source at "+addr+" failed before all of its keys were scanned: connection refused\n") {
		t.Errorf("one of its nodes is down: %+v", r)
	}
}

// Slots without a primary may have keys: the import fails instead of counting none.
func TestImportFromARedisClusterWithGaps(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	part := startRedisCluster(t, 2, 9999)
	if r := c.run(c.env(), "import", part[0].url()); r.code != 1 || !matches(r.out, "0 keys: ") || !matches(r.err, "ndctl: 6384 slots of the source have no primary: keys in them were not scanned\n") {
		t.Errorf("some slots: %+v", r)
	}
	none := startRedisCluster(t, 0, 0)[0]
	if r := c.run(c.env(), "import", none.url()); r.code != 1 || r.out != "" || r.err != "ndctl: the source at "+none.addr()+": it is a node of a Redis Cluster in which no slot has a primary: see CLUSTER INFO\n" {
		t.Errorf("no slots: %+v", r)
	}
}
