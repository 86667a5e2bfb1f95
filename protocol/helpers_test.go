package protocol

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

var encode = resptest.Command

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	selfID  = "0123456789abcdef0123456789abcdef01234567"
	otherID = "89abcdef0123456789abcdef0123456789abcdef"
)

// testServer is a server on a loopback port, with a clock that only the test advances.
type testServer struct {
	logs logTarget
	*Server
	addr string
	tls  *tls.Config // of its clients; nil without TLS
	pool *memory.Pool
	now  atomic.Int64 // Unix time in ms
	topo atomic.Pointer[topology.Topology]
	view atomic.Pointer[fakeCluster] // nil: a cluster without dead nodes
	id   atomic.Value                // topology.NodeID; default selfID

	stops         atomic.Int64 // calls of Shutdown
	how           atomic.Int64 // the last Shutdown
	topologyCalls atomic.Int64 // calls of Topology
}

func (s *testServer) Topology() *topology.Topology {
	s.topologyCalls.Add(1)
	return s.topo.Load()
}

func (s *testServer) Self() topology.NodeID {
	if id, ok := s.id.Load().(topology.NodeID); ok {
		return id
	}
	return selfID
}

// fakeCluster is the rest of the cluster, as a test chooses it.
type fakeCluster struct {
	members map[topology.NodeID]Liveness // nodes that are missing here are alive
	status  ClusterStatus
	links   []ClusterLink
	forget  func(context.Context, topology.NodeID) error
	leave   func(context.Context) error
	empty   func(context.Context, []topology.ShardID) (int, error)

	replication Replication
	transfer    func([]topology.ShardID) error
	takeover    func([]topology.ShardID) error

	keys *fakeKeys

	settings []Setting
	change   func(context.Context, []Setting) error
	reset    func(context.Context, []string) error
}

// errNotChosen is the answer of a cluster whose answer the test has not chosen.
var errNotChosen = errors.New("the test has chosen no answer")

// rest returns what the test has chosen. TestChaosOfCommands asks for anything.
func (s *testServer) rest() (f fakeCluster) {
	if chosen := s.view.Load(); chosen != nil {
		f = *chosen
	}
	if f.keys == nil {
		f.keys = &fakeKeys{}
	}
	if f.forget == nil {
		f.forget = func(context.Context, topology.NodeID) error { return errNotChosen }
	}
	if f.leave == nil {
		f.leave = func(context.Context) error { return errNotChosen }
	}
	if f.empty == nil {
		f.empty = func(context.Context, []topology.ShardID) (int, error) { return 0, errNotChosen }
	}
	if f.transfer == nil {
		f.transfer = func([]topology.ShardID) error { return errNotChosen }
	}
	if f.takeover == nil {
		f.takeover = f.transfer
	}
	if f.change == nil {
		f.change = func(context.Context, []Setting) error { return errNotChosen }
	}
	if f.reset == nil {
		f.reset = func(context.Context, []string) error { return errNotChosen }
	}
	return f
}

func (s *testServer) Liveness(id topology.NodeID) Liveness {
	if sight, ok := s.rest().members[id]; ok {
		return sight
	}
	return Liveness{Alive: true}
}

// GossipKeys implements Cluster.
func (s *testServer) GossipKeys() ([]string, bool)     { return s.rest().keys.have, true }
func (s *testServer) AddGossipKey(key string) error    { return s.rest().keys.note("add", key) }
func (s *testServer) UseGossipKey(key string) error    { return s.rest().keys.note("use", key) }
func (s *testServer) RemoveGossipKey(key string) error { return s.rest().keys.note("remove", key) }

// fakeKeys are gossip keys that never change.
type fakeKeys struct {
	mu   sync.Mutex // guards got
	have []string
	got  []string // what was asked for
}

func (k *fakeKeys) note(what, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, what+" "+key)
	return nil
}

func (s *testServer) Status() ClusterStatus { return s.rest().status }
func (s *testServer) Links() []ClusterLink  { return s.rest().links }

func (s *testServer) Forget(ctx context.Context, id topology.NodeID) error {
	return s.rest().forget(ctx, id)
}

