package resp

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Outbox sends replies. The connection's goroutine sends while the socket accepts everything at once; the
// rest is left to a second goroutine, which lives until it has sent it. The connection goes on reading
// commands meanwhile: otherwise it would deadlock with a client that writes a long pipeline before it
// reads a reply.
type Outbox struct {
	conn    net.Conn        // the socket
	raw     syscall.RawConn // nil if the connection is not a socket
	secure  *TLSConn        // over the socket; nil without TLS
	outputs *Outputs

	max int64 // bytes that may wait before Send does, in addition to the limits of outputs; 0 for none. Send's caller owns it

	writeOnce func(fd uintptr) bool // is write
	written   int                   // result of write
	failed    error                 // result of write

	mu        sync.Mutex // guards all below
	changed   sync.Cond  // on mu: bytes were sent, or the sender ended
	queue     []Piece
	spare     []Piece   // empty; the next queue begins in it
	vector    [][]byte  // of tryNow, or of the second goroutine while that runs; reused
	sealed    int       // bytes of queue that are encrypted and wait for the socket
	bytes     int64     // of queue
	softSince time.Time // since when more than the soft limit waits; zero if less does
	sending   bool      // the second goroutine runs
	err       error
}

// OutputLimits bounds the replies that wait for clients.
type OutputLimits struct {
	Client, All int64         // bytes that may wait for one client and for all before Send does
	Hard        int64         // a client for which more bytes wait is disconnected; 0 for no limit
	Soft        int64         // so is one for which more bytes wait for SoftTime; 0 for no limit
	SoftTime    time.Duration // of Soft
	Stall       time.Duration // a client that reads nothing for so long is disconnected
}

// Outputs counts the bytes that wait for all clients of a server, and holds their limits, which may
// change at any time.
type Outputs struct {
	client, all, hard, soft atomic.Int64 // as in OutputLimits
	softTime, stall         atomic.Int64 // ns
	waiting                 atomic.Int64 // bytes
	copied                  atomic.Int64 // bytes of copies that were made for replies and not released yet
}

// SetLimits changes the limits.
func (o *Outputs) SetLimits(limits OutputLimits) {
	o.client.Store(limits.Client)
	o.all.Store(limits.All)
	o.hard.Store(limits.Hard)
	o.soft.Store(limits.Soft)
	o.softTime.Store(int64(limits.SoftTime))
	o.stall.Store(int64(limits.Stall))
}

// Waiting returns the bytes that wait for all clients.
func (o *Outputs) Waiting() int64 { return o.waiting.Load() }

// Copies returns the bytes of the copies that were made for replies and not released yet.
func (o *Outputs) Copies() int64 { return o.copied.Load() }

// Copied is a reference to a copy that was made for one reply.
type Copied struct {
	Ref
	outputs *Outputs
	bytes   int64
}

// Copied counts a copy of n bytes that is about to be made for a reply, until the reference is released; the caller sets Ref. It returns nil if
// there are other copies, and with them it would exceed the limit for all replies: a reply waits only once it is written, when its memory
// is taken already.
func (o *Outputs) Copied(n int64) *Copied {
	for {
		others := o.copied.Load()
		if others > 0 && others+n > o.all.Load() && n > OutputShare {
			return nil
		}
		if o.copied.CompareAndSwap(others, others+n) {
			return &Copied{outputs: o, bytes: n}
		}
	}
}

// Release gives the copy back.
func (c *Copied) Release() {
	if c.Ref != nil {
		c.Ref.Release()
	}
	c.outputs.copied.Add(-c.bytes)
}

// OutputShare is the number of bytes that may wait for each client even when too many wait for all.
const OutputShare = 64 << 10

// mustWait reports whether a client for which bytes wait must be stopped.
func (o *Outputs) mustWait(bytes int64) bool {
	return bytes > o.client.Load() || bytes > OutputShare && o.waiting.Load() > o.all.Load()
}

// NewOutbox returns an Outbox that sends to conn.
func NewOutbox(conn net.Conn, outputs *Outputs) *Outbox {
	o := &Outbox{conn: conn, outputs: outputs}
	o.changed.L = &o.mu
	o.writeOnce = o.write
	if secure, ok := conn.(*TLSConn); ok {
		o.secure, o.conn = secure, secure.Socket()
		return o
	}
	if sc, ok := conn.(syscall.Conn); ok {
		o.raw, _ = sc.SyscallConn() // an error leaves raw nil
	}
	return o
}

