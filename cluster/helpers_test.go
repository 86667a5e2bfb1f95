package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// network connects nodes in one process: streams are pipes, requests are calls. A node can be cut off.
type network struct {
	mu    sync.Mutex           // guards all below
	nodes map[string]*testNode // by bus address
	pipes map[net.Conn]string  // both ends, with the address of the node at that end
	moved bool                 // the folders of nodes that start are at another place
	last  map[string]uint64    // incarnation of the last start, by server id: what a data folder would know
}

func newNetwork() *network {
	return &network{nodes: map[string]*testNode{}, pipes: map[net.Conn]string{}, last: map[string]uint64{}}
}

// testNode is one incarnation of a node.
type testNode struct {
	*Cluster
	t       testing.TB
	network *network
	address string // of its bus
	dead    atomic.Bool
	deaf    atomic.Pointer[chan struct{}] // while set and open, the node applies nothing that is committed
	silent  atomic.Bool                   // the node does not report
	adopted string
	joined  atomic.Int64          // calls of Joined
	awaited atomic.Uint64         // the newest index for which AwaitTopology has returned
	failed  atomic.Pointer[error] // with which Fail was called first
}

var testPorts, testIncarnations atomic.Int64

// testConfig configures a node without a data folder.
func testConfig(t testing.TB, name string, expect int, join ...string) Config {
	return Config{
		Self:   topology.Node{ID: topology.NodeID(fmt.Sprintf("%040x", []byte(name))), Name: name, Store: fmt.Sprintf("%032x", []byte(name))},
		Shards: 16, Replicas: 1, FirstEpoch: 1, Join: join, BootstrapExpect: expect, GossipBind: "127.0.0.1",
		// Slower than the defaults: the race detector on a busy machine must not cause elections.
		Timing: Timing{Heartbeat: time.Second, Lease: 800 * time.Millisecond, Probe: 500 * time.Millisecond, Rejoin: 500 * time.Millisecond, Tick: 50 * time.Millisecond},
		Log:    testLog(t, name),
	}
}

// onDisk gives a node a data folder, which later incarnations can share.
func onDisk(t testing.TB, config Config) Config {
	config.Files, config.RaftDir = &memoryFiles{}, t.TempDir()
	return config
}

// start starts a node on ports that no earlier incarnation had.
func (nw *network) start(t testing.TB, config Config) *testNode {
	t.Helper()
	n := nw.startSilent(t, config)
	n.silent.Store(false)
	return n
}

// startSilent starts a node that does not report until the test lets it.
func (nw *network) startSilent(t testing.TB, config Config) *testNode {
	t.Helper()
	config.Self.Incarnation = uint64(time.Now().UnixMilli()) + uint64(testIncarnations.Add(1))
	nw.mu.Lock()
	folder := serverID(config.Self.ID, config.Self.Store)
	if last := nw.last[folder]; last != 0 {
		config.Start.Starts, config.Start.SameLock = []uint64{last}, !nw.moved
	}
	nw.last[folder] = config.Self.Incarnation
	nw.mu.Unlock()
	n := &testNode{t: t, network: nw}
	n.silent.Store(true)
	if config.Files != nil {
		state, _ := config.Files.Load(stateFile)
		config.RaftState = string(state)
	}
	config.Self.BusPort = int(20_000 + testPorts.Add(1))
	n.address = fmt.Sprintf("127.0.0.1:%d", config.Self.BusPort)
	n.Cluster = New(config, n, n)
	nw.mu.Lock()
	nw.nodes[n.address] = n
	nw.mu.Unlock()
	if err := n.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	go n.reportVacant()
	return n
}

// reportInterval is how often a node of the tests repeats its reports.
const reportInterval = 20 * time.Millisecond

// reportVacant reports the shards without a primary of which the node has a copy, as copies do that
// hear no primary. A copy of the tests has no arrays.
func (n *testNode) reportVacant() {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for range tick.C {
		if n.life.ctx.Err() != nil || n.dead.Load() {
			return
		}
		t := n.Topology()
		if n.silent.Load() || !n.self.in(t) {
			continue
		}
		var all []topology.Report
		for i, row := range t.Shards {
			if row.Primary == "" && slices.Contains(row.ISR, n.self.ID) {
				all = append(all, topology.Report{Shard: topology.ShardID(i), Epoch: row.Epoch})
			}
		}
		n.Report(all)
	}
}

// seed returns the address at which others join.
func (n *testNode) seed() string {
	host, port := n.GossipAddress()
	return net.JoinHostPort(host, fmt.Sprint(port))
}

// stop closes the node.
func (n *testNode) stop() {
	if err := n.Close(context.Background()); err != nil && !n.dead.Load() {
		n.t.Errorf("%s: %v", n.self.Name, err)
	}
	n.vanish()
}

// vanish takes the node off the network, as if its machine had lost power.
func (n *testNode) vanish() {
	n.dead.Store(true)
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	for end, owner := range n.network.pipes {
		if owner == n.address {
			end.Close()
			delete(n.network.pipes, end)
		}
	}
	if n.network.nodes[n.address] == n {
		delete(n.network.nodes, n.address)
	}
}

// kill ends the node without telling the others.
func (n *testNode) kill() {
	n.vanish()
	n.gossip.end.Do(func() { n.gossip.current().Shutdown() })
	n.stop()
}

