package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
)

// Call sends a request to a node and returns its reply, and who gave it. The time that ctx leaves, or else CallTimeout, is the remote handler's, too. The payload
// may be changed once Call has returned.
//
// An error is a *RemoteError when the handler answered with one; else it wraps ErrUnreachable when the request had no effect, or ErrUncertain when that is unknown.
// When ctx was the reason, it wraps that one's error, too.
func (b *Bus) Call(ctx context.Context, target Target, method Method, payload []byte) ([]byte, Peer, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.options.CallTimeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, Peer{}, fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, err)
	}
	var last error
	for range 4 { // connections may end, and identities change, before a request is sent; not often
		c, err := b.client(ctx, target)
		if last = err; err == errUnsent {
			continue
		}
		if err != nil {
			return nil, Peer{}, err
		}
		if limit := c.limit(); len(payload) > limit {
			return nil, c.link.peer, fmt.Errorf("bus: method %d: %w: %w: %d bytes, the limit is %d", method, ErrUnreachable, ErrTooLarge, len(payload), limit)
		}
		reply, err := c.call(ctx, method, payload)
		var remote *RemoteError
		switch {
		case err == nil:
			return reply, c.link.peer, nil
		case errors.As(err, &remote) && remote.Code == codeStale:
			c.retire()
		case errors.As(err, &remote):
			return nil, c.link.peer, err
		case err != errUnsent:
			return nil, c.link.peer, fmt.Errorf("bus: method %d of %s at %s: %w", method, orNone(string(c.link.peer.Node)), target.Address, err)
		}
		last = err
	}
	return nil, Peer{}, fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, last)
}

// limit is how long a request may be.
func (c *client) limit() int {
	if c.link.guest {
		return MaxGuestPayload
	}
	return c.bus.options.MaxPayload
}

// flight is an attempt to connect, for all who want the same node meanwhile.
type flight struct {
	done   chan struct{} // closed when the rest is there
	client *client
	err    error
}

// client returns a connection to a target, an existing one if possible.
func (b *Bus) client(ctx context.Context, target Target) (*client, error) {
	mine := b.options.Identity()
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return nil, fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, net.ErrClosed)
	}
	if c := b.clients[target.Address]; c != nil && c.fits(mine, target) {
		b.mu.Unlock()
		return c, nil
	}
	f := b.flights[target]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		b.flights[target] = f
		b.done.Go(func() { b.connect(target, f) })
	}
	b.mu.Unlock()
	select {
	case <-f.done:
		if f.err == nil && !f.client.fits(b.options.Identity(), target) {
			return nil, errUnsent
		}
		return f.client, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("bus: %s: %w: connecting: %w", target.Address, ErrUnreachable, ctx.Err())
	}
}

// connect does a flight, and serves the connection that comes of it.
func (b *Bus) connect(target Target, f *flight) {
	l, err := b.dial(b.ctx, target, KindControl)
	var old *client
	b.mu.Lock()
	delete(b.flights, target)
	if f.err = err; err == nil {
		f.client = b.newClient(l)
		old = b.clients[target.Address]
		b.clients[target.Address] = f.client
	}
	b.mu.Unlock()
	close(f.done)
	if err != nil {
		return
	}
	if old != nil {
		old.retire()
	}
	f.client.run()
}

// Renew has calls go over new connections from now on: this machine's address is another one, and those that were made from the old one lead nowhere, without
// anybody saying so. Calls that are under way keep theirs.
func (b *Bus) Renew() {
	b.mu.Lock()
	clients := slices.Collect(maps.Values(b.clients))
	b.mu.Unlock()
	for _, c := range clients {
		c.retire()
	}
}

// drop takes a connection out of those for new calls.
func (b *Bus) drop(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clients[c.link.peer.Address] == c {
		delete(b.clients, c.link.peer.Address)
	}
}