// SetMax changes the number of bytes that may wait before Send does, whatever the limits of all clients;
// 0 removes it. The goroutine that calls Send calls it.
func (o *Outbox) SetMax(bytes int64) { o.max = bytes }

// Send takes over the references of pieces and sends them, now or soon. It returns once the bytes that
// still wait are within the limits.
func (o *Outbox) Send(pieces []Piece) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.put(pieces); err != nil {
		return err
	}
	for o.err == nil && (o.outputs.mustWait(o.bytes) || o.max > 0 && o.bytes > o.max) {
		o.changed.Wait()
	}
	return o.err
}

// Post sends encoded bytes between two calls of Send, now or soon. Any goroutine may call it. It never waits, so the caller looks at
// Waiting before. The bytes must never change.
func (o *Outbox) Post(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.put([]Piece{{b, nil}})
}

// put queues pieces, and sends them or leaves that to the second goroutine.
func (o *Outbox) put(pieces []Piece) error {
	if o.err != nil {
		Release(pieces)
		return o.err
	}
	wasEmpty := len(o.queue) == 0
	if wasEmpty {
		o.queue = o.spare
	}
	for _, p := range pieces {
		o.queue = append(o.queue, p)
		o.add(int64(len(p.b)))
	}
	if wasEmpty && cap(o.queue) <= maxVector {
		o.spare = o.queue[:0]
	}
	if !o.sending {
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
	if !o.sending && len(o.queue) > 0 {
		o.sending = true
		go o.sender()
	}
	return nil
}

// add counts bytes that enter the queue, or leave it if n is negative.
func (o *Outbox) add(n int64) {
	o.bytes += n
	o.outputs.waiting.Add(n)
}

// check returns an error when the client exceeds its hard or soft limit.
func (o *Outbox) check() error {
	if hard := o.outputs.hard.Load(); hard > 0 && o.bytes > hard {
		return fmt.Errorf("%w: %d bytes wait, the hard limit is %d", ErrOutputLimit, o.bytes, hard)
	}
	soft, softTime := o.outputs.soft.Load(), time.Duration(o.outputs.softTime.Load())
	switch {
	case soft == 0 || o.bytes <= soft:
		o.softSince = time.Time{}
	case o.softSince.IsZero():
		o.softSince = time.Now()
		o.conn.SetWriteDeadline(time.Now().Add(o.timeout())) // for a write in progress; if this fails, so does the write
	case time.Since(o.softSince) >= softTime:
		return fmt.Errorf("%w: %d bytes wait, more than the soft limit of %d for %v", ErrOutputLimit, o.bytes, soft, softTime)
	}
	return nil
}

// timeout returns how long one write may take.
func (o *Outbox) timeout() time.Duration {
	timeout := time.Duration(o.outputs.stall.Load())
	if !o.softSince.IsZero() {
		left := time.Duration(o.outputs.softTime.Load()) - time.Since(o.softSince)
		timeout = min(timeout, max(left, 0)+time.Millisecond) // past the end of SoftTime
	}
	return timeout
}

// Flush waits until everything is sent.
func (o *Outbox) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.sending && o.err == nil {
		o.changed.Wait()
	}
	return o.err
}

// Close waits until the second goroutine has ended. The connection must be closed, or have nothing to
// send. Close returns the error that ended sending before, if any.
func (o *Outbox) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.sending {
		o.changed.Wait()
	}
	before := o.err
	o.fail(net.ErrClosed)
	return before
}

// Waiting returns the bytes that are not sent yet.
func (o *Outbox) Waiting() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes
}

// Queued returns the bytes that are not sent yet, and the number of their pieces.
func (o *Outbox) Queued() (bytes int64, pieces int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes, len(o.queue)
}

// maxVector is the number of pieces that one system call sends (IOV_MAX is 1024 on Linux).
const maxVector = 512

