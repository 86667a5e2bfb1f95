package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/boottime"
	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

const testShards = 16

// testNode is a process with a store, whose rows the test sets.
type testNode struct {
	t       testing.TB
	self    replica.Process
	store   *shard.Store
	pool    *memory.Pool
	repl    *Replicator
	network *network
	stop    chan struct{}
	done    sync.WaitGroup

	ahead   atomic.Int64            // of the system's clock, in ns: Store.Monotonic
	rests   atomic.Bool             // no tick comes
	reports [testShards]atomic.Bool // a tick has reported that the copy hears no primary
}

// testVersion is the version of the bus's protocol on the connections of a test.
const testVersion = 1

// network connects the processes of a test by TCP.
type network struct {
	mu    sync.Mutex
	nodes map[replica.Process]*testNode
	cut   map[string]bool // nodes that nothing reaches
	conns map[net.Conn]string
	bulk  int // bulk connections that are open
	peak  int // the most that were open at once
	ended int // bulk connections that were open

	stalls bool       // new bulk connections are not read
	held   []net.Conn // the other ends of these
}

func newNetwork() *network {
	return &network{nodes: map[replica.Process]*testNode{}, cut: map[string]bool{}, conns: map[net.Conn]string{}}
}

// dial connects two processes.
func (n *network) dial(ctx context.Context, from, to replica.Process, kind Kind) (net.Conn, error) {
	n.mu.Lock()
	target := n.nodes[to]
	cut := n.cut[to.Node] || n.cut[from.Node]
	n.mu.Unlock()
	if target == nil || cut {
		return nil, errors.New("no route")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	other := <-accepted
	n.mu.Lock()
	n.conns[conn], n.conns[other] = to.Node, from.Node
	if kind == Bulk {
		n.bulk++
		n.peak = max(n.peak, n.bulk)
		conn = &countedConn{Conn: conn, closed: sync.OnceFunc(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.bulk--
			n.ended++
		})}
	}
	stalls := kind == Bulk && n.stalls
	if stalls {
		n.held = append(n.held, other)
	}
	n.mu.Unlock()
	if !stalls {
		target.done.Go(func() { target.repl.Serve(from, kind, Conn{other, testVersion}) })
	}
	return conn, nil
}

// stall makes new bulk connections take nothing, or ends those that did.
func (n *network) stall(yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stalls = yes
	if !yes {
		for _, c := range n.held {
			c.Close()
		}
		n.held = nil
	}
}

// stalled returns how many bulk connections take nothing.
func (n *network) stalled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.held)
}

// bulkConns returns how many bulk connections are open, and how many were.
func (n *network) bulkConns() (open, ended int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bulk, n.ended
}

// countedConn is a bulk connection as its dialler has it.
type countedConn struct {
	net.Conn
	closed func()
}

func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// isolate ends the connections of a node, and lets it have no others.
func (n *network) isolate(node string, yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[node] = yes
	if yes {
		for c := range n.conns {
			c.Close()
			delete(n.conns, c)
		}
	}
}

// startNode starts a process. A nil disk means no log.
func startNode(t testing.TB, n *network, name string, incarnation uint64, disk vfs.FS) *testNode {
	t.Helper()
	node := &testNode{t: t, self: replica.Process{Node: name, Incarnation: incarnation}, pool: new(memory.Pool), network: n, stop: make(chan struct{})}
	node.store = shard.NewClosedStore(testShards, func() int64 { return time.Now().UnixMilli() }, node.pool)
	node.store.UseMonotonic(func() int64 { return boottime.Now() + node.ahead.Load() })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	unframed := func(int) (before, after []byte) { return nil, nil }
	if disk != nil {
		folder, err := persistence.OpenDisk(disk, "data", persistence.Options{
			Shards: testShards, BootID: "a", Log: log, NextIncarnation: func(last uint64) uint64 { return last + 1 },
		})
		if err != nil {
			t.Fatal(err)
		}
		node.store.UseDisk(folder, true, unframed, log)
		node.store.Disk().Configure(shard.DiskConfig{Fsync: shard.FsyncNo})
		if err := node.store.Disk().Recover(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	node.store.Identify(node.self)
	node.repl = New(Config{Self: node.self, Store: node.store, Shards: testShards, Log: log, Requests: func() int64 { return 0 }, Dial: func(ctx context.Context, to replica.Process, kind Kind) (Conn, error) {
		conn, err := n.dial(ctx, node.self, to, kind)
		return Conn{conn, testVersion}, err
	}})
	node.store.UseReplicator(node.repl, unframed, log)
	n.mu.Lock()
	n.nodes[node.self] = node
	n.mu.Unlock()
	node.done.Go(node.tick)
	t.Cleanup(node.end)
	return node
}

// tick ticks the copies of a process.
func (n *testNode) tick() {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-ticker.C:
		}
		if n.rests.Load() {
			continue
		}
		tick := n.store.CountTick()
		for id := range testShards {
			if n.store.Shard(id).Role().Tick(n.store.Monotonic(), tick, true).Report {
				n.reports[id].Store(true)
			}
		}
	}
}

