package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// dialer is the dialling side of a Bus: it opens connections and shares one control connection per
// address among all calls.
type dialer struct {
	core *core

	mu       sync.Mutex // guards all below; taken before the lock of a client
	closed   bool
	clients  map[string]*client // by address; those that new calls may use
	attempts map[Target]*attempt
}

// attempt is a control connection that is being opened, for all calls that want it meanwhile.
type attempt struct {
	done   chan struct{} // closed once the fields below are set
	client *client
	err    error
}

func newDialer(c *core) *dialer {
	return &dialer{core: c, clients: make(map[string]*client), attempts: make(map[Target]*attempt)}
}

// close makes later calls fail. Closing the links ends the connections.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// client returns a control connection to a target, an existing one if possible.
func (d *dialer) client(ctx context.Context, target Target) (*client, error) {
	local := d.core.options.Identity()
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil, fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, net.ErrClosed)
	}
	if c := d.clients[target.Address]; c != nil && c.usableFor(local, target) {
		d.mu.Unlock()
		return c, nil
	}
	a := d.attempts[target]
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		d.attempts[target] = a
		d.core.running.Go(func() { d.connect(target, a) })
	}
	d.mu.Unlock()
	select {
	case <-a.done:
		if a.err == nil && !a.client.usableFor(d.core.options.Identity(), target) {
			return nil, errUnsent
		}
		return a.client, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("bus: %s: %w: connecting: %w", target.Address, ErrUnreachable, ctx.Err())
	}
}

// connect carries out an attempt, and runs the connection that it opens.
func (d *dialer) connect(target Target, a *attempt) {
	l, err := d.dial(d.core.ctx, target, KindControl)
	var old *client
	d.mu.Lock()
	delete(d.attempts, target)
	if a.err = err; err == nil {
		a.client = newClient(d, l)
		old = d.clients[target.Address]
		d.clients[target.Address] = a.client
	}
	d.mu.Unlock()
	close(a.done)
	if err != nil {
		return
	}
	if old != nil {
		old.retire()
	}
	a.client.run()
}

func (d *dialer) renew() {
	d.mu.Lock()
	clients := make([]*client, 0, len(d.clients))
	for _, c := range d.clients {
		clients = append(clients, c)
	}
	d.mu.Unlock()
	for _, c := range clients {
		c.retire()
	}
}

// drop makes new calls use another connection.
func (d *dialer) drop(c *client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clients[c.link.peer.Address] == c {
		delete(d.clients, c.link.peer.Address)
	}
}

func (d *dialer) dial(ctx context.Context, target Target, kind Kind) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.core.options.DialTimeout)
	defer cancel()
	defer context.AfterFunc(d.core.ctx, cancel)()

	local := d.core.options.Identity()
	if local.Cluster.IsZero() && kind != KindControl {
		err := mayConnect(local, Identity{}, kind)
		detail, _ := splitReason(err)
		return nil, &HandshakeError{Reason: ErrNotReady, Address: target.Address, Local: local, Wanted: target, Detail: detail}
	}
	conn, err := d.core.options.Dialer(ctx, "tcp", target.Address)
	if err != nil {
		return nil, d.dialError(ctx, target, err)
	}
	l, err := d.handshake(ctx, conn, local, target, kind)
	if err != nil {
		conn.Close()
		d.logMistake(target, err)
		return nil, d.dialError(ctx, target, err)
	}
	return l, nil
}

// logMistake logs a failure that trying again does not mend: most callers try again, and log nothing at a level that is shown.
func (d *dialer) logMistake(target Target, err error) {
	var secure *tlsError
	switch {
	case errors.As(err, &secure):
	case !slices.ContainsFunc([]error{ErrVersion, ErrCertificate, ErrRemoved, ErrMixed}, func(reason error) bool { return errors.Is(err, reason) }):
		return
	}
	if d.core.shows("to", target.Address, err) {
		d.core.options.Log.Warn("handshake failed on the bus", "to", target.Address, "err", err)
	}
}

