package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// simNet connects the machines of a simulation, in memory. A connection delivers what is written after a while and in
// order, and keeps it while the way is cut, as TCP does with what is not acknowledged. Datagrams are lost then, and a few at
// any time. The buffers of connections have no limit: a write waits for nothing.
type simNet struct {
	latency time.Duration // most messages take less

	mu        sync.Mutex // guards all below; taken before that of a stream
	random    *rand.Rand
	listeners map[string]*simListener // by address
	gossips   map[string]*simGossip   // by address
	conns     map[*simConn]struct{}   // ends that are not closed
	cuts      map[simWay]int          // how many faults cut a way
	dark      map[string]bool         // machines without power
	changed   chan struct{}           // closed and replaced when a way opens or a listener appears
}

// simWay is a way from one machine to another.
type simWay struct{ from, to string }

func newSimNet(r *rand.Rand) *simNet {
	return &simNet{
		latency: time.Duration(2000+r.IntN(4000)) * time.Microsecond, random: r,
		listeners: map[string]*simListener{}, gossips: map[string]*simGossip{}, conns: map[*simConn]struct{}{},
		cuts: map[simWay]int{}, dark: map[string]bool{}, changed: make(chan struct{}),
	}
}

// delay returns how long a message is under way.
func (n *simNet) delay() time.Duration {
	d := n.latency/4 + time.Duration(n.random.Int64N(int64(n.latency)))
	if n.random.IntN(200) == 0 {
		d += time.Duration(n.random.IntN(40)) * time.Millisecond
	}
	return d
}

// open reports whether messages pass. The caller holds mu.
func (n *simNet) open(from, to string) bool {
	if n.dark[from] || n.dark[to] {
		return false
	}
	return from == to || n.cuts[simWay{from, to}] == 0
}

// update changes the state of the network, and lets all that waits look again.
func (n *simNet) update(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
	close(n.changed)
	n.changed = make(chan struct{})
	for c := range n.conns {
		c.in.nudge()
	}
}

// cut cuts ways until heal is called.
func (n *simNet) cut(ways []simWay) (heal func()) {
	add := func(by int) func() {
		return func() {
			for _, w := range ways {
				n.cuts[w] += by
			}
		}
	}
	n.update(add(1))
	return func() { n.update(add(-1)) }
}

// end closes what a process has opened. Its system tells the other ends, unless the machine has lost its power: then they
// learn of it when the machine is back.
func (n *simNet) end(p *simProcess, power bool) {
	n.update(func() {
		for address, l := range n.listeners {
			if l.owner == p {
				delete(n.listeners, address)
				l.close()
			}
		}
		for address, g := range n.gossips {
			if g.owner == p {
				delete(n.gossips, address)
			}
		}
		for c := range n.conns {
			if c.owner == p {
				delete(n.conns, c)
				c.in.close()
				c.peer.in.add(n, nil, !power)
			}
		}
		n.dark[p.host] = power
	})
}

// power brings a machine back: connections to its former process end.
func (n *simNet) power(host string) {
	n.update(func() {
		delete(n.dark, host)
		for c := range n.conns {
			if c.peer.host == host && c.peer.owner.dead.Load() {
				c.in.reset()
			}
		}
	})
}

// listen opens an address of a process.
func (n *simNet) listen(p *simProcess, address string) (*simListener, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	l := &simListener{net: n, owner: p, addr: net.TCPAddrFromAddrPort(addr), queue: make(chan net.Conn, 1024), closed: make(chan struct{})}
	failure := error(&net.OpError{Op: "listen", Net: "tcp", Addr: l.addr, Err: syscall.EADDRINUSE})
	n.update(func() {
		if n.listeners[address] == nil && !p.dead.Load() {
			n.listeners[address] = l
			failure = nil
		}
	})
	return l, failure
}

// simListener implements net.Listener.
type simListener struct {
	net    *simNet
	owner  *simProcess
	addr   *net.TCPAddr
	queue  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
}

func (l *simListener) close() { l.once.Do(func() { close(l.closed) }) }

func (l *simListener) Close() error {
	l.net.update(func() {
		if l.net.listeners[l.addr.String()] == l {
			delete(l.net.listeners, l.addr.String())
		}
	})
	l.close()
	for {
		select {
		case c := <-l.queue:
			c.Close()
		default:
			return nil
		}
	}
}

func (l *simListener) Addr() net.Addr { return l.addr }

// dial connects a process to an address. While a way between the machines is cut it waits.
func (n *simNet) dial(ctx context.Context, p *simProcess, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: %w", address, err)}
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fail(err)
	}
	n.mu.Lock()
	wait := 2 * n.delay()
	n.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return fail(ctx.Err())
	}
	for {
		n.mu.Lock()
		if p.dead.Load() {
			n.mu.Unlock()
			return fail(net.ErrClosed)
		}
		if host := to.Addr().String(); n.open(p.host, host) && n.open(host, p.host) {
			defer n.mu.Unlock()
			return n.connect(p, address)
		}
		changed := n.changed
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}