// end ends a process.
func (n *testNode) end() {
	select {
	case <-n.stop:
		return
	default:
	}
	close(n.stop)
	n.network.mu.Lock()
	delete(n.network.nodes, n.self)
	for c, to := range n.network.conns {
		if to == n.self.Node {
			c.Close()
		}
	}
	n.network.mu.Unlock()
	n.repl.Close()
	n.network.isolate(n.self.Node, true)
	n.network.isolate(n.self.Node, false)
	n.done.Wait()
	if err := n.store.Close(context.Background(), false); err != nil {
		n.t.Error(err)
	}
	n.store.Release()
	if left := n.pool.Buffers(); left != 0 {
		n.t.Errorf("%s: %d buffers are still held", n.self.Node, left)
	}
}

// configure takes shard 0 of processes to a row.
func configure(t testing.TB, row replica.Config, nodes ...*testNode) {
	t.Helper()
	if row.LeaderEpoch == 0 {
		row.LeaderEpoch = row.Epoch
	}
	for _, n := range nodes {
		if err := n.store.Shard(0).Role().Configure(row); err != nil {
			t.Errorf("%s in epoch %d: %v", n.self.Node, row.Epoch, err)
		}
	}
}

// await waits for a condition.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// proposal waits until a process proposes something for shard 0.
func (n *testNode) proposal(kind replica.ProposalKind, target replica.Process) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("%s proposes %d of %v", n.self.Node, kind, target), func() bool {
		p := n.store.Shard(0).Role().Proposal()
		return p != nil && p.Kind == kind && p.Target == target
	})
}

// set sets a key of shard 0, and waits until it is committed.
func (n *testNode) set(key string, size int) error {
	f, err := n.setAsync(key, size)
	if err != nil {
		return err
	}
	return outcome(n.t.Context(), f)
}

// outcome waits until a future is complete, and returns its error.
func outcome(ctx context.Context, f shard.Future) error {
	var l shard.Latch
	l.Add(f)
	l.Wait(ctx, 0)
	done, err := f.Done()
	if !done && err == nil {
		return shard.ErrLate
	}
	return err
}

func (n *testNode) setAsync(key string, size int) (shard.Future, error) { return n.setIn(0, key, size) }

// setIn sets a key of a shard.
func (n *testNode) setIn(id int, key string, size int) (shard.Future, error) {
	of := n.store.Shard(id)
	if !of.Acquire() {
		return shard.Future{}, errors.New("the shard is closed")
	}
	defer of.Release()
	v := shard.Value{NPY: content(key, size)}
	if size > 16<<10 {
		v.Buffer = n.pool.Copy(v.NPY)
		v.NPY = v.Buffer.Bytes()
	}
	v.CRC = v.Checksum(crc32c.Checksum(v.NPY))
	_, f, err := of.Set(shard.Write{Key: []byte(key), Value: v})
	return f, err
}

// content is what set stores under a key.
func content(key string, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = key[i%len(key)] + byte(i>>8)
	}
	return b
}

// has reports whether readers of a copy of shard 0 see a key.
func (n *testNode) has(key string, size int) bool {
	e := n.store.Shard(0).Get([]byte(key), false)
	if e == nil {
		return false
	}
	defer e.Release()
	if string(e.NPY()) != string(content(key, size)) {
		n.t.Errorf("%s has %d other bytes under %s", n.self.Node, len(e.NPY()), key)
	}
	return true
}

// newest returns the end of the log of shard 0.
func (n *testNode) newest() uint64 {
	_, seq := n.store.Shard(0).Newest()
	return seq
}
