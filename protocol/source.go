package protocol

import (
	"errors"
	"fmt"
	"net"
	"time"
)

var (
	// ErrStalled is returned when a client falls silent within a command.
	ErrStalled = errors.New("the upload stalled")
	// ErrTooSlow is returned when an upload is slow while others wait for its room.
	ErrTooSlow = errors.New("the upload is too slow, others wait")

	errIdle = errors.New("idle for too long")
)

const (
	paceTick  = time.Second     // how often a silent upload is looked at
	paceGrace = 5 * time.Second // how long an upload may take before its rate counts
)

// pace is how fast the command comes that is being read. Only time in which the client could have sent counts.
type pace struct {
	uploading bool
	spent     time.Duration // since the command's first byte
	silent    time.Duration // since the last byte
	came      int64         // bytes
}

// commandSource is what the Reader reads from: before it waits for the client, the client gets its replies.
type commandSource struct{ *conn }

// Read implements source.
func (c commandSource) Read(p []byte) (int, error) {
	c.input.direct = p
	defer func() { c.input.direct = nil }()
	return c.receive()
}

// ReadInto implements source.
func (c commandSource) ReadInto(m aheadMemory) (int, error) {
	c.input.memory = m
	defer func() { c.input.memory = nil }()
	return c.receive()
}

func (c commandSource) receive() (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	c.now = time.Time{}
	c.publish()
	// A transaction that holds room for its uploads is an upload until its EXEC.
	inCommand := c.reader.InCommand()
	within := inCommand || c.reader.Held() > smallBulk
	if within != c.uploading {
		c.pace = pace{uploading: within}
	}
	for {
		if c.stopping.Load() && !inCommand {
			return 0, net.ErrClosed
		}
		patience := c.config.IdleTimeout
		if within {
			patience = min(paceTick, c.config.UploadStall-c.silent)
		}
		began := time.Now()
		if left := c.deadline.Sub(began); patience > 0 && (left > patience || left < patience/2) || patience <= 0 && !c.deadline.IsZero() {
			var until time.Time
			if patience > 0 {
				until = began.Add(patience)
			}
			if err := c.nc.SetReadDeadline(until); err != nil {
				return 0, err
			}
			c.deadline = until
			if c.stopping.Load() && !inCommand { // stop came in between; its deadline is overwritten
				return 0, net.ErrClosed
			}
		}
		n, err := c.input.read()
		c.server.counters.bytesIn.Add(int64(n))
		timedOut := n == 0 && isTimeout(err)
		if timedOut {
			c.deadline = time.Time{} // has passed
		}
		switch {
		case !within && timedOut && !c.stopping.Load():
			c.server.counters.idleTimeouts.Add(1)
			return 0, errIdle
		case !within || n == 0 && !timedOut:
			return n, err
		}
		if err := c.step(n, time.Since(began)); err != nil {
			return 0, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// step notes what one read has brought, and returns an error when the upload must not go on.
func (c commandSource) step(n int, took time.Duration) error {
	c.spent += took
	c.silent += took
	c.came += int64(n)
	if n > 0 {
		c.silent = 0
	}
	if c.silent >= c.config.UploadStall {
		c.server.counters.uploadStalls.Add(1)
		return fmt.Errorf("%w: nothing came for %v", ErrStalled, c.config.UploadStall)
	}
	if c.spent < paceGrace || c.reader.Held() == 0 || !c.server.budget.Wanted() {
		return nil
	}
	if rate := float64(c.came) / c.spent.Seconds(); rate < float64(c.config.MinUploadRate) {
		c.server.counters.slowUploads.Add(1)
		return fmt.Errorf("%w: %.0f bytes a second came, the least is %d", ErrTooSlow, rate, c.config.MinUploadRate)
	}
	return nil
}
