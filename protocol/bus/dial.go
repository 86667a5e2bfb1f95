package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Dial makes a connection of a kind, which is the caller's, and ends with the Bus. The error wraps ErrUnreachable, and a handshake's is a *HandshakeError.
func (b *Bus) Dial(ctx context.Context, target Target, kind Kind) (net.Conn, Peer, error) {
	l, err := b.dial(ctx, target, kind)
	if err != nil {
		return nil, Peer{}, err
	}
	return l, l.peer, nil
}

func (b *Bus) dial(ctx context.Context, target Target, kind Kind) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.DialTimeout)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()

	mine := b.options.Identity()
	if mine.Cluster.IsZero() && kind != KindControl {
		err := fits(mine, Identity{}, kind)
		detail, _ := split(err)
		return nil, &HandshakeError{Reason: ErrNotReady, Address: target.Address, Local: mine, Wanted: target, Detail: detail}
	}
	conn, err := b.options.Dialer(ctx, "tcp", target.Address)
	if err != nil {
		return nil, b.unreachable(ctx, target, err)
	}
	l, err := b.introduce(ctx, conn, mine, target, kind)
	if err != nil {
		conn.Close()
		return nil, b.unreachable(ctx, target, err)
	}
	return l, nil
}

// unreachable gives the error of a dial its class. One that the end of a context caused says so.
func (b *Bus) unreachable(ctx context.Context, target Target, err error) error {
	var refused *HandshakeError
	switch {
	case errors.As(err, &refused):
		return err
	case b.ctx.Err() != nil:
		err = net.ErrClosed
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, err)
}

// introduce does the dialling side's part of the handshake. The connection is the caller's to close when there is an error.
func (b *Bus) introduce(ctx context.Context, conn net.Conn, mine Identity, target Target, kind Kind) (*link, error) {
	conn.SetDeadline(time.Now().Add(b.options.HandshakeTimeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	var state tls.ConnectionState
	if b.options.ClientTLS != nil {
		secure := tls.Client(conn, clientConfig(b.options.ClientTLS, target.Address))
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn, state = secure, secure.ConnectionState()
	}
	first := greeting{message: hello, min: minVersion, max: maxVersion, kind: kind, Identity: mine, wanted: target}
	bytes, err := first.append(nil)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(bytes); err != nil {
		return nil, fmt.Errorf("HELLO: %w", err)
	}
	reply, err := readGreeting(conn)
	if err != nil {
		return nil, fmt.Errorf("reply to HELLO: %w", err)
	}
	l := &link{
		Conn: conn, bus: b, mine: mine, kind: kind, since: time.Now(),
		guest: mine.Cluster.IsZero() || reply.Cluster.IsZero(),
		peer:  Peer{Identity: reply.Identity, Address: target.Address},
	}
	failed := HandshakeError{Address: target.Address, Local: mine, Remote: reply.Identity, Wanted: target}
	switch reply.message {
	case refuse:
		failed.Reason, failed.Detail, failed.ByPeer = reasonOf(reply.code), printable(reply.detail), true
		return nil, &failed
	case welcome:
	default:
		return nil, fmt.Errorf("%w: message %d", ErrNoBus, reply.message)
	}
	if err := l.check(&reply, target, state); err != nil {
		failed.Detail, failed.Reason = split(err)
		return nil, &failed
	}
	if err := b.admit(l); err != nil {
		return nil, err
	}
	if !stop() { // the deadline of the past may come at any time
		l.Close()
		return nil, ctx.Err()
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// check is the dialling side's judgement of WELCOME. It trusts nobody to have checked HELLO.
func (l *link) check(reply *greeting, target Target, state tls.ConnectionState) (err error) {
	if l.peer.Version, err = reply.version(); err != nil {
		return err
	}
	if err := fits(l.mine, reply.Identity, l.kind); err != nil {
		return err
	}
	if err := target.fits(reply.Identity); err != nil {
		return err
	}
	l.peer.Verified, err = certified(state, l.mine, reply.Identity)
	return err
}

// clientConfig makes the host that was dialled the name that the certificate has to have, as tls.Dial does.
func clientConfig(config *tls.Config, address string) *tls.Config {
	if config.ServerName != "" || config.InsecureSkipVerify {
		return config
	}
	config = config.Clone()
	config.ServerName = address
	if host, _, err := net.SplitHostPort(address); err == nil {
		config.ServerName = host
	}
	return config
}

// printable makes a text of others fit for a log.
func printable(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c < ' ' || c > '~' {
			out[i] = '?'
		}
	}
	return string(out)
}
