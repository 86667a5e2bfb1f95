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

// conn is one client. Its own goroutine uses it, except for activity, stopping, nc and out, which others
// may use at any time.
type conn struct {
	server  *Server
	config  *Config // as of the last command
	nc      net.Conn
	origin  origin
	id      int64
	reader  *resp.Reader
	input   *resp.Input
	replies resp.Writer
	out     *resp.Outbox

	denied        bool // protected mode refuses it
	authenticated bool
	tx            transaction
	keys          keyAccess
	replyMode     replyMode
	unsettled     unsettled
	written       written
	track         tracked

	request   call  // the current command
	sent      int64 // bytes of replies, since the start
	replyFrom int64 // where the reply of the current command begins, counted like sent

	now  time.Time // when the last command ended; zero if the connection has waited since
	quit bool      // close once the replies are sent

	activity
	uploadRate

	deadline time.Time // of reading; zero for none
	stopping atomic.Bool
}

// flushAt is the number of reply bytes that are sent even though more commands are waiting.
const flushAt = 64 << 10

func (c *conn) flushAt() int64 {
	if c.authenticated {
		return flushAt
	}
	return strangerOutput
}

// connBytes is roughly what a connection has on the Go heap: its goroutine's stack and its buffers.
const connBytes = 12 << 10

// configure makes the connection follow a configuration.
func (c *conn) configure(config *Config) {
	c.config = config
	c.keys.maxArrayBytes = config.MaxArrayBytes
	c.setAuthenticated(c.authenticated)
}

// end releases everything that the connection holds. A panic in a command ends only its connection.
func (c *conn) end() {
	if p := recover(); p != nil {
		c.server.counters.panics.Add(1)
		c.server.log.Error("command panicked, connection closed", "client", c.nc.RemoteAddr(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	}
	c.server.tracker.stop(c)
	c.nc.Close()
	c.unsettled.endWaits()
	switch err := c.out.Close(); {
	case errors.Is(err, resp.ErrOutputLimit):
		c.server.counters.outputLimits.Add(1)
		c.server.log.Warn("client disconnected", "client", c.nc.RemoteAddr(), "err", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.server.counters.replyStalls.Add(1)
		c.server.log.Warn("client disconnected for not reading replies", "client", c.nc.RemoteAddr())
	}
	c.endTransaction()
	c.reader.Close()
	resp.Release(c.replies.Out.Take())
	c.server.store.Memory().AddGarbage(connBytes)
}

// flush settles the replies and sends them. It is the only way out.
func (c *conn) flush() error {
	c.settle()
	c.server.tracker.tell(c)
	n := c.replies.Out.Len()
	if n == 0 {
		return nil
	}
	c.server.counters.bytesOut.Add(n)
	if n > c.usage.replyPeak.Load() {
		c.usage.replyPeak.Store(n)
	}
	c.sent += n
	c.now = time.Time{} // Send may wait
	return c.out.Send(c.replies.Out.Take())
}

// closeWithError tells the client why its connection ends.
func (c *conn) closeWithError(err error) {
	c.server.log.Debug("connection closed", "client", c.nc.RemoteAddr(), "err", err)
	c.endTransaction()
	c.reader.Release() // before waiting for the client
	c.replies.Error(err)
	c.linger()
}

// linger sends the pending replies and drains the stream for a moment: closing a socket with unread bytes
// resets it, and the client might never see the error.
func (c *conn) linger() {
	if c.flush() != nil || c.out.Flush() != nil {
		return
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		io.CopyN(io.Discard, c.nc, lingerBytes) // the connection ends either way
	}
}

// cut closes the connection, also within a command.
func (c *conn) cut() {
	c.nc.Close()
	c.unsettled.endWaits()
}

// stop ends the connection once it is between two commands.
func (c *conn) stop() {
	c.stopping.Store(true)
	c.nc.SetReadDeadline(time.Now()) // wakes a blocked read; fails if the connection is closed already
}

// setAuthenticated changes what the client may do and, starting with its next command, how much it may send.
func (c *conn) setAuthenticated(yes bool) {
	c.authenticated = yes
	if yes {
		c.out.SetMax(0)
	} else {
		c.out.SetMax(strangerOutput)
	}
	limits := c.config.limits(yes)
	if limits.Budget = c.server.budget; !yes {
		limits.Budget = c.server.strangers
	}
	c.reader.SetLimits(limits)
}

// uploadRate measures how fast the command that is being read arrives. Only time in which the client
// could have sent counts.
type uploadRate struct {
	uploading bool
	spent     time.Duration // since the command's first byte
	silent    time.Duration // since the last byte
	received  int64         // bytes
}

// endTransaction drops everything that is queued and watched.
func (c *conn) endTransaction() {
	for _, q := range c.tx.queue {
		c.reader.Drop(q.Kept)
	}
	c.tx = transaction{}
	c.queueShown.Store(-1)
}
