package protocol

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outbox sends replies. The connection's goroutine sends by itself as long as the socket takes everything at once; what the socket
// does not take is left to a second goroutine, which lives only until it has sent it, so that the connection goes on reading commands:
// a client that writes a long pipeline before it reads anything would otherwise wait for us while we wait for it.
type outbox struct {
	conn  net.Conn
	raw   syscall.RawConn // nil where the connection is no socket
	limit int64           // bytes that may wait before Send does
	stall time.Duration   // longest time without progress

	mu     sync.Mutex // guards all below
	drain  sync.Cond  // on mu: something was sent, or the sender ended
	queue  []piece
	bytes  int64
	active bool // the second goroutine is there
	err    error
}

func newOutbox(conn net.Conn, limit int64, stall time.Duration) *outbox {
	o := &outbox{conn: conn, limit: limit, stall: stall}
	o.drain.L = &o.mu
	if sc, ok := conn.(syscall.Conn); ok {
		o.raw, _ = sc.SyscallConn() // an error leaves raw nil
	}
	return o
}

// Send takes over the references of pieces and sends them, now or soon. It returns when no more than the limit waits.
func (o *outbox) Send(pieces []piece) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		releasePieces(pieces)
		return o.err
	}
	for _, p := range pieces {
		o.queue = append(o.queue, p)
		o.bytes += int64(len(p.b))
	}
	if !o.active {
		if err := o.tryNow(); err != nil {
			o.fail(err)
			return err
		}
		if len(o.queue) > 0 {
			o.active = true
			go o.sender()
		}
	}
	for o.bytes > o.limit && o.err == nil {
		o.drain.Wait()
	}
	return o.err
}

// Flush waits until everything is sent.
func (o *outbox) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.active && o.err == nil {
		o.drain.Wait()
	}
	return o.err
}

// Close waits until the second goroutine has ended; the connection must be closed before, or have nothing to send.
func (o *outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.active {
		o.drain.Wait()
	}
	o.fail(net.ErrClosed)
}

// Waiting returns the bytes that are not sent yet.
func (o *outbox) Waiting() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// maxVector is how many pieces one system call takes (IOV_MAX is 1024 on Linux).
const maxVector = 512

// tryNow sends what the socket takes without waiting.
func (o *outbox) tryNow() error {
	if o.raw == nil {
		return nil
	}
	for len(o.queue) > 0 {
		vector := make([][]byte, 0, min(len(o.queue), maxVector))
		for _, p := range o.queue[:min(len(o.queue), maxVector)] {
			vector = append(vector, p.b)
		}
		var n int
		var failed error
		if err := o.raw.Write(func(fd uintptr) bool {
			n, failed = unix.Writev(int(fd), vector)
			return true // do not wait until it is writable
		}); err != nil {
			return err
		}
		switch {
		case errors.Is(failed, unix.EINTR):
		case errors.Is(failed, unix.EAGAIN):
			return nil
		case failed != nil:
			return failed
		}
		if n > 0 {
			o.sent(n)
		}
	}
	return nil
}

// sender sends the queue, waiting for the client where it must.
func (o *outbox) sender() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 0 && o.err == nil {
		next := o.queue[0].b
		next = next[:min(len(next), 1<<20)] // so that there is progress to see within one large piece
		o.mu.Unlock()
		err := o.conn.SetWriteDeadline(time.Now().Add(o.stall))
		n := 0
		if err == nil {
			n, err = o.conn.Write(next)
		}
		o.mu.Lock()
		o.sent(n)
		if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			o.fail(err)
		}
		o.drain.Broadcast()
	}
	o.active = false
	o.drain.Broadcast()
}

// sent takes n bytes off the queue.
func (o *outbox) sent(n int) {
	o.bytes -= int64(n)
	done := 0
	for ; done < len(o.queue) && n >= len(o.queue[done].b); done++ {
		n -= len(o.queue[done].b)
	}
	releasePieces(o.queue[:done])
	clear(o.queue[:done])
	o.queue = o.queue[done:]
	if len(o.queue) == 0 {
		o.queue = nil
	} else if n > 0 {
		o.queue[0].b = o.queue[0].b[n:]
	}
}

func (o *outbox) fail(err error) {
	if o.err == nil {
		o.err = err
	}
	releasePieces(o.queue)
	o.queue, o.bytes = nil, 0
	o.drain.Broadcast()
}
