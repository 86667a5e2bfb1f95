package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/screen"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/shard"
)

// simCluster is a cluster of whole nodes in this process, in a bubble of testing/synctest: network and disks are in memory,
// and the time is the bubble's.
type simCluster struct {
	t      *testing.T
	net    *simNet
	nodes  []*simNode
	client *simProcess // the load
	always bool        // appendfsync always

	mu    sync.Mutex // guards all below
	count map[string]int
}

const (
	simNodes  = 5
	simShards = 16
)

func newSimCluster(t *testing.T, r *rand.Rand, always bool) *simCluster {
	c := &simCluster{t: t, net: newSimNet(r), always: always, count: map[string]int{}}
	c.client = &simProcess{host: "127.0.0.9", ctx: t.Context()}
	for i := range simNodes {
		n := &simNode{
			cluster: c, name: fmt.Sprint("n", i), host: fmt.Sprint("127.0.0.", 10+i), disk: vfs.NewMem(), raft: newSimRaft(),
			random: rand.New(rand.NewPCG(r.Uint64(), 1)), booted: time.Now(),
		}
		c.nodes = append(c.nodes, n)
	}
	return c
}

// addrs returns the addresses of the nodes with a port.
func (c *simCluster) addrs(port int) (all []string) {
	for _, n := range c.nodes {
		all = append(all, joinHostPort(n.host, port))
	}
	return all
}

func (c *simCluster) counted(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[what]++
}

// The ports of each simulated node.
const (
	simClientPort = 7379
	simBusPort    = 17379
	simGossipPort = 7946
	simHTTPPort   = 7380
)

// simNode is a machine with a node. All that a process leaves behind is here.
type simNode struct {
	cluster    *simCluster
	name, host string
	raft       *simRaft
	log        simLog

	failing atomic.Int32 // the errno that half of the changes of the disk get; 0 for none

	mu      sync.Mutex // guards all below
	random  *rand.Rand
	disk    *vfs.Mem
	boots   int
	booted  time.Time
	process *simProcess // the newest; nil before the first start
	all     []*simProcess
}

// diskError returns the error of a change of the disk.
func (n *simNode) diskError() error {
	errno := syscall.Errno(n.failing.Load())
	if errno == 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.random.IntN(2) == 0 {
		return nil
	}
	return errno
}

// simProcess is one process of a node.
type simProcess struct {
	node   *simNode // nil for the load
	host   string
	ctx    context.Context // ends with the process
	cancel context.CancelFunc
	dead   atomic.Bool
	files  *simFiles
	run    *Node
	stop   context.CancelFunc // asks for an orderly stop
	ended  chan struct{}      // closed when all goroutines have ended
	ports  int                // that it has dialled from. The lock of the network guards it

	armed atomic.Int64 // how many writes to a disk or a connection until the process ends; 0 if it goes on
	power atomic.Bool  // then the machine loses its power
}

func (p *simProcess) within(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, limit)
}

// step is called before each write to a disk or a connection. So a process ends between any two of them.
func (p *simProcess) step() {
	if p.armed.Load() > 0 && p.armed.Add(-1) == 0 {
		p.node.end(p, p.power.Load())
	}
}

// start starts a process, unless one runs.
func (n *simNode) start() {
	n.mu.Lock()
	if n.process != nil && !n.process.dead.Load() {
		n.mu.Unlock()
		return
	}
	p := &simProcess{node: n, host: n.host, ended: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	n.process = p
	n.all = append(n.all, p)
	boot, booted, disk := fmt.Sprint("boot-", n.boots), n.booted, n.disk
	n.mu.Unlock()
	network := n.cluster.net
	network.power(n.host)
	p.run = New(*n.config(), slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelInfo})), new(slog.LevelVar))
	p.run.machine = machine{
		listen: func(_ context.Context, address string) (net.Listener, error) { return network.listen(p, address) },
		dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			return network.dial(ctx, p, address)
		},
		gossip:    func(bind string, port int) (screen.Network, error) { return network.gossip(p, bind, port) },
		files:     p.openFiles(disk),
		raft:      func() cluster.RaftStores { return n.raft.open(p) },
		bootID:    func() (string, error) { return boot, nil },
		monotonic: func() int64 { return int64(time.Since(booted) + 5*time.Second) },
	}
	stopping, stop := context.WithCancel(p.ctx)
	p.stop = stop
	go p.supervise(stopping)
}

