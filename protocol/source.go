package protocol

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ndring/ndring/protocol/resp"
)

var (
	// ErrStalled is returned when a client stops sending within a command.
	ErrStalled = errors.New("the upload stalled")
	// ErrTooSlow is returned when an upload is slow while others wait for room.
	ErrTooSlow = errors.New("the upload is too slow, others wait")

	errIdle = errors.New("idle for too long")
)

const (
	uploadTick  = time.Second     // between two checks of a silent upload
	uploadGrace = 5 * time.Second // for an upload before its rate counts
)

// commandSource is what a connection's Reader reads from. It sends the pending replies before it waits
// for the client, and enforces the idle time and the upload limits.
type commandSource struct{ *conn }

// Receive implements resp.Source.
func (c commandSource) Receive(dst resp.Destination) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	c.now = time.Time{}
	c.publish()
	// A transaction that holds more room than a small command counts as an upload until its EXEC.
	inCommand := c.reader.InCommand()
	within := inCommand || c.reader.Held() > resp.SmallBulk
	if within != c.uploading {
		c.uploadRate = uploadRate{uploading: within}
	}
	for {
		if c.stopping.Load() && !inCommand {
			return 0, net.ErrClosed
		}
		timeout := c.config.IdleTimeout
		if within {
			timeout = min(uploadTick, c.config.UploadStall-c.silent)
		}
		began := time.Now()
		if left := c.deadline.Sub(began); timeout > 0 && (left > timeout || left < timeout/2) || timeout <= 0 && !c.deadline.IsZero() {
			var until time.Time
			if timeout > 0 {
				until = began.Add(timeout)
			}
			if err := c.nc.SetReadDeadline(until); err != nil {
				return 0, err
			}
			c.deadline = until
			if c.stopping.Load() && !inCommand { // stop ran in between, and its deadline was overwritten
				return 0, net.ErrClosed
			}
		}
		c.server.tracker.rest(c.conn)
		n, err := c.input.Receive(dst)
		c.server.tracker.resume(c.conn)
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

// step counts the result of one read, and returns an error when the upload must end.
func (c commandSource) step(n int, took time.Duration) error {
	c.spent += took
	c.silent += took
	c.received += int64(n)
	if n > 0 {
		c.silent = 0
	}
	if c.silent >= c.config.UploadStall {
		c.server.counters.uploadStalls.Add(1)
		return fmt.Errorf("%w: no bytes for %v", ErrStalled, c.config.UploadStall)
	}
	if c.spent < uploadGrace || c.reader.Held() == 0 || !c.server.budget.Wanted() {
		return nil
	}
	if rate := float64(c.received) / c.spent.Seconds(); rate < float64(c.config.MinUploadRate) {
		c.server.counters.slowUploads.Add(1)
		return fmt.Errorf("%w: received %.0f B/s, minimum is %d", ErrTooSlow, rate, c.config.MinUploadRate)
	}
	return nil
}