// connect makes a connection. The caller holds mu.
func (n *simNet) connect(p *simProcess, address string) (net.Conn, error) {
	l := n.listeners[address]
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s: %w", address, syscall.ECONNREFUSED)}
	}
	p.ports++
	local := &net.TCPAddr{IP: net.ParseIP(p.host), Port: 30000 + p.ports}
	near := &simConn{net: n, owner: p, host: p.host, local: local, remote: l.addr}
	far := &simConn{net: n, owner: l.owner, host: l.owner.host, local: l.addr, remote: local, peer: near}
	near.peer = far
	near.in, far.in = newSimStream(simWay{far.host, near.host}), newSimStream(simWay{near.host, far.host})
	select {
	case l.queue <- far:
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ETIMEDOUT}
	}
	n.conns[near], n.conns[far] = struct{}{}, struct{}{}
	return near, nil
}

// simConn is one end of a connection. It implements net.Conn.
type simConn struct {
	net           *simNet
	owner         *simProcess
	host          string
	local, remote *net.TCPAddr
	peer          *simConn
	in            *simStream // what the peer has written
}

func (c *simConn) Read(b []byte) (int, error) {
	n, err := c.in.read(c.net, b)
	if err != nil && err != io.EOF {
		err = &net.OpError{Op: "read", Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
	}
	return n, err
}

func (c *simConn) Write(b []byte) (int, error) {
	c.owner.step()
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if err := c.in.writable(); err != nil {
		return 0, &net.OpError{Op: "write", Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
	}
	c.peer.in.add(c.net, b, false)
	return len(b), nil
}

func (c *simConn) Close() error {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	if _, open := c.net.conns[c]; open {
		delete(c.net.conns, c)
		c.in.close()
		c.peer.in.add(c.net, nil, true)
	}
	return nil
}

func (c *simConn) LocalAddr() net.Addr  { return c.local }
func (c *simConn) RemoteAddr() net.Addr { return c.remote }

func (c *simConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *simConn) SetReadDeadline(t time.Time) error { return c.in.setDeadline(t, false) }

func (c *simConn) SetWriteDeadline(t time.Time) error { return c.in.setDeadline(t, true) }

// simStream is one direction of a connection, as its reader sees it.
type simStream struct {
	way  simWay
	wake chan struct{} // capacity 1

	mu       sync.Mutex // guards all below
	pieces   []simPiece // in order
	ended    bool       // the writer's end is closed, and a piece says so
	broken   bool       // the reader has learned that the writer's process has ended
	closed   bool       // by the reader
	reads    time.Time  // deadline of reads; zero for none
	writes   time.Time  // deadline of writes in the other direction
	lastTime time.Time  // when the last piece arrives
}

// simPiece is what one write sends.
type simPiece struct {
	at    time.Time // it arrives
	bytes []byte
	end   bool
}

func newSimStream(way simWay) *simStream { return &simStream{way: way, wake: make(chan struct{}, 1)} }

func (s *simStream) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// add adds what the peer sends. The caller holds the lock of the network.
func (s *simStream) add(n *simNet, b []byte, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ended || len(b) == 0 && !end {
		return
	}
	at := time.Now().Add(n.delay())
	if at.Before(s.lastTime) {
		at = s.lastTime
	}
	s.lastTime, s.ended = at, end
	s.pieces = append(s.pieces, simPiece{at, append([]byte(nil), b...), end})
	s.nudge()
}

func (s *simStream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.pieces = true, nil
	s.nudge()
}

func (s *simStream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken, s.pieces = true, nil
	s.nudge()
}

func (s *simStream) setDeadline(t time.Time, write bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	if write {
		s.writes = t
	} else {
		s.reads = t
		s.nudge()
	}
	return nil
}

// writable returns why the reader of the stream cannot write in the other direction.
func (s *simStream) writable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return net.ErrClosed
	case s.broken:
		return syscall.ECONNRESET
	case !s.writes.IsZero() && !time.Now().Before(s.writes):
		return os.ErrDeadlineExceeded
	case len(s.pieces) > 0 && s.pieces[0].end && !time.Now().Before(s.pieces[0].at):
		return syscall.EPIPE
	}
	return nil
}

// read waits until something has arrived.
func (s *simStream) read(n *simNet, b []byte) (int, error) {
	for {
		got, wait, err := s.take(n, b)
		if got > 0 || err != nil || len(b) == 0 {
			return got, err
		}
		if wait == 0 {
			<-s.wake
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take returns what has arrived, or how long to wait for a change, 0 without a limit.
func (s *simStream) take(n *simNet, b []byte) (got int, wait time.Duration, err error) {
	n.mu.Lock()
	open := n.open(s.way.from, s.way.to)
	n.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.closed:
		return 0, 0, net.ErrClosed
	case s.broken:
		return 0, 0, syscall.ECONNRESET
	case !s.reads.IsZero() && !now.Before(s.reads):
		return 0, 0, os.ErrDeadlineExceeded
	case !s.reads.IsZero():
		wait = s.reads.Sub(now)
	}
	if len(s.pieces) == 0 || !open {
		return 0, wait, nil
	}
	if early := s.pieces[0].at.Sub(now); early > 0 {
		if wait == 0 || early < wait {
			wait = early
		}
		return 0, wait, nil
	}
	if s.pieces[0].end {
		return 0, 0, io.EOF
	}
	got = copy(b, s.pieces[0].bytes)
	if s.pieces[0].bytes = s.pieces[0].bytes[got:]; len(s.pieces[0].bytes) == 0 {
		s.pieces = s.pieces[1:]
	}
	return got, 0, nil
}