// dialError classifies the error of a dial. If a context ended the dial, the result wraps the error of that context.
func (d *dialer) dialError(ctx context.Context, target Target, err error) error {
	var refused *HandshakeError
	switch {
	case errors.As(err, &refused):
		return err
	case d.core.ctx.Err() != nil:
		err = net.ErrClosed
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, err)
}

// handshake does the dialling side's part of a handshake. On an error the caller closes the connection.
func (d *dialer) handshake(ctx context.Context, conn net.Conn, local Identity, target Target, kind Kind) (*link, error) {
	conn.SetDeadline(time.Now().Add(d.core.options.HandshakeTimeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	spoken, state := conn, tls.ConnectionState{}
	if secure := d.core.options.TLS; secure != nil {
		layer := &gather{Conn: conn}
		over := tls.Client(layer, secure.client())
		if err := over.HandshakeContext(ctx); err != nil {
			if refused := refusal(err, conn); refused != nil {
				return nil, refused
			}
			return nil, &tlsError{target.Address, false, err}
		}
		spoken, state = &gathered{over, layer}, over.ConnectionState()
	}
	l, err := d.sayHello(spoken, local, target, kind, state)
	if err != nil {
		return nil, err
	}
	if err := d.core.links.admit(l); err != nil {
		return nil, err
	}
	if !stop() { // the function above may set its deadline at any time
		l.Close()
		return nil, ctx.Err()
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// sayHello writes HELLO and checks the reply. The link that it returns is not in the registry yet.
func (d *dialer) sayHello(conn net.Conn, local Identity, target Target, kind Kind, state tls.ConnectionState) (*link, error) {
	own := d.core.options.versions
	first := greeting{message: hello, min: own.min, max: own.max, kind: kind, Identity: local, wanted: target}
	bytes, err := first.append(nil)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(bytes); err != nil {
		return nil, fmt.Errorf("HELLO: %w", err)
	}
	reply, err := readGreeting(conn)
	if err != nil && d.core.options.TLS != nil { // with TLS 1.3 the other side's verdict about the certificate follows the handshake
		return nil, &tlsError{target.Address, false, err}
	}
	if err != nil {
		return nil, fmt.Errorf("reply to HELLO: %w", err)
	}
	l := &link{
		Conn: conn, registry: &d.core.links, local: local, kind: kind, since: time.Now(),
		guest: local.Cluster.IsZero() || reply.Cluster.IsZero(),
		peer:  Peer{Identity: reply.Identity, Address: target.Address},
	}
	failed := HandshakeError{Address: target.Address, Local: local, Remote: reply.Identity, Wanted: target}
	switch reply.message {
	case refuse:
		failed.Reason, failed.Detail, failed.ByPeer = reasonOf(reply.code), printable(reply.detail), true
		if failed.Reason == ErrVersion { // the peer's text has the two the other way round
			failed.Detail = own.differ(&reply)
		}
		return nil, &failed
	case welcome:
	default:
		return nil, fmt.Errorf("%w: message %d", ErrNoBus, reply.message)
	}
	if err := l.checkWelcome(&reply, &d.core.options, target, state); err != nil {
		failed.Detail, failed.Reason = splitReason(err)
		return nil, &failed
	}
	return l, nil
}

// checkWelcome applies the rules on the dialling side too: it does not rely on the peer's check of HELLO.
func (l *link) checkWelcome(reply *greeting, options *Options, target Target, state tls.ConnectionState) (err error) {
	if l.peer.Version, err = options.versions.agree(reply); err != nil {
		return err
	}
	if l.peer.Verified, err = options.TLS.admits(state, l.local, reply.Identity); err != nil {
		return err
	}
	if err := mayConnect(l.local, reply.Identity, l.kind); err != nil {
		return err
	}
	return target.matches(reply.Identity)
}

// printable makes a text of the peer safe to log.
func printable(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c < ' ' || c > '~' {
			out[i] = '?'
		}
	}
	return string(out)
}
