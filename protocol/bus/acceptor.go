package bus

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// acceptor is the accepting side of a Bus: it listens, answers handshakes and passes connections to their handlers.
type acceptor struct {
	core *core

	mu         sync.Mutex // guards all below; no other lock is taken under it
	closed     bool
	listeners  []net.Listener
	handshakes *list.List // of net.Conn: accepted connections that have not finished their handshake, oldest first
	methods    map[Method]Handler
	streams    map[Kind]StreamHandler
}

func newAcceptor(c *core) *acceptor {
	return &acceptor{core: c, handshakes: list.New(), methods: make(map[Method]Handler), streams: make(map[Kind]StreamHandler)}
}

func (a *acceptor) handle(method Method, handler Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.methods[method] != nil {
		panic(fmt.Sprintf("bus: method %d has two handlers", method))
	}
	a.methods[method] = handler
}

func (a *acceptor) handleStream(kind Kind, handler StreamHandler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.streams[kind] != nil || kind == KindControl {
		panic(fmt.Sprintf("bus: kind %s has two handlers", kind))
	}
	a.streams[kind] = handler
}

func (a *acceptor) handler(method Method) Handler {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.methods[method]
}

func (a *acceptor) streamHandler(kind Kind) StreamHandler {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams[kind]
}

func (a *acceptor) serve(l net.Listener) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return net.ErrClosed
	}
	a.listeners = append(a.listeners, l)
	a.core.running.Go(func() { a.accept(l) })
	return nil
}

// close closes the listeners and the connections in handshakes. Later calls do the same and return nil.
func (a *acceptor) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.closed
	a.closed = true
	var err error
	for _, l := range a.listeners {
		if e := l.Close(); e != nil && first && !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	for e := a.handshakes.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).Close()
	}
	return err
}

func (a *acceptor) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			a.start(conn)
		case errors.Is(err, net.ErrClosed) || a.core.ctx.Err() != nil:
			return
		default: // probably out of file descriptors: other connections may close soon
			if a.core.limiter.pass("accept", time.Now()) {
				a.core.options.Log.Warn("accept failed on the bus", "err", err)
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-a.core.ctx.Done():
			}
		}
	}
}

// start starts the handshake of an accepted connection. If too many are in progress, it closes the
// oldest: an honest handshake takes milliseconds, so silent connections push out one another.
func (a *acceptor) start(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		conn.Close()
		return
	}
	if a.handshakes.Len() >= a.core.options.MaxHandshakes {
		a.handshakes.Remove(a.handshakes.Front()).(net.Conn).Close()
	}
	element := a.handshakes.PushBack(conn)
	a.core.running.Go(func() {
		l, err := a.handshake(conn)
		a.mu.Lock()
		a.handshakes.Remove(element) // no effect if it was pushed out
		a.mu.Unlock()
		switch {
		case err != nil:
			conn.Close()
			a.logFailure(conn.RemoteAddr().String(), err)
		case l.kind == KindControl:
			a.serveControl(l)
		default:
			a.serveStream(l)
		}
	})
}

// logFailure logs a failed handshake: that of a node as a warning, because it points to a mistake in
// a configuration, that of a stranger at the debug level, unless the bus speaks TLS. So is that of the process itself: a node that
// starts asks all addresses that it remembers, its own among them.
func (a *acceptor) logFailure(address string, err error) {
	level := slog.LevelDebug
	if a.core.shows("from", address, err) {
		level = slog.LevelWarn
	}
	a.core.options.Log.Log(context.Background(), level, "handshake failed on the bus", "from", address, "err", err)
}

// shows reports whether the log shows that a connection from or to an address was refused.
func (c *core) shows(direction, address string, err error) bool {
	var refused *HandshakeError
	var secure *tlsError
	host := address
	if direction == "from" { // each connection has another port
		host, _, _ = net.SplitHostPort(address)
	}
	switch {
	case errors.Is(err, ErrSelf):
		return false
	case errors.As(err, &refused):
		return c.limiter.pass(fmt.Sprint(direction, codeOf(refused.Reason), host), time.Now())
	}
	return errors.As(err, &secure) && secure.telling() && c.limiter.pass(direction+"TLS"+host, time.Now())
}

// handshake does the accepting side's part of a handshake. On an error the caller closes the connection.
func (a *acceptor) handshake(conn net.Conn) (*link, error) {
	deadline := time.Now().Add(a.core.options.HandshakeTimeout)
	conn.SetDeadline(deadline)
	ctx, cancel := context.WithDeadline(a.core.ctx, deadline)
	defer cancel()
	spoken, state, err := a.begin(ctx, conn)
	if err != nil {
		return nil, err
	}
	l, err := a.answerHello(spoken, conn.RemoteAddr().String(), state)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// answerHello reads HELLO and writes WELCOME or REFUSE. The link that it returns is in the registry.
func (a *acceptor) answerHello(conn net.Conn, address string, state tls.ConnectionState) (*link, error) {
	local := a.core.options.Identity()
	remote, err := readGreeting(conn)
	if err == nil && remote.message != hello {
		err = fmt.Errorf("%w: message %d", ErrNoBus, remote.message)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: HELLO of %s: %w", address, err)
	}
	l := &link{
		registry: &a.core.links, local: local, kind: remote.kind, inbound: true, since: time.Now(),
		guest: local.Cluster.IsZero() || remote.Cluster.IsZero(),
		peer:  Peer{Identity: remote.Identity, Address: address},
		Conn:  conn,
	}
	if r, ok := conn.(*replayed); ok {
		l.Conn = r.Conn // HELLO has taken what was read before
	}
	err = a.authorize(l, &remote, state)
	if err == nil {
		err = a.core.links.admit(l)
	}
	own := a.core.options.versions
	reply := greeting{message: welcome, min: l.peer.Version, max: l.peer.Version, kind: l.kind, Identity: local}
	if err != nil {
		detail, reason := splitReason(err)
		reply = greeting{message: refuse, min: own.min, max: own.max, code: codeOf(reason), Identity: local, detail: detail}
		err = &HandshakeError{Reason: reason, Address: address, Inbound: true, Local: local, Remote: remote.Identity, Wanted: remote.wanted, Detail: detail}
	}
	bytes, e := reply.append(nil)
	if e == nil {
		_, e = conn.Write(bytes)
	}
	if err == nil && e != nil {
		l.Close()
		err = fmt.Errorf("bus: WELCOME to %s: %w", address, e)
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// authorize decides whether the peer may connect, and records the agreed version and whether a certificate verified the peer.
func (a *acceptor) authorize(l *link, remote *greeting, state tls.ConnectionState) (err error) {
	if l.peer.Version, err = a.core.options.versions.agree(remote); err != nil {
		return err
	}
	if l.peer.Verified, err = a.core.options.TLS.admits(state, l.local, remote.Identity); err != nil {
		return err
	}
	if err := mayConnect(l.local, remote.Identity, l.kind); err != nil {
		return err
	}
	if err := remote.wanted.matches(l.local); err != nil {
		return err
	}
	if l.kind != KindControl && a.streamHandler(l.kind) == nil {
		return fmt.Errorf("%w: this node has no handler for %s", ErrNotReady, l.kind)
	}
	return nil
}

// serveStream passes a connection to the handler of its kind.
func (a *acceptor) serveStream(l *link) {
	defer func() {
		if p := recover(); p != nil {
			l.Close()
			a.core.logPanic(fmt.Sprintf("the handler of %s streams", l.kind), l.peer, p)
		}
	}()
	a.streamHandler(l.kind)(l.peer, l)
}
