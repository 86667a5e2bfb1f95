package protocol

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// serve executes a client's commands until the connection ends.
func (c *conn) serve() {
	defer c.end()
	if !c.server.handshakes.shake(c) {
		return
	}
	for !c.quit {
		c.uploadRate = uploadRate{} // one for each command
		args, err := c.reader.Next()
		if err == nil {
			c.server.counters.commands.Add(1)
			c.server.tracker.tell(c)
			aside := c.replyMode.suppress(c)
			c.server.dispatch(c, args)
			aside.restore(c)
			c.track.end(c)
		} else if !c.handleReadError(err) {
			return
		}
		if (c.replies.Out.Len() >= c.flushAt() || len(c.unsettled.replies) >= maxUnsettled) && c.flush() != nil {
			return
		}
		if config := c.server.config.Load(); config != c.config {
			c.configure(config)
		}
	}
	if c.flush() == nil {
		c.out.Flush() // an error means that the client has disconnected
	}
}

// handleReadError answers a command that could not be read, and reports whether the connection goes on.
func (c *conn) handleReadError(err error) bool {
	var refusal resp.Refusal
	switch {
	case errors.As(err, &refusal):
		c.server.counters.commands.Add(1)
		if errors.Is(err, resp.ErrBusy) {
			c.server.counters.busyUploads.Add(1)
		}
		c.tx.failed = c.tx.open
		aside := c.replyMode.suppress(c)
		c.replies.Error(refusal.Err)
		aside.restore(c)
		return true
	case errors.Is(err, resp.ErrProtocol):
		c.server.counters.protocolErrors.Add(1)
		if errors.Is(err, resp.ErrSpeaksTLS) {
			c.server.handshakes.logPlain(c)
		}
		c.closeWithError(err)
	case errors.Is(err, ErrStalled), errors.Is(err, ErrTooSlow):
		c.closeWithError(err)
	}
	return false // otherwise the client has disconnected or was idle for too long, or the server closes
}

func newConn(s *Server, nc net.Conn, l Listener, id int64) *conn {
	c := &conn{server: s, nc: nc, origin: origin{l.Name, nc.LocalAddr(), nc.RemoteAddr()}, id: id}
	c.request = call{replies: &c.replies, from: &c.origin}
	c.keys = keyAccess{store: s.store, pool: s.pool, outputs: &s.output, touch: true, log: s.log}
	c.keys.held.by = id
	c.unsettled.waits, c.unsettled.endWaits = context.WithCancel(s.waits)
	c.since = time.Now()
	c.descriptor = descriptorOf(nc)
	c.identity.Store(&identity{proto: 2})
	c.lastUse.Store(c.since.UnixMilli())
	c.queueShown.Store(-1)
	c.replies = resp.NewWriter(wireError, s.countError)
	if l.TLS != nil {
		c.nc = resp.NewTLSConn(nc, l.TLS)
	}
	c.input = resp.NewInput(c.nc)
	config := s.config.Load()
	c.reader = resp.NewReader(commandSource{c}, s.pool, &s.clients, s.budget, config.limits(false), s.admit, c.reserve)
	c.out = resp.NewOutbox(c.nc, &s.output)
	c.authenticated = config.Password == ""
	c.configure(config)
	return c
}