func (n *simNode) config() *Config {
	fsync := "everysec"
	if n.cluster.always {
		fsync = "always"
	}
	args := []string{
		"--node-id", n.name, "--bind", n.host, "--port", fmt.Sprint(simClientPort), "--bus-port", fmt.Sprint(simBusPort), "--gossip-port", fmt.Sprint(simGossipPort),
		"--http-port", fmt.Sprint(simHTTPPort), "--dir", "/data", "--join", strings.Join(n.cluster.addrs(simGossipPort), ","), "--bootstrap-expect", fmt.Sprint(simNodes),
		"--shards", fmt.Sprint(simShards), "--appendfsync", fsync,
	}
	config, err := ParseConfig(args, environment(), "test")
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	return config
}

// supervise runs a process. One that ends by itself, or by a fault of its disk, is started again, as by a service manager.
func (p *simProcess) supervise(stopping context.Context) {
	defer close(p.ended)
	err := p.run.Open(stopping)
	if err == nil {
		select {
		case <-p.run.ShutdownAsked():
			err = p.run.Failure()
		case <-stopping.Done():
		}
	}
	asked := stopping.Err() != nil
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	p.run.Close(ctx)
	if p.node.end(p, false) && !asked {
		p.node.cluster.counted("exits")
		p.run.log.Error("the process has ended", "err", err)
		time.Sleep(time.Second)
		p.node.start()
	}
}

// end ends a process at once, and reports whether it did. Its goroutines run on for a while, but reach neither disk nor network.
func (n *simNode) end(p *simProcess, power bool) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.dead.Swap(true) {
		return false
	}
	n.cluster.net.end(p, power)
	if power {
		n.disk = n.disk.Crash(n.random)
		n.boots++
		n.booted = time.Now()
	}
	p.files.unlock()
	p.cancel()
	return true
}

// current returns the process that runs; nil if there is none.
func (n *simNode) current() *simProcess {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil || n.process.dead.Load() {
		return nil
	}
	return n.process
}

// stop ends all processes, and waits for their goroutines.
func (c *simCluster) stop() {
	for _, n := range c.nodes {
		if p := n.current(); p != nil {
			n.end(p, false)
		}
	}
	for _, n := range c.nodes {
		n.mu.Lock()
		all := n.all
		n.mu.Unlock()
		for _, p := range all {
			<-p.ended
		}
	}
}

// healthy returns nil if each shard has a primary and two clean copies in the ISR, as every node sees it.
func (c *simCluster) healthy() error {
	for _, n := range c.nodes {
		p := n.current()
		if p == nil || !p.run.ready.Load() {
			return fmt.Errorf("%s is not ready", n.name)
		}
		t := p.run.Topology()
		for id, s := range t.Shards {
			if s.Primary == "" || len(s.ISR) < 2 || len(s.Unclean) > 0 {
				return fmt.Errorf("%s: shard %d has primary %.8s, ISR %d, unclean %d", n.name, id, s.Primary, len(s.ISR), len(s.Unclean))
			}
		}
		if len(t.Shards) == 0 || len(t.Nodes) != simNodes {
			return fmt.Errorf("%s has %d shards and %d nodes", n.name, len(t.Shards), len(t.Nodes))
		}
	}
	return nil
}

// same returns nil if the copies of each shard in the ISR have the same seq and digest. No client writes.
func (c *simCluster) same() error {
	digests := map[topology.NodeID]map[int]shard.Digest{}
	for _, n := range c.nodes {
		p := n.current()
		if p == nil {
			return fmt.Errorf("%s is down", n.name)
		}
		of := map[int]shard.Digest{}
		for _, d := range shard.Digests(p.run.store) {
			of[d.Shard] = d.Digest
		}
		digests[p.run.id] = of
	}
	for id, s := range c.nodes[0].current().run.Topology().Shards {
		for _, node := range s.ISR {
			if mine, other := digests[s.Primary][id], digests[node][id]; mine != other {
				return fmt.Errorf("shard %d: the primary has %v, a copy %v", id, mine, other)
			}
		}
	}
	return nil
}

// awaitNil waits until check returns nil, and returns its last error.
func awaitNil(limit time.Duration, check func() error) (err error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// awaitQuiet waits until the cluster has been healthy for two seconds: until then a primary may be about to remove a copy.
func (c *simCluster) awaitQuiet(limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		if err := awaitNil(time.Until(deadline), c.healthy); err != nil {
			return err
		}
		quiet := true
		for range 40 {
			time.Sleep(50 * time.Millisecond)
			quiet = quiet && c.healthy() == nil
		}
		if quiet {
			return nil
		}
	}
}

// simLog keeps the end of a node's log.
type simLog struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

const simLogLimit = 1 << 20

func (l *simLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > simLogLimit {
		io.CopyN(io.Discard, &l.b, simLogLimit/2)
	}
	return l.b.Write(line)
}

func (l *simLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
