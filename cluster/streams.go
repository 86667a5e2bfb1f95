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

// streams is raft's way to the other nodes: it resolves a server's id when it is dialled.
//
// A dial of a node that is gone waits until that is back. Raft would otherwise count each failure and, after some minutes, rest for ten seconds between
// two tries; a node that comes back would be kept waiting for that long. Of many who wait for one node, the longest waiting give up.
type streams struct {
	bus     Bus
	resolve func(topology.NodeID) (address string, alive bool)
	watch   func(chan<- struct{}) (stop func())
	local   string
	inbound chan net.Conn
	context context.Context // ends with Close
	cancel  context.CancelFunc

	mu      sync.Mutex // guards all below
	muted   bool
	conns   map[*tracked]struct{}
	waiting map[raft.ServerAddress][]*waiter // oldest first
}

const (
	dialRetry  = 100 * time.Millisecond // of a node that lives
	dialAgain  = time.Second            // of one that seems to be gone
	maxWaiting = 8
)

var (
	errMuted   = errors.New("this node's disk hangs, it does not speak")
	errEvicted = errors.New("the node is not there")
)

func newStreams(bus Bus, local string, resolve func(topology.NodeID) (string, bool), watch func(chan<- struct{}) func()) *streams {
	s := &streams{
		bus: bus, local: local, resolve: resolve, watch: watch, inbound: make(chan net.Conn),
		conns: map[*tracked]struct{}{}, waiting: map[raft.ServerAddress][]*waiter{},
	}
	s.context, s.cancel = context.WithCancel(context.Background())
	return s
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case c := <-s.inbound:
		return c, nil
	case <-s.context.Done():
		return nil, net.ErrClosed
	}
}

// serve takes a stream that another node has opened.
func (s *streams) serve(c net.Conn) {
	select {
	case s.inbound <- c:
	case <-s.context.Done():
		c.Close()
	}
}

// Close implements net.Listener.
func (s *streams) Close() error {
	s.cancel()
	return nil
}

// Addr implements net.Listener.
func (s *streams) Addr() net.Addr { return serverAddr(s.local) }

type serverAddr string

func (serverAddr) Network() string  { return "raft" }
func (a serverAddr) String() string { return string(a) }

// Dial implements raft.StreamLayer.
func (s *streams) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, store, err := parseServerID(string(address))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(s.context)
	defer cancel()
	changed := make(chan struct{}, 1)
	defer s.watch(changed)()
	waits := false
	for {
		conn, alive, err := s.try(ctx, node, store, timeout)
		if err == nil {
			return conn, nil
		}
		if !waits {
			waits = true
			defer s.wait(address, cancel)()
		}
		retry := dialAgain
		if alive {
			retry = dialRetry
		}
		timer := time.NewTimer(retry)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w: %w", errEvicted, err)
		}
		timer.Stop()
	}
}

func (s *streams) try(ctx context.Context, node topology.NodeID, store string, timeout time.Duration) (net.Conn, bool, error) {
	s.mu.Lock()
	muted := s.muted
	s.mu.Unlock()
	if muted {
		return nil, false, errMuted
	}
	at, alive := s.resolve(node)
	if at == "" {
		return nil, false, fmt.Errorf("nobody knows where node %s is", node)
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

// waiter is one who waits for a node to come back.
type waiter struct{ giveUp context.CancelFunc }

// wait counts one who waits for a server, and ends the wait of the oldest one when there are too many.
func (s *streams) wait(address raft.ServerAddress, giveUp context.CancelFunc) (done func()) {
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

// mute cuts all streams and opens none, so that the others take this node for gone; or lets it speak again.
func (s *streams) mute(yes bool) {
	s.mu.Lock()
	s.muted = yes
	s.mu.Unlock()
	if yes {
		s.renew()
	}
}

// renew cuts all streams, so that others are opened.
func (s *streams) renew() {
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
	of *streams
}

func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.conns, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}
