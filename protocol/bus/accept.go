package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

func (b *Bus) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			b.meet(conn)
		case errors.Is(err, net.ErrClosed) || b.ctx.Err() != nil:
			return
		default: // out of file descriptors, most likely: others may close soon
			if b.quiet.pass("accept", time.Now()) {
				b.options.Log.Warn("accept failed on the bus", "err", err)
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-b.ctx.Done():
			}
		}
	}
}

// meet begins the handshake with whoever connected. When too many are about theirs, the one that has taken longest goes: an honest one takes milliseconds, so that
// those who say nothing push out each other.
func (b *Bus) meet(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetKeepAliveConfig(keepAlive)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		conn.Close()
		return
	}
	if b.handshakes.Len() >= b.options.MaxHandshakes {
		b.handshakes.Remove(b.handshakes.Front()).(net.Conn).Close()
	}
	place := b.handshakes.PushBack(conn)
	b.done.Go(func() {
		l, err := b.greet(conn)
		b.mu.Lock()
		b.handshakes.Remove(place) // nothing, when it was pushed out
		b.mu.Unlock()
		if err != nil {
			conn.Close()
			b.tell(conn.RemoteAddr().String(), err)
			return
		}
		if l.kind == KindControl {
			b.serve(l)
			return
		}
		b.handOut(l)
	})
}

// tell logs a handshake that failed: those of nodes as warnings, as somebody has made a mistake, and those of strangers not to be heard.
func (b *Bus) tell(address string, err error) {
	level, refused := slog.LevelDebug, (*HandshakeError)(nil)
	host, _, _ := net.SplitHostPort(address)
	if errors.As(err, &refused) && b.quiet.pass(fmt.Sprint(codeOf(refused.Reason), host), time.Now()) {
		level = slog.LevelWarn
	}
	b.options.Log.Log(context.Background(), level, "handshake failed on the bus", "from", address, "err", err)
}

// greet answers one connection's HELLO. The connection is its caller's to close when there is an error.
func (b *Bus) greet(conn net.Conn) (*link, error) {
	deadline := time.Now().Add(b.options.HandshakeTimeout)
	conn.SetDeadline(deadline)
	var state tls.ConnectionState
	if b.options.ServerTLS != nil {
		secure := tls.Server(conn, b.options.ServerTLS)
		ctx, cancel := context.WithDeadline(b.ctx, deadline)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("bus: TLS with %s: %w", conn.RemoteAddr(), err)
		}
		conn, state = secure, secure.ConnectionState()
	}
	l, err := b.answer(conn, conn.RemoteAddr().String(), state)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// answer reads HELLO and writes WELCOME or REFUSE. The link that it returns is one of the Bus's already.
func (b *Bus) answer(conn net.Conn, address string, state tls.ConnectionState) (*link, error) {
	mine := b.options.Identity()
	theirs, err := readGreeting(conn)
	if err == nil && theirs.message != hello {
		err = fmt.Errorf("%w: message %d", ErrNoBus, theirs.message)
	}
	if err != nil {
		return nil, fmt.Errorf("bus: HELLO of %s: %w", address, err)
	}
	l := &link{
		bus: b, mine: mine, kind: theirs.kind, inbound: true, since: time.Now(),
		guest: mine.Cluster.IsZero() || theirs.Cluster.IsZero(),
		peer:  Peer{Identity: theirs.Identity, Address: address},
		Conn:  conn,
	}
	err = b.judge(l, &theirs, state)
	if err == nil {
		err = b.admit(l)
	}
	reply := greeting{message: welcome, min: l.peer.Version, max: l.peer.Version, kind: l.kind, Identity: mine}
	if err != nil {
		detail, reason := split(err)
		reply = greeting{message: refuse, min: minVersion, max: maxVersion, code: codeOf(reason), Identity: mine, detail: detail}
		err = &HandshakeError{Reason: reason, Address: address, Inbound: true, Local: mine, Remote: theirs.Identity, Wanted: theirs.wanted, Detail: detail}
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

// judge decides whether the connection may be, and notes what the two agreed on.
func (b *Bus) judge(l *link, theirs *greeting, state tls.ConnectionState) (err error) {
	if l.peer.Version, err = theirs.version(); err != nil {
		return err
	}
	if err := fits(l.mine, theirs.Identity, l.kind); err != nil {
		return err
	}
	if err := theirs.wanted.fits(l.mine); err != nil {
		return err
	}
	if l.peer.Verified, err = certified(state, l.mine, theirs.Identity); err != nil {
		return err
	}
	if l.kind != KindControl && b.stream(l.kind) == nil {
		return fmt.Errorf("%w: nobody handles %s here", ErrNotReady, l.kind)
	}
	return nil
}

// handOut gives a stream to its handler.
func (b *Bus) handOut(l *link) {
	defer func() {
		if p := recover(); p != nil {
			l.Close()
			b.panicked(fmt.Sprintf("the handler of %s streams", l.kind), l.peer, p)
		}
	}()
	b.stream(l.kind)(l.peer, l)
}
