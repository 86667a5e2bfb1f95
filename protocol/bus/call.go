package bus

import (
	"context"
	"errors"
	"fmt"
)

// maxTries bounds how often a call looks for a connection: one may end, or an identity change, before
// the request is sent, but not often.
const maxTries = 4

func (d *dialer) call(ctx context.Context, target Target, method Method, payload []byte) ([]byte, Peer, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.core.options.CallTimeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, Peer{}, fmt.Errorf("bus: %s: %w: %w", target.Address, ErrUnreachable, err)
	}
	var last error
	for range maxTries {
		c, err := d.client(ctx, target)
		if last = err; err == errUnsent {
			continue
		}
		if err != nil {
			return nil, Peer{}, err
		}
		if limit := c.maxRequest(); len(payload) > limit {
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
