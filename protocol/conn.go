package protocol

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// conn is one client.
type conn struct {
	server   *Server
	nc       net.Conn
	listener string
	id       int64
	reader   *Reader
	replies  Replies
	out      *outbox
	quit     bool // close after the replies are sent

	authenticated bool
	activity

	deadline bool // a read deadline is set
	stopping atomic.Bool
}

// flushAt is how many bytes of replies are sent even though more commands wait to be executed.
const flushAt = 64 << 10

func newConn(s *Server, nc net.Conn, listener string, id int64) *conn {
	c := &conn{server: s, nc: nc, listener: listener, id: id}
	c.since = time.Now()
	c.identity.Store(&identity{proto: 2})
	c.lastUse.Store(c.since.UnixMilli())
	c.reader = NewReader(commandSource{c}, s.pool, s.budget, s.config.limits(), s.admit)
	c.out = newOutbox(nc, s.config.MaxReplyBytes, s.config.ReplyStall)
	c.setAuthenticated(s.config.Password == "")
	return c
}

func (c *conn) serve() {
	defer c.end()
	for !c.quit {
		args, err := c.reader.Next()
		var refusal refused
		switch {
		case err == nil:
			c.server.counters.commands.Add(1)
			c.server.dispatch(c, args)
		case errors.As(err, &refusal):
			c.server.counters.commands.Add(1)
			c.replies.Error(refusal.error)
		case errors.Is(err, ErrProtocol):
			c.server.counters.protocolErrors.Add(1)
			c.server.log.Debug("protocol error", "client", c.nc.RemoteAddr(), "err", err)
			c.replies.Error(err)
			c.linger()
			return
		default: // the client has gone, was silent for too long, or the server stops
			return
		}
		if c.replies.Len() >= flushAt && c.flush() != nil {
			return
		}
	}
	if c.flush() == nil {
		c.out.Flush() // an error means that nobody is there to be told
	}
}

// end gives back everything that the connection holds. A panic in a command ends its connection alone.
func (c *conn) end() {
	if p := recover(); p != nil {
		c.server.counters.panics.Add(1)
		c.server.log.Error("a command panicked, its connection is closed", "client", c.nc.RemoteAddr(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
	c.nc.Close()
	c.out.Close()
	c.reader.Release()
	releasePieces(c.replies.take())
	c.server.counters.errors.Add(c.replies.errors)
}

func (c *conn) flush() error {
	if c.replies.Len() == 0 {
		return nil
	}
	c.server.counters.bytesOut.Add(c.replies.Len())
	c.server.counters.errors.Add(c.replies.errors)
	c.replies.errors = 0
	return c.out.Send(c.replies.take())
}

// linger sends what waits and reads on for a moment: a socket that is closed with unread bytes is reset, and the client may
// never see why.
func (c *conn) linger() {
	if c.flush() != nil || c.out.Flush() != nil {
		return
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, c.nc, lingerBytes) // any outcome ends the connection
	}
}

// stop ends the connection as soon as it is between two commands.
func (c *conn) stop() {
	c.stopping.Store(true)
	c.nc.SetReadDeadline(time.Now()) // wakes a read that waits; if it fails, the connection is closed already
}

// commandSource is what the Reader reads from: before it waits for the client, the client gets its replies.
type commandSource struct{ *conn }

func (c commandSource) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	for {
		inCommand := c.reader.InCommand()
		if c.stopping.Load() && !inCommand {
			return 0, net.ErrClosed
		}
		if inCommand || c.deadline {
			var until time.Time
			if inCommand {
				until = time.Now().Add(c.server.config.UploadStall)
			}
			if err := c.nc.SetReadDeadline(until); err != nil {
				return 0, err
			}
			c.deadline = inCommand
			if c.stopping.Load() && !inCommand { // stop came in between; its deadline is overwritten
				return 0, net.ErrClosed
			}
		}
		began := time.Now()
		n, err := c.nc.Read(p)
		c.server.counters.bytesIn.Add(int64(n))
		var timeout net.Error
		if n == 0 && inCommand && c.stopping.Load() && errors.As(err, &timeout) && timeout.Timeout() && time.Since(began) < c.server.config.UploadStall {
			continue // woken by stop, within a command: it may end
		}
		return n, err
	}
}