// tryNow sends what the socket accepts without blocking.
func (o *Outbox) tryNow() error {
	if o.secure != nil {
		return o.sealNow()
	}
	if o.raw == nil {
		return nil
	}
	for len(o.queue) > 0 {
		o.gather(math.MaxInt)
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

// gather puts the first pieces of the queue into the vector, at most so many bytes, and returns how many they are.
func (o *Outbox) gather(most int) (n int) {
	o.vector = o.vector[:0]
	for _, p := range o.queue[:min(len(o.queue), maxVector)] {
		if n+len(p.b) >= most {
			o.vector = append(o.vector, p.b[:most-n])
			return most
		}
		o.vector = append(o.vector, p.b)
		n += len(p.b)
	}
	return n
}

// write makes one system call for the vector. It returns true so that RawConn does not wait.
func (o *Outbox) write(fd uintptr) bool {
	if len(o.vector) == 1 {
		o.written, o.failed = unix.Write(int(fd), o.vector[0])
	} else {
		o.written, o.failed = unix.Writev(int(fd), o.vector)
	}
	return true
}

// sender is the second goroutine. It sends the queue, and blocks while the client does not read.
func (o *Outbox) sender() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) > 0 && o.err == nil {
		progress, err := o.sendFirst()
		if limit := o.check(); limit != nil {
			o.fail(limit)
		} else if err != nil && (!progress || !errors.Is(err, os.ErrDeadlineExceeded)) {
			o.fail(err)
		}
		o.changed.Broadcast()
	}
	o.sending = false
	if o.err == nil {
		if err := o.conn.SetWriteDeadline(time.Time{}); err != nil { // a later tryNow must not fail because of an old deadline
			o.err = err
		}
	}
	if o.err != nil {
		o.drop()
		o.conn.Close() // wakes the connection's goroutine, which may be waiting for a command
	}
	o.changed.Broadcast()
}

// sendFirst makes one write of the first bytes of the queue, and reports whether the socket has taken any. It unlocks mu meanwhile.
func (o *Outbox) sendFirst() (progress bool, err error) {
	next := o.queue[0].b
	next = next[:min(len(next), 1<<20)] // a deadline counts for 1 MiB, not for a whole large piece
	sealing := o.secure != nil && o.sealed == 0
	if sealing {
		o.sealed = o.gather(sealStep)
	}
	timeout := o.timeout()
	o.mu.Unlock()
	n, left := 0, 0
	if sealing {
		left, err = o.secure.seal(o.vector)
	}
	if err == nil && (o.secure == nil || left > 0 || !sealing) {
		err = o.conn.SetWriteDeadline(time.Now().Add(timeout))
		switch {
		case err != nil:
		case o.secure == nil:
			n, err = o.conn.Write(next)
		default:
			n, left, err = o.secure.wire.drain()
		}
		progress = n > 0
	}
	o.mu.Lock()
	if o.secure != nil {
		clear(o.vector)
		if n = 0; left == 0 && err == nil {
			n, o.sealed = o.sealed, 0
		}
	}
	o.sent(n)
	return progress, err
}

// sent removes n bytes from the queue.
func (o *Outbox) sent(n int) {
	o.add(-int64(n))
	done := 0
	for ; done < len(o.queue) && n >= len(o.queue[done].b); done++ {
		n -= len(o.queue[done].b)
	}
	Release(o.queue[:done])
	clear(o.queue[:done])
	o.queue = o.queue[done:]
	if n > 0 {
		o.queue[0].b = o.queue[0].b[n:]
	}
}

// sealNow is tryNow with TLS.
func (o *Outbox) sealNow() error {
	for total := 0; len(o.queue) > 0 && total < sealFirst; {
		n := o.gather(sealStep)
		left, err := o.secure.seal(o.vector)
		clear(o.vector)
		switch {
		case err != nil:
			return err
		case left > 0:
			o.sealed = n
			return nil
		}
		o.sent(n)
		total += n
	}
	return nil
}

// fail ends sending. While the second goroutine runs it still uses the queue, and drops it when it ends.
func (o *Outbox) fail(err error) {
	if o.err == nil {
		o.err = err
	}
	if !o.sending {
		o.drop()
	}
	o.changed.Broadcast()
}

func (o *Outbox) drop() {
	Release(o.queue)
	o.add(-o.bytes)
	o.queue, o.spare = nil, nil
}