func (s *testServer) Leave(ctx context.Context) error { return s.rest().leave(ctx) }

func (s *testServer) BeginEmpty(ctx context.Context, shards []topology.ShardID) (int, error) {
	return s.rest().empty(ctx, shards)
}

func (s *testServer) Replication() Replication { return s.rest().replication }

func (s *testServer) Transfer(_ context.Context, shards []topology.ShardID) error {
	return s.rest().transfer(shards)
}

func (s *testServer) Takeover(_ context.Context, shards []topology.ShardID) error {
	return s.rest().takeover(shards)
}

func (s *testServer) ClusterSettings() []Setting { return s.rest().settings }

func (s *testServer) ChangeClusterSettings(ctx context.Context, changes []Setting) error {
	return s.rest().change(ctx, changes)
}

func (s *testServer) ResetClusterSettings(ctx context.Context, names []string) error {
	return s.rest().reset(ctx, names)
}

// Settings, ChangeSettings and Shutdown are a Host with one setting.
func (s *testServer) Settings() []Setting {
	return []Setting{{"maxclients", fmt.Sprint(s.config.Load().MaxClients)}}
}

func (s *testServer) ChangeSettings(changes []Setting) error {
	config := *s.config.Load()
	for _, change := range changes {
		if change.Name != "maxclients" {
			return &SettingError{Name: change.Name}
		}
		fmt.Sscan(change.Value, &config.MaxClients)
	}
	s.Reconfigure(config)
	return nil
}

func (s *testServer) Shutdown(how Shutdown) {
	s.how.Store(int64(how))
	s.stops.Add(1)
}

// logTarget is the output of a server's log. A test may change it while the server runs; at first there is none.
type logTarget struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *logTarget) to(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w = w
}

func (l *logTarget) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w == nil {
		return len(p), nil
	}
	return l.w.Write(p)
}

// start runs a server until the test ends, and then checks that it has released all memory.
func start(t *testing.T, config Config) *testServer {
	t.Helper()
	return startOn(t, config, 256, func(*shard.Store) {})
}

// startWith is start with a listener that speaks TLS, whose clients dial makes.
func startWith(t testing.TB, config Config, server, client *tls.Config) *testServer {
	t.Helper()
	return startListening(t, config, 256, func(*shard.Store) {}, server, client)
}

// startOn is start with a number of shards and a store that prepare may change.
func startOn(t testing.TB, config Config, shards int, prepare func(*shard.Store)) *testServer {
	t.Helper()
	if strings.HasPrefix(t.Name(), overTLS) {
		return startListening(t, config, shards, prepare, testCertificates().server(tls.NoClientCert), testCertificates().client())
	}
	return startListening(t, config, shards, prepare, nil, nil)
}

func startListening(t testing.TB, config Config, shards int, prepare func(*shard.Store), server, client *tls.Config) *testServer {
	t.Helper()
	s := &testServer{pool: new(memory.Pool), tls: client}
	s.now.Store(1_700_000_000_000)
	topo, err := topology.Single(topology.Node{ID: selfID, Listeners: map[string]topology.Address{"default": {}}}, shards, 7)
	if err != nil {
		t.Fatal(err)
	}
	s.topo.Store(topo)
	store := shard.NewStore(shards, 7, s.now.Load, s.pool)
	prepare(store)
	s.Server = NewServer(config, store, s, s, s.pool, slog.New(slog.NewTextHandler(&s.logs, nil)))
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = socket.Addr().String()
	if err := s.Serve(Listener{Listener: socket, Name: "default", TLS: server}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
		store.Release()
		if n, b := s.pool.Buffers(), s.pool.Bytes(); n != 0 || b != 0 {
			t.Errorf("%d buffers of %d bytes are still held", n, b)
		}
		if n := s.output.Waiting(); n != 0 {
			t.Errorf("%d bytes of replies are still counted", n)
		}
		if n := s.output.Copies(); n != 0 {
			t.Errorf("%d bytes of copies for replies are still counted", n)
		}
		if n := s.clients.Buffers(); n != 0 {
			t.Errorf("%d buffers of received bytes are still held", n)
		}
		if n := s.budget.Used() + s.strangers.Used(); n != 0 {
			t.Errorf("%d bytes of the upload budget are still held", n)
		}
	})
	return s
}

