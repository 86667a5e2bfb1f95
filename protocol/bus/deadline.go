package bus

import (
	"bufio"
	"net"
	"time"
)

const (
	progressStep = 256 << 10 // bytes that a peer must accept or send within the stall timeout
	bufferSize   = 16 << 10  // of a control connection in each direction; longer frames bypass it
)

// deadlineConn ends a connection on which a frame in transit makes no progress, however long the whole
// frame may take. One goroutine reads, one writes.
type deadlineConn struct {
	net.Conn
	stall   time.Duration
	idle    time.Duration // longest silence between two frames; 0: unlimited
	inFrame bool          // the reader is within a frame
	heard   func()        // called when the peer has shown that it is alive
	frames  *bufio.Reader
}

func newDeadlineConn(conn net.Conn, stall, idle time.Duration, heard func()) *deadlineConn {
	c := &deadlineConn{Conn: conn, stall: stall, idle: idle, heard: heard}
	c.frames = bufio.NewReaderSize(c, bufferSize)
	return c
}

// next reads a frame. The stall timeout starts with its first byte.
func (c *deadlineConn) next(limit int) (Frame, error) {
	c.inFrame = false
	if _, err := c.frames.Peek(1); err != nil {
		return Frame{}, err
	}
	c.inFrame = true
	return ReadFrame(c.frames, nil, limit)
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	deadline := time.Now().Add(c.stall)
	if !c.inFrame {
		deadline = time.Time{}
		if c.idle > 0 {
			deadline = time.Now().Add(c.idle)
		}
	}
	if err := c.Conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard()
	}
	return n, err
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	written := 0
	for {
		part := b[written:]
		if len(part) > progressStep {
			part = part[:progressStep]
		}
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(part)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
		c.heard() // the peer accepts a long frame, and may not reply before it has all of it
	}
}
