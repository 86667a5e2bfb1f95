package protocol

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// madeUp returns a cluster with a random primary for each shard, as a ring would choose it, and random replicas.
func madeUp(nodes, shards, copies int) *topology.Topology {
	random := rand.New(rand.NewPCG(1, uint64(nodes)))
	topo := &topology.Topology{Cluster: "made up", Replicas: copies, Shards: make([]topology.Shard, shards)}
	for i := range nodes {
		id := fmt.Sprintf("%040x", i+1)
		topo.Nodes = append(topo.Nodes, topology.Node{ID: topology.NodeID(id), Name: fmt.Sprint("node-", i+1), BusPort: 17379,
			Listeners: map[string]topology.Address{"default": {Host: fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), Port: 7379}}})
	}
	for i := range topo.Shards {
		var isr []topology.NodeID
		for _, at := range random.Perm(nodes)[:copies] {
			isr = append(isr, topo.Nodes[at].ID)
		}
		topo.Shards[i] = topology.Shard{Epoch: 7, Primary: isr[0], ISR: isr}
	}
	return topo
}

// BenchmarkTopology reports what it costs clients and the node to fetch the topology: make bench-topology.
func BenchmarkTopology(b *testing.B) {
	path := os.Getenv("NDRING_BENCH_TOPOLOGY")
	if path == "" {
		b.Skip("NDRING_BENCH_TOPOLOGY does not name the file for the report: use make bench-topology")
	}
	var sizes, times bytes.Buffer
	sizesOf, shardsOf := []int{3, 10, 100}, []int{256, 1024}
	if testing.Short() { // checks that it runs; the figures mean nothing
		sizesOf, shardsOf = sizesOf[:1], shardsOf[:1]
	}
	for _, nodes := range sizesOf {
		for _, shards := range shardsOf {
			measureTopology(b, madeUp(nodes, shards, 1), &sizes, &times)
		}
	}
	report := topologyHead + sizes.String() + topologyTimes + times.String()
	b.Logf("\n%s", report)
	if err := os.WriteFile(path, []byte(report), 0o644); err != nil {
		b.Fatal(err)
	}
}

const topologyHead = `# Cost of a topology refresh

` + "`make bench-topology`" + `. Synthetic clusters with a random primary for each shard. Redis is redis-server 7.0 with the same nodes and slots in its nodes.conf.

Bytes of the replies, in RESP2. *Unmerged* is CLUSTER SLOTS with a row for each shard, even for neighbours of one primary; the ratio compares SLOTS with that of Redis, which merges neighbours too.

| nodes | shards | SLOTS | unmerged | SHARDS | NODES | Redis: SLOTS | SHARDS | NODES | ratio |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`

const topologyTimes = `
Over loopback; ndring runs in the process of its clients, Redis does not. *Bytes*: one connection fetches the reply of CLUSTER SLOTS and skips it; *go-redis*: it also
parses the reply; *refresh*: everything that its cluster client does. Medians, in µs. *Storm*: replies per second to 2,000 connections that request CLUSTER SLOTS in a loop, median of three; *uncached*: without the cache of replies. Ratios are ndring's to Redis'.

| nodes | shards | bytes | Redis: bytes | ratio | go-redis | refresh | storm | uncached | Redis: storm | ratio |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`

func measureTopology(b *testing.B, topo *topology.Topology, sizes, times io.Writer) {
	s := startBench(b, topo)
	theirs := redisWith(b, topo)
	var size, redisSize []int
	for _, what := range []string{"SLOTS", "SHARDS", "NODES"} {
		size = append(size, fetch(b, s.addr, 1, what).bytes)
		redisSize = append(redisSize, fetch(b, theirs, 1, what).bytes)
	}
	fmt.Fprintf(sizes, "| %d | %d | %d | %d | %d | %d | %d | %d | %d | %.2f |\n", len(topo.Nodes), len(topo.Shards), size[0], unmerged(topo), size[1], size[2],
		redisSize[0], redisSize[1], redisSize[2], float64(size[0])/float64(redisSize[0]))

	raw, redisRaw := fetch(b, s.addr, 500, "SLOTS").median, fetch(b, theirs, 500, "SLOTS").median
	one := redis.NewClient(&redis.Options{Addr: s.addr, Protocol: 2})
	defer one.Close()
	parsed := median(200, func() {
		//lint:ignore SA1019 go-redis' cluster client sends this command
		if rows, err := one.ClusterSlots(b.Context()).Result(); err != nil || len(rows) < len(topo.Nodes) {
			b.Fatal(len(rows), err)
		}
	})
	whole := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}, Protocol: 2,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return net.Dial("tcp", s.addr) }}) // the other nodes do not exist
	defer whole.Close()
	refresh := median(1000, func() { // each call of ForEachMaster begins with one
		if err := whole.ForEachMaster(b.Context(), func(context.Context, *redis.Client) error { return nil }); err != nil {
			b.Fatal(err)
		}
	})
	var kept, uncached, redisStorm [3]float64
	for i := range kept {
		kept[i], redisStorm[i] = storm(b, s.addr), storm(b, theirs)
		s.uncached.Store(true)
		uncached[i] = storm(b, s.addr)
		s.uncached.Store(false)
	}
	for _, of := range []*[3]float64{&kept, &uncached, &redisStorm} {
		slices.Sort(of[:])
	}
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	fmt.Fprintf(times, "| %d | %d | %.0f | %.0f | %.2f | %.0f | %.0f | %.0f | %.0f | %.0f | %.1f |\n", len(topo.Nodes), len(topo.Shards), micro(raw), micro(redisRaw), micro(raw)/micro(redisRaw),
		micro(parsed), micro(refresh), kept[1], uncached[1], redisStorm[1], kept[1]/redisStorm[1])
}