// follow applies a topology as a node does (package shard/reconcile): it opens the node's own shards, routes
// clients by the topology, then closes the other shards and clears stale ones. In a test that stores a
// topology itself the shards lag behind.
func (s *testServer) follow(t testing.TB, topo *topology.Topology) {
	t.Helper()
	rows := topo.Shards
	if len(rows) == 0 { // without a cluster no node has a shard
		rows = make([]topology.Shard, len(s.topo.Load().Shards))
	}
	for i, row := range rows {
		if row.Primary == s.Self() {
			if err := s.store.Shard(i).Role().Open(row.Epoch, row.EmptySince); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.topo.Store(topo)
	for i, row := range rows {
		if row.Primary != s.Self() {
			other := replica.Process{Node: string(row.Primary), Incarnation: 1} // the store names itself nothing
			of := replica.Config{Epoch: row.Epoch, LeaderEpoch: row.LeaderEpoch, Born: row.EmptySince, Primary: other}
			role := s.store.Shard(i).Role()
			if err := role.Configure(of); errors.Is(err, shard.ErrEpoch) { // a test may go back to a time before the first topology
				role.Close()
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// client is a bare connection that sends raw bytes and reads replies.
type client struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (s *testServer) dial(t testing.TB) *client {
	t.Helper()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if s.tls != nil {
		nc = tls.Client(nc, s.tls)
	}
	t.Cleanup(func() { nc.Close() })
	c := &client{t, nc, bufio.NewReader(nc)}
	c.extend()
	return c
}

// extend bounds a test that hangs. Each command gets a new deadline, since a long test is slow on a busy machine.
func (c *client) extend() { c.SetDeadline(time.Now().Add(time.Minute)) }

func (c *client) send(raw string) {
	c.t.Helper()
	c.extend()
	if _, err := io.WriteString(c, raw); err != nil {
		c.t.Fatal(err)
	}
}

// reply returns the next reply in the format of resptest.Render.
func (c *client) reply() string {
	c.t.Helper()
	c.extend()
	s, err := resptest.Render(c.r)
	if err != nil {
		c.t.Fatalf("no reply: %v", err)
	}
	return s
}

func (c *client) do(args ...string) string {
	c.t.Helper()
	c.send(resptest.Command(args...))
	return c.reply()
}

func (c *client) want(want string, args ...string) {
	c.t.Helper()
	if got := c.do(args...); got != want {
		c.t.Errorf("%.200q\n got %.1000q\nwant %.1000q", args, got, want)
	}
}

// closed waits until the server closes the connection, and returns what it sent before.
func (c *client) closed() string {
	c.t.Helper()
	c.extend()
	rest, err := io.ReadAll(c.r)
	var timeout net.Error
	if err != nil && asTimeout(err, &timeout) {
		c.t.Fatalf("the connection is still open; it sent %.200q", rest)
	}
	return string(rest)
}

func asTimeout(err error, target *net.Error) bool {
	ne, ok := err.(net.Error)
	*target = ne
	return ok && ne.Timeout()
}

// npy returns a .npy file with a dtype and shape, such as "<f4" and "(2, 3)", and data.
func npy(descr, shape, data string) string {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n", descr, shape)
	b := []byte("\x93NUMPY\x01\x00")
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	return string(b) + header + data
}

// bytesNPY returns a .npy file with n bytes of data that begin with tag.
func bytesNPY(n int, tag string) string {
	data := tag + strings.Repeat("\xa5\x00\x0d\x0a", n/4+1)
	return npy("|u1", fmt.Sprintf("(%d,)", n), data[:n])
}

// receive waits for a value from a channel, with a timeout.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(30 * time.Second):
		t.Fatalf("timed out waiting for: %s", what)
		panic("unreachable")
	}
}

// eventually waits until condition holds, with a timeout.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}
