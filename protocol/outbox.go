package protocol

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outbox sends replies. The connection's goroutine sends by itself as long as the socket takes everything at once; what the socket
// does not take is left to a second goroutine, which lives only until it has sent it, so that the connection goes on reading commands:
// a client that writes a long pipeline before it reads anything would otherwise wait for us while we wait for it.
type outbox struct {
	conn   net.Conn
	raw    syscall.RawConn // nil where the connection is no socket
	limits *outputLimits

	stranger bool // before AUTH, which the goroutine that Sends knows

	writeOnce func(fd uintptr) bool // is write
	written   int                   // by it
	failed    error                 // likewise

	mu        sync.Mutex // guards all below
	drain     sync.Cond  // on mu: something was sent, or the sender ended
	queue     []piece
	space     []piece  // empty: where a queue begins
	vector    [][]byte // of tryNow, kept from one call to the next
	bytes     int64
	softSince time.Time // since when more than the soft limit waits; zero if less does
	active    bool      // the second goroutine is there
	err       error
}

// ErrOutput is returned when more replies wait for a client than it may have waiting.
var ErrOutput = errors.New("the client is above its output limit")

// outputLimits bounds the replies that wait for the clients of one server.
type outputLimits struct {
	client, all atomic.Int64 // bytes that may wait, for one client and for all, before Send does
	hard, soft  atomic.Int64 // bytes for one client; 0 for none
	softTime    atomic.Int64 // ns
	stall       atomic.Int64 // ns without progress
	waiting     atomic.Int64 // bytes that wait, for all clients
}

func (l *outputLimits) set(config *Config) {
	l.client.Store(config.MaxReplyBytes)
	l.all.Store(config.MaxOutputBytes)
	l.hard.Store(config.OutputHard)
	l.soft.Store(config.OutputSoft)
	l.softTime.Store(int64(config.OutputSoftTime))
	l.stall.Store(int64(config.ReplyStall))
}

// outputShare is what each client may have waiting even when all together have too much.
const outputShare = 64 << 10 // bytes

// mustWait reports whether so many bytes of one client are too many for it to go on.
func (l *outputLimits) mustWait(bytes int64) bool {
	return bytes > l.client.Load() || bytes > outputShare && l.waiting.Load() > l.all.Load()
}

func newOutbox(conn net.Conn, limits *outputLimits) *outbox {
	o := &outbox{conn: conn, limits: limits}
	o.drain.L = &o.mu
	o.writeOnce = o.write
	if sc, ok := conn.(syscall.Conn); ok {
		o.raw, _ = sc.SyscallConn() // an error leaves raw nil
	}
	return o
}

// Send takes over the references of pieces and sends them, now or soon. It returns when no more waits than may.
func (o *outbox) Send(pieces []piece) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		releasePieces(pieces)
		return o.err
	}
	wasEmpty := len(o.queue) == 0
	if wasEmpty {
		o.queue = o.space
	}
	for _, p := range pieces {
		o.queue = append(o.queue, p)
		o.add(int64(len(p.b)))
	}
	if wasEmpty && cap(o.queue) <= maxVector {
		o.space = o.queue[:0]
	}
	if !o.active {
		if err := o.tryNow(); err != nil {
			o.fail(err)
			return err
		}
	}
	if err := o.check(); err != nil {
		o.fail(err)
		o.conn.SetWriteDeadline(time.Now()) // wakes the sender
		return err
	}
	if !o.active && len(o.queue) > 0 {
		o.active = true
		go o.sender()
	}
	for o.err == nil && (o.limits.mustWait(o.bytes) || o.stranger && o.bytes > strangerOutput) {
		o.drain.Wait()
	}
	return o.err
}

// add counts bytes that come to the queue, or go.
func (o *outbox) add(n int64) {
	o.bytes += n
	o.limits.waiting.Add(n)
}

// check returns an error when more waits than may.
func (o *outbox) check() error {
	if hard := o.limits.hard.Load(); hard > 0 && o.bytes > hard {
		return fmt.Errorf("%w: %d bytes wait, the hard limit is %d", ErrOutput, o.bytes, hard)
	}
	soft, softTime := o.limits.soft.Load(), time.Duration(o.limits.softTime.Load())
	switch {
	case soft == 0 || o.bytes <= soft:
		o.softSince = time.Time{}
	case o.softSince.IsZero():
		o.softSince = time.Now()
		o.conn.SetWriteDeadline(time.Now().Add(o.patience())) // for a write that has begun; if it fails, so does that
	case time.Since(o.softSince) >= softTime:
		return fmt.Errorf("%w: %d bytes wait, more than the soft limit of %d for %v", ErrOutput, o.bytes, soft, softTime)
	}
	return nil
}

