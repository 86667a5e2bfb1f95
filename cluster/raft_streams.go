package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// streamLayer connects raft to the other nodes. It resolves a server id each time it is dialled.
//
// Dialling a node that is down waits until the node is back. Otherwise raft would count each
// failure and, after some minutes, rest for ten seconds between attempts, and a node that comes
// back would wait that long. At most maxWaiting dials wait for one server; further ones make the
// oldest give up.
type streamLayer struct {
	bus     Bus
	resolve func(topology.NodeID) (address string, alive bool)
	watch   func(chan<- struct{}) (stop func())
	local   string
	inbound chan net.Conn
	ctx     context.Context // done after Close
	cancel  context.CancelFunc

	mu      sync.Mutex // guards all below
	muted   bool
	conns   map[*tracked]struct{}
	waiting map[raft.ServerAddress][]*waiter // oldest first
}

const (
	retryAlive = 100 * time.Millisecond // interval between dials of a node that gossip sees alive
	retryDown  = time.Second            // interval between dials of a node that seems to be down
	maxWaiting = 8
)

var (
	errMuted  = errors.New("muted: raft cannot write to this node's disk, or its log is damaged")
	errGaveUp = errors.New("gave up dialling the node")
)

func newStreamLayer(bus Bus, local string, resolve func(topology.NodeID) (string, bool), watch func(chan<- struct{}) func()) *streamLayer {
	s := &streamLayer{
		bus: bus, local: local, resolve: resolve, watch: watch, inbound: make(chan net.Conn),
		conns: map[*tracked]struct{}{}, waiting: map[raft.ServerAddress][]*waiter{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Accept implements net.Listener.
func (s *streamLayer) Accept() (net.Conn, error) {
	select {
	case c := <-s.inbound:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// serve passes a stream that another node has opened to raft.
func (s *streamLayer) serve(c net.Conn) {
	select {
	case s.inbound <- &requestStream{Conn: c, stall: requestStall}:
	case <-s.ctx.Done():
		c.Close()
	}
}

// requestStall is how long nothing may come of a request that has begun.
const requestStall = 5 * time.Second

// requestStream is an inbound stream of requests, each of which ends with its reply. Between two requests it may rest; within one it
// fails when nothing comes. Raft reads a snapshot while nothing else happens on this node: it would wait for a leader that is cut off
// or frozen, give no vote meanwhile, and not shut down.
type requestStream struct {
	net.Conn
	stall time.Duration
	begun bool // only the goroutine that serves the stream, or for which it waits, reads and writes
}

func (r *requestStream) Read(b []byte) (int, error) {
	limit := time.Time{}
	if r.begun {
		limit = time.Now().Add(r.stall)
	}
	if err := r.SetReadDeadline(limit); err != nil {
		return 0, err
	}
	n, err := r.Conn.Read(b)
	r.begun = r.begun || n > 0
	return n, err
}

func (r *requestStream) Write(b []byte) (int, error) {
	r.begun = false
	return r.Conn.Write(b)
}

// Close implements net.Listener.
func (s *streamLayer) Close() error {
	s.cancel()
	return nil
}

// Addr implements net.Listener.
func (s *streamLayer) Addr() net.Addr { return serverAddr(s.local) }

type serverAddr string

func (serverAddr) Network() string  { return "raft" }
func (a serverAddr) String() string { return string(a) }

// Dial implements raft.StreamLayer.
func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, store, err := parseServerID(string(address))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	changed := make(chan struct{}, 1)
	defer s.watch(changed)()
	waiting := false
	for {
		conn, alive, err := s.dialOnce(ctx, node, store, timeout)
		if err == nil {
			return conn, nil
		}
		if !waiting {
			waiting = true
			defer s.addWaiter(address, cancel)()
		}
		retry := retryDown
		if alive {
			retry = retryAlive
		}
		timer := time.NewTimer(retry)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w: %w", errGaveUp, err)
		}
		timer.Stop()
	}
}

func (s *streamLayer) dialOnce(ctx context.Context, node topology.NodeID, store string, timeout time.Duration) (net.Conn, bool, error) {
	s.mu.Lock()
	muted := s.muted
	s.mu.Unlock()
	if muted {
		return nil, false, errMuted
	}
	at, alive := s.resolve(node)
	if at == "" {
		return nil, false, errNoAddress(node)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := s.bus.Dial(ctx, Target{Address: at, Node: node, Store: store})
	if err != nil {
		return nil, alive, err
	}
	t := &tracked{Conn: conn, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.muted {
		conn.Close()
		return nil, alive, errMuted
	}
	s.conns[t] = struct{}{}
	return t, alive, nil
}

// waiter is a dial that waits for a node to come back.
type waiter struct{ giveUp context.CancelFunc }

// addWaiter registers a dial that waits for a server, and makes the oldest one give up if there are
// too many.
func (s *streamLayer) addWaiter(address raft.ServerAddress, giveUp context.CancelFunc) (done func()) {
	w := &waiter{giveUp}
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.waiting[address]; len(list) >= maxWaiting {
		list[0].giveUp()
		s.waiting[address] = list[1:]
	}
	s.waiting[address] = append(s.waiting[address], w)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiting[address] = slices.DeleteFunc(s.waiting[address], func(o *waiter) bool { return o == w })
	}
}

// mute cuts all streams and opens no others, which makes this node look dead to raft on the other
// nodes; mute(false) ends that.
func (s *streamLayer) mute(yes bool) {
	s.mu.Lock()
	s.muted = yes
	s.mu.Unlock()
	if yes {
		s.renew()
	}
}

// renew cuts all streams, and raft dials again.
func (s *streamLayer) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Conn.Close()
	}
	clear(s.conns)
}

// tracked is an outbound stream.
type tracked struct {
	net.Conn
	of *streamLayer
}

func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.conns, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}
