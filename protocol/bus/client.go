package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Flags of frames on control connections.
const (
	flagReply  = 1 << iota // a reply to the request with that id; without it, a request
	flagError              // with flagReply: the payload is code u16 and text
	flagCancel             // the caller of that request has given up
	flagPing               // answered with flagPing and flagReply
)

var (
	errSilent  = errors.New("the peer owes a reply and is silent")
	errRetired = errors.New("another connection replaced it")
	// errUnsent is returned when the connection ended before the request was sent: another connection may work.
	errUnsent = errors.New("the connection ended")
)

// client is the dialling side of a control connection. It runs three goroutines: one reads, one writes, one detects silence.
type client struct {
	dialer *dialer
	link   *link
	conn   *deadlineConn
	out    writer
	slots  chan struct{} // holds one element per call without a reply, even if its caller has given up
	heard  atomic.Bool   // the peer has shown since the last tick that it is alive

	mu      sync.Mutex // guards all below; taken after the lock of the dialer
	calls   map[uint64]chan Frame
	last    uint64 // last request id in use
	retired bool   // it accepts no more calls, and ends with the last one
	err     error  // why the connection ended
}

func newClient(d *dialer, l *link) *client {
	c := &client{dialer: d, link: l, calls: make(map[uint64]chan Frame)}
	slots := callsInFlight
	if l.guest {
		slots = guestCallsInFlight
	}
	c.slots = make(chan struct{}, slots)
	c.out = newWriter(slots)
	c.conn = newDeadlineConn(l, d.core.options.StallTimeout, 0, c.noteHeard)
	return c
}

func (c *client) noteHeard() { c.heard.Store(true) }

// maxRequest returns how many bytes the payload of a request may have.
func (c *client) maxRequest() int {
	if c.link.guest {
		return MaxGuestPayload
	}
	return c.dialer.core.options.MaxPayload
}

// run runs the connection until it ends.
func (c *client) run() {
	var others sync.WaitGroup
	others.Go(func() {
		if err := c.out.run(c.conn); err != nil {
			c.end(err)
		}
	})
	others.Go(c.watch)
	c.end(c.read())
	others.Wait()
}

// read passes replies to their callers.
func (c *client) read() error {
	for {
		f, err := c.conn.next(c.dialer.core.options.MaxPayload)
		switch {
		case err != nil:
			return err
		case f.Flags == flagPing|flagReply:
			continue
		case f.Flags&^flagError != flagReply:
			return fmt.Errorf("%w: flags %02x in a reply", ErrFrame, f.Flags)
		}
		c.mu.Lock()
		call, ok := c.calls[f.Request]
		c.mu.Unlock()
		if !ok {
			return fmt.Errorf("%w: a reply to no request", ErrFrame)
		}
		call <- f
		c.release(f.Request)
	}
}

const ticks = 8 // per silence timeout

// watch pings a silent peer that owes replies, and ends the connection if the peer stays silent. It
// counts its own ticks instead of reading the clock: a process that was suspended heard nothing either.
func (c *client) watch() {
	tick := time.NewTicker(c.dialer.core.options.SilenceTimeout/ticks + 1)
	defer tick.Stop()
	ping := AppendFrame(nil, Frame{Flags: flagPing})
	for silent := 0; ; {
		select {
		case <-c.out.ended:
			return
		case <-tick.C:
		}
		if c.heard.Swap(false) || !c.owed() {
			silent = 0
			continue
		}
		if silent++; silent > ticks {
			c.end(errSilent)
			return
		}
		c.out.offer(ping)
	}
}

// owed reports whether the peer owes a reply.
func (c *client) owed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls) > 0
}

// end ends the connection. The first reason is kept.
func (c *client) end(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		close(c.out.ended)
	}
	c.mu.Unlock()
	if first {
		c.dialer.drop(c)
		c.link.Close()
	}
}

// usableFor reports whether calls to a target may use the connection.
func (c *client) usableFor(local Identity, target Target) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.retired && c.link.local == local && target.matches(c.link.peer.Identity) == nil
}

// retire ends the connection once the calls in flight have ended.
func (c *client) retire() {
	c.mu.Lock()
	c.retired = true
	idle := len(c.calls) == 0
	c.mu.Unlock()
	c.dialer.drop(c)
	if idle {
		c.end(errRetired)
	}
}

// release removes a call that needs no reply any longer, and frees its slot.
func (c *client) release(id uint64) {
	c.mu.Lock()
	_, ok := c.calls[id]
	delete(c.calls, id)
	last := c.retired && len(c.calls) == 0
	c.mu.Unlock()
	if ok {
		<-c.slots
	}
	if last {
		c.end(errRetired)
	}
}

// register gives a call that holds a slot its id, or returns errUnsent.
func (c *client) register() (id uint64, reply chan Frame, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.retired {
		return 0, nil, errUnsent
	}
	if len(c.calls) == 0 {
		c.noteHeard() // the silence timeout starts with the first request
	}
	c.last++
	reply = make(chan Frame, 1)
	c.calls[c.last] = reply
	return c.last, reply, nil
}

// call sends a request and waits for its reply.
func (c *client) call(ctx context.Context, method Method, payload []byte) ([]byte, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: waiting for one of %d calls to end: %w", ErrUnreachable, cap(c.slots), ctx.Err())
	case <-c.out.ended:
		return nil, errUnsent
	}
	id, reply, err := c.register()
	if err != nil {
		<-c.slots
		return nil, err
	}
	var left [4]byte
	binary.LittleEndian.PutUint32(left[:], remaining(ctx))
	out := &outFrame{bytes: appendParts(nil, Frame{Type: uint8(method), Request: id}, left[:], payload)}
	select {
	case c.out.queue <- out:
	case <-ctx.Done():
		c.release(id)
		return nil, fmt.Errorf("%w: waiting to send: %w", ErrUnreachable, ctx.Err())
	case <-c.out.ended:
		return nil, errUnsent
	}
	select {
	case f := <-reply:
		return decodeReply(f)
	case <-ctx.Done():
	case <-c.out.ended:
	}
	select {
	case f := <-reply: // it arrived at the same time
		return decodeReply(f)
	default:
	}
	unsent := out.withdraw()
	switch {
	case ctx.Err() != nil && unsent:
		c.release(id)
		return nil, fmt.Errorf("%w: waiting to send: %w", ErrUnreachable, ctx.Err())
	case ctx.Err() != nil:
		c.out.offer(AppendFrame(nil, Frame{Type: uint8(method), Flags: flagCancel, Request: id}))
		return nil, fmt.Errorf("%w: no reply: %w", ErrUncertain, ctx.Err())
	case unsent:
		return nil, errUnsent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return nil, fmt.Errorf("%w: no reply: the connection ended: %w", ErrUncertain, c.err)
}

// remaining returns the milliseconds until the context's deadline, rounded up, at least 1.
func remaining(ctx context.Context) uint32 {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := (time.Until(deadline) + time.Millisecond - 1) / time.Millisecond
	return uint32(min(max(left, 1), 1<<31))
}

// decodeReply returns the result of a call.
func decodeReply(f Frame) ([]byte, error) {
	if f.Flags&flagError == 0 {
		return f.Payload, nil
	}
	if len(f.Payload) < 2 {
		return nil, &RemoteError{Code: CodeFailed, Text: "the peer gave no reason"}
	}
	return nil, &RemoteError{Code: Code(binary.LittleEndian.Uint16(f.Payload)), Text: string(f.Payload[2:])}
}