// patience returns how long one write may take.
func (o *outbox) patience() time.Duration {
	patience := time.Duration(o.limits.stall.Load())
	if !o.softSince.IsZero() {
		left := time.Duration(o.limits.softTime.Load()) - time.Since(o.softSince)
		patience = min(patience, max(left, 0)+time.Millisecond) // so that it is over by then
	}
	return patience
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

// Close waits until the second goroutine has ended; the connection must be closed before, or have nothing to send. It returns why sending
// ended, if it did before.
func (o *outbox) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.active {
		o.drain.Wait()
	}
	before := o.err
	o.fail(net.ErrClosed)
	return before
}

// Waiting returns the bytes that are not sent yet.
func (o *outbox) Waiting() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// queued returns the bytes that are not sent yet, and in how many pieces they are.
func (o *outbox) queued() (bytes int64, pieces int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes, len(o.queue)
}

// maxVector is how many pieces one system call takes (IOV_MAX is 1024 on Linux).
const maxVector = 512

// tryNow sends what the socket takes without waiting.
func (o *outbox) tryNow() error {
	if o.raw == nil {
		return nil
	}
	for len(o.queue) > 0 {
		o.vector = o.vector[:0]
		for _, p := range o.queue[:min(len(o.queue), maxVector)] {
			o.vector = append(o.vector, p.b)
		}
		err := o.raw.Write(o.writeOnce)
		clear(o.vector)
		if err != nil {
			return err
		}
		switch {
		case errors.Is(o.failed, unix.EINTR):
		case errors.Is(o.failed, unix.EAGAIN):
			return nil
		case o.failed != nil:
			return o.failed
		}
		if o.written > 0 {
			o.sent(o.written)
		}
	}
	return nil
}

// write gives the vector to the system, once. It reports that there is nothing to wait for.
func (o *outbox) write(fd uintptr) bool {
	if len(o.vector) == 1 {
		o.written, o.failed = unix.Write(int(fd), o.vector[0])
	} else {
		o.written, o.failed = unix.Writev(int(fd), o.vector)
	}
	return true
}

// sender sends the queue, waiting for the client where it must.
func (o *outbox) sender() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 0 && o.err == nil {
		next := o.queue[0].b
		next = next[:min(len(next), 1<<20)] // so that there is progress to see within one large piece
		patience := o.patience()
		o.mu.Unlock()
		err := o.conn.SetWriteDeadline(time.Now().Add(patience))
		n := 0
		if err == nil {
			n, err = o.conn.Write(next)
		}
		o.mu.Lock()
		o.sent(n)
		if limit := o.check(); limit != nil {
			o.fail(limit)
		} else if err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			o.fail(err)
		}
		o.drain.Broadcast()
	}
	o.active = false
	if o.err == nil {
		if err := o.conn.SetWriteDeadline(time.Time{}); err != nil { // tryNow, however much later, must not meet it
			o.err = err
		}
	}
	if o.err != nil {
		o.drop()
		o.conn.Close() // wakes the connection's goroutine, which may wait for a command
	}
	o.drain.Broadcast()
}

// sent takes n bytes off the queue.
func (o *outbox) sent(n int) {
	o.add(-int64(n))
	done := 0
	for ; done < len(o.queue) && n >= len(o.queue[done].b); done++ {
		n -= len(o.queue[done].b)
	}
	releasePieces(o.queue[:done])
	clear(o.queue[:done])
	o.queue = o.queue[done:]
	if n > 0 {
		o.queue[0].b = o.queue[0].b[n:]
	}
}

// fail ends the sending. The second goroutine, if it is there, still holds the queue, and drops it at its end.
func (o *outbox) fail(err error) {
	if o.err == nil {
		o.err = err
	}
	if !o.active {
		o.drop()
	}
	o.drain.Broadcast()
}

func (o *outbox) drop() {
	releasePieces(o.queue)
	o.add(-o.bytes)
	o.queue, o.space = nil, nil
}