// benchServer is a node of a made-up cluster.
type benchServer struct {
	*testServer
	uncached atomic.Bool // return a copy of the topology each time, so that no reply is cached
}

func (s *benchServer) Topology() *topology.Topology {
	topo := s.testServer.Topology()
	if s.uncached.Load() {
		other := *topo
		return &other
	}
	return topo
}

func startBench(b *testing.B, topo *topology.Topology) *benchServer {
	s := &benchServer{testServer: startOn(b, Config{MaxReplyBytes: 1 << 30}, len(topo.Shards), func(*shard.Store) {})}
	s.id.Store(topo.Nodes[0].ID)
	s.follow(b, topo)
	s.Server.router.cluster = s
	return s
}

// unmerged returns the bytes of CLUSTER SLOTS with a row per shard.
func unmerged(topo *topology.Topology) int {
	l := newLayout(topo)
	return len(resp.Encode(false, func(w *resp.Writer) {
		w.Array(len(topo.Shards))
		for i := range topo.Shards {
			node := &topo.Nodes[l.index[topo.Shards[i].Primary]]
			w.Array(3)
			first, last := topology.ShardID(i).Slots(len(topo.Shards))
			w.Int(int64(first))
			w.Int(int64(last))
			w.Array(4)
			w.Text(node.Listeners["default"].Host)
			w.Int(int64(node.Listeners["default"].Port))
			w.Text(string(node.ID))
			w.Map(0)
		}
	}))
}

func median(times int, do func()) time.Duration {
	var all []time.Duration
	for range times {
		began := time.Now()
		do()
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[times/2]
}

type fetched struct {
	bytes  int
	median time.Duration
}

// fetch requests a reply the given number of times, and reads it without parsing its content.
func fetch(b *testing.B, addr string, times int, what string) fetched {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	counted := &counting{Reader: nc}
	r := bufio.NewReaderSize(counted, 64<<10)
	request := []byte(encode("CLUSTER", what))
	all := median(times, func() {
		if _, err := nc.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := skip(r); err != nil {
			b.Fatal(err)
		}
	})
	return fetched{counted.n / times, all}
}

type counting struct {
	io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// skip reads one RESP2 reply.
func skip(r *bufio.Reader) error {
	for left := 1; left > 0; left-- {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n := 0
		for _, digit := range line[1 : len(line)-2] {
			n = 10*n + int(digit-'0')
		}
		switch line[0] {
		case '*':
			left += n
		case '$':
			if _, err := r.Discard(n + 2); err != nil {
				return err
			}
		case '-':
			return fmt.Errorf("%s", line)
		}
	}
	return nil
}

// storm returns the replies to CLUSTER SLOTS per second over 2,000 connections.
func storm(b *testing.B, addr string) float64 {
	connections, long := 2000, time.Second
	if testing.Short() {
		connections, long = 20, 10*time.Millisecond
	}
	size := fetch(b, addr, 1, "SLOTS").bytes
	request := []byte(encode("CLUSTER", "SLOTS"))
	var group sync.WaitGroup
	var count atomic.Int64
	var open []net.Conn
	for range connections {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		open = append(open, nc)
	}
	began := time.Now()
	for _, nc := range open {
		group.Go(func() {
			buffer := make([]byte, min(size, 16<<10))
			for time.Since(began) < long {
				if _, err := nc.Write(request); err != nil {
					b.Error(err)
					return
				}
				for got := 0; got < size; { // each reply has the same length
					n, err := nc.Read(buffer[:min(len(buffer), size-got)])
					if err != nil {
						b.Error(err)
						return
					}
					got += n
				}
				count.Add(1)
			}
		})
	}
	group.Wait()
	return float64(count.Load()) / time.Since(began).Seconds()
}

// redisWith starts redis-server as the first node of the cluster in its nodes.conf.
func redisWith(b *testing.B, topo *topology.Topology) (addr string) {
	var ports [2]string
	var sockets [2]net.Listener
	for i := range ports {
		var err error
		if sockets[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			b.Fatal(err)
		}
		_, ports[i], _ = net.SplitHostPort(sockets[i].Addr().String())
	}
	for _, socket := range sockets {
		socket.Close()
	}
	l := newLayout(topo)
	var conf strings.Builder
	for i, node := range topo.Nodes {
		at, flags := node.Listeners["default"], "master"
		if i == 0 {
			flags = "myself,master"
		}
		fmt.Fprintf(&conf, "%s %s:%d@%d %s - 0 0 %d connected", node.ID, at.Host, at.Port, node.BusPort, flags, i+1)
		for _, r := range l.nodes[i].runs {
			fmt.Fprintf(&conf, " %d-%d", r[0], r[1])
		}
		conf.WriteByte('\n')
	}
	fmt.Fprintf(&conf, "vars currentEpoch %d lastVoteEpoch 0\n", len(topo.Nodes))
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nodes.conf"), []byte(conf.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	cmd := osexec.Command("redis-server", "--port", ports[0], "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--cluster-enabled", "yes", "--cluster-port", ports[1],
		"--cluster-announce-ip", topo.Nodes[0].Listeners["default"].Host)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	addr = net.JoinHostPort("127.0.0.1", ports[0])
	eventually(b, "redis-server starts", func() bool {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	return addr
}
