package protocol

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

// conn is one client.
type conn struct {
	server    *Server
	config    *Config // as of the last command
	nc        net.Conn
	listener  string
	id        int64
	reader    *resp.Reader
	input     *resp.Input
	replies   resp.Writer
	out       *resp.Outbox
	tx        transaction
	replyMode replyMode
	checked   checkedHeader
	noTouch   bool // CLIENT NO-TOUCH

	request    call      // the command that is being done
	keyScratch [][]byte  // for its keys
	now        time.Time // when the last command ended, unless the client was waited for since
	quit       bool      // close after the replies are sent

	authenticated bool
	activity
	uploadRate

	deadline time.Time // of reading; zero for none
	stopping atomic.Bool
}

// flushAt is how many bytes of replies are sent even though more commands wait to be executed.
const flushAt = 64 << 10

func (c *conn) flushAt() int64 {
	if c.authenticated {
		return flushAt
	}
	return strangerOutput
}

// connBytes is about what a connection has on the Go heap: its goroutine's stack, and what it keeps.
const connBytes = 12 << 10

func newConn(s *Server, nc net.Conn, listener string, id int64) *conn {
	c := &conn{server: s, config: s.config.Load(), nc: nc, listener: listener, id: id}
	c.since = time.Now()
	c.descriptor = descriptorOf(nc)
	c.identity.Store(&identity{proto: 2})
	c.lastUse.Store(c.since.UnixMilli())
	c.queueShown.Store(-1)
	c.replies = resp.NewWriter(wireError, s.countError)
	c.input = resp.NewInput(nc)
	c.reader = resp.NewReader(commandSource{c}, s.pool, &s.clients, s.budget, c.config.limits(false), s.admit, c.reserve)
	c.out = resp.NewOutbox(nc, &s.output)
	c.setAuthenticated(c.config.Password == "")
	return c
}

func (c *conn) serve() {
	defer c.end()
	for !c.quit {
		c.uploadRate = uploadRate{} // one for each command
		args, err := c.reader.Next()
		if err == nil {
			c.server.counters.commands.Add(1)
			pending, suppressing := c.suppressReplies()
			c.server.dispatch(c, args)
			c.restoreReplies(pending, suppressing)
		} else if !c.refuse(err) {
			return
		}
		if c.replies.Out.Len() >= c.flushAt() && c.flush() != nil {
			return
		}
		if config := c.server.config.Load(); config != c.config {
			c.config = config
			c.setAuthenticated(c.authenticated)
		}
	}
	if c.flush() == nil {
		c.out.Flush() // an error means that nobody is there to be told
	}
}

// refuse answers a command that could not be read, and reports whether the connection goes on.
func (c *conn) refuse(err error) bool {
	var refusal resp.Refusal
	switch {
	case errors.As(err, &refusal):
		c.server.counters.commands.Add(1)
		if errors.Is(err, resp.ErrBusy) {
			c.server.counters.busyUploads.Add(1)
		}
		c.tx.failed = c.tx.open
		pending, suppressing := c.suppressReplies()
		c.replies.Error(refusal.Err)
		c.restoreReplies(pending, suppressing)
		return true
	case errors.Is(err, resp.ErrProtocol):
		c.server.counters.protocolErrors.Add(1)
		c.goodbye(err)
	case errors.Is(err, ErrStalled), errors.Is(err, ErrTooSlow):
		c.goodbye(err)
	}
	return false // or the client has gone, was idle for too long, or the server stops
}

// end gives back everything that the connection holds. A panic in a command ends its connection alone.
func (c *conn) end() {
	if p := recover(); p != nil {
		c.server.counters.panics.Add(1)
		c.server.log.Error("a command panicked, its connection is closed", "client", c.nc.RemoteAddr(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
	c.nc.Close()
	switch err := c.out.Close(); {
	case errors.Is(err, resp.ErrOutputLimit):
		c.server.counters.outputLimits.Add(1)
		c.server.log.Warn("a client is closed", "client", c.nc.RemoteAddr(), "err", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.server.counters.replyStalls.Add(1)
		c.server.log.Warn("a client is closed, it does not read its replies", "client", c.nc.RemoteAddr())
	}
	c.endTransaction()
	c.reader.Close()
	resp.Release(c.replies.Out.Take())
	c.server.store.Memory().AddGarbage(connBytes)
}

func (c *conn) flush() error {
	if c.replies.Out.Len() == 0 {
		return nil
	}
	c.server.counters.bytesOut.Add(c.replies.Out.Len())
	if n := c.replies.Out.Len(); n > c.usage.replyPeak.Load() {
		c.usage.replyPeak.Store(n)
	}
	c.now = time.Time{} // Send may wait
	return c.out.Send(c.replies.Out.Take())
}

// goodbye tells the client why its connection ends.
func (c *conn) goodbye(err error) {
	c.server.log.Debug("a connection is closed", "client", c.nc.RemoteAddr(), "err", err)
	c.endTransaction()
	c.reader.Release() // before the wait for the client
	c.replies.Error(err)
	c.linger()
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

// touch reports whether this client's reads make keys count as used.
func (c *conn) touch() bool { return !c.noTouch }