func (n *testNode) reach(to Target) (*testNode, error) {
	n.network.mu.Lock()
	defer n.network.mu.Unlock()
	other := n.network.nodes[to.Address]
	switch {
	case n.dead.Load(), other == nil, other.dead.Load():
		return nil, fmt.Errorf("%w: no node is at %s", ErrNotSent, to.Address)
	case to.Node != "" && other.self.ID != to.Node, to.Store != "" && other.self.Store != to.Store:
		return nil, fmt.Errorf("%w: another node is at %s", ErrNotSent, to.Address)
	}
	if a, b := n.ID(), other.ID(); a != "" && b != "" && a != b {
		return nil, fmt.Errorf("%w: a node of another cluster is at %s", ErrNotSent, to.Address)
	}
	return other, nil
}

func (n *testNode) caller() Caller {
	return Caller{Node: n.self.ID, Store: n.self.Store, Incarnation: n.self.Incarnation, Cluster: n.ID()}
}

// Dial implements Bus.
func (n *testNode) Dial(_ context.Context, to Target) (net.Conn, error) {
	other, err := n.reach(to)
	if err != nil {
		return nil, err
	}
	if other.Cluster.consensus.Load() == nil {
		return nil, fmt.Errorf("%w: the node is not ready", ErrNotSent)
	}
	near, far := net.Pipe()
	n.network.mu.Lock()
	n.network.pipes[near], n.network.pipes[far] = n.address, other.address
	n.network.mu.Unlock()
	go other.ServeStream(far)
	return near, nil
}

// Call implements Bus.
func (n *testNode) Call(ctx context.Context, to Target, m Method, payload []byte) ([]byte, error) {
	other, err := n.reach(to)
	if err != nil {
		return nil, err
	}
	reply, err := other.ServeCall(ctx, n.caller(), m, payload)
	if n.dead.Load() || other.dead.Load() {
		return nil, fmt.Errorf("connection reset")
	}
	if err != nil {
		return nil, &RemoteError{Text: err.Error()}
	}
	return reply, nil
}

// Probe implements Bus.
func (n *testNode) Probe(_ context.Context, address string) (Caller, error) {
	other, err := n.reach(Target{Address: address})
	if err != nil {
		return Caller{}, err
	}
	return other.caller(), nil
}

// Renew implements Bus.
func (*testNode) Renew() {}

// SetClusterID implements Host.
func (n *testNode) SetClusterID(cluster string) error {
	if n.adopted != "" && n.adopted != cluster {
		n.t.Errorf("%s joins cluster %s, but belongs to %s", n.self.Name, cluster, n.adopted)
	}
	n.adopted = cluster
	return nil
}

// SetRaftState implements Host.
func (n *testNode) SetRaftState(state string) error {
	return n.config.Files.Save(stateFile, []byte(state))
}

// stateFile stands for a line in the data folder's manifest.
const stateFile = "manifest-raft-state"

// Publish implements Host.
func (n *testNode) Publish(t *topology.Topology) {
	if err := t.Check(); err != nil {
		n.t.Errorf("%s: %v", n.self.Name, err)
	}
	if resume := n.deaf.Load(); resume != nil {
		<-*resume
	}
}

// Joined implements Host.
func (n *testNode) Joined() { n.joined.Add(1) }

// Fail implements Host.
func (n *testNode) Fail(err error) { n.failed.CompareAndSwap(nil, &err) }

// AwaitTopology implements Host.
func (n *testNode) AwaitTopology(ctx context.Context, index uint64) error {
	err := n.fsm.await(ctx, index)
	if err == nil {
		n.awaited.Store(max(n.awaited.Load(), index))
	}
	return err
}

// Transfer implements Host: it hands over shards with even numbers.
func (n *testNode) Load() topology.Load {
	load := topology.Load{Incarnation: n.self.Incarnation, Memory: topology.NoLimit, Disk: topology.NoLimit}
	for i := range n.Cluster.Topology().Shards {
		load.Shards = append(load.Shards, topology.ShardLoad{Shard: topology.ShardID(i)})
	}
	return load
}

func (n *testNode) Transfer(_ context.Context, to topology.NodeID, incarnation uint64, shards []topology.ShardID) []error {
	errs := make([]error, len(shards))
	for i, id := range shards {
		if id%2 == 1 {
			errs[i] = fmt.Errorf("%s keeps shard %d from %s %d", n.self.Name, id, to, incarnation)
		}
	}
	return errs
}

// patience is how long a test waits for what a cluster does within seconds.
const patience = 3 * time.Minute

// ready waits until nodes are ready.
func ready(t testing.TB, nodes ...*testNode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, n := range nodes {
		if err := n.Ready(ctx); err != nil {
			t.Fatalf("%s: %v", n.self.Name, err)
		}
	}
}

// readyError returns the error of Ready.
func readyError(t testing.TB, n *testNode) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return n.Ready(ctx)
}

// within receives from a channel, and fails the test when its patience ends.
func within[T any](t testing.TB, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(patience):
		t.Fatalf("nothing received within %v", patience)
	}
	return got
}

// eventually waits for a condition, and fails the test when its patience ends.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// leaderOf returns the leader once all nodes agree on it.
func leaderOf(t testing.TB, nodes ...*testNode) (leader *testNode) {
	t.Helper()
	eventually(t, "all nodes know one leader", func() bool {
		leader = nil
		for _, n := range nodes {
			id := n.Status().Leader
			if id == n.self.ID && n.Status().Quorum {
				leader = n
			}
			if id == "" || id != nodes[0].Status().Leader {
				return false
			}
		}
		return leader != nil
	})
	return leader
}

// testLog writes to the test's log.
func testLog(t testing.TB, name string) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() { w.ended.Store(true) })
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})).With("on", name)
}

type testWriter struct {
	t     testing.TB
	ended atomic.Bool
}

func (w *testWriter) Write(b []byte) (int, error) {
	if !w.ended.Load() {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}
