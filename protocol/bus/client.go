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
	flagReply  = 1 << iota // to the request of that id; else it is a request
	flagError              // with flagReply: the payload is code u16 and text
	flagCancel             // the caller of that id does not wait any more
	flagPing               // asks for the same with flagReply
)

var errSilent = errors.New("the peer is silent")

// client is the dialling side of a control connection. Three goroutines belong to it: one reads, one writes, one notices silence.
type client struct {
	bus  *Bus
	link *link
	conn *patient
	out  outbox
	// slots holds one for each call whose reply has not come, also when its caller has given up.
	slots chan struct{}
	heard atomic.Bool // since the last tick, the peer has shown that it lives

	mu      sync.Mutex // guards all below; taken after the Bus's
	calls   map[uint64]chan Frame
	last    uint64 // id given to a call
	retired bool   // it takes no more calls, and goes with the last one
	err     error  // why it ended
}

func (b *Bus) newClient(l *link) *client {
	c := &client{bus: b, link: l, calls: make(map[uint64]chan Frame)}
	slots := callsInFlight
	if l.guest {
		slots = guestCallsInFlight
	}
	c.slots = make(chan struct{}, slots)
	c.out = newOutbox(slots)
	c.conn = newPatient(l, b.options.StallTimeout, 0, c.listen)
	return c
}

func (c *client) listen() { c.heard.Store(true) }

// run serves the connection until it ends.
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

// read takes replies to their callers.
func (c *client) read() error {
	for {
		f, err := c.conn.next(c.bus.options.MaxPayload)
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
		c.settle(f.Request)
	}
}

const ticks = 8 // in which the silence timeout passes

// watch asks a peer that owes replies and is silent whether it lives, and ends the connection when it does not answer. It counts its own ticks, not the time: a process
// that did not run for a while heard nothing either.
func (c *client) watch() {
	tick := time.NewTicker(c.bus.options.SilenceTimeout/ticks + 1)
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

// owed tells whether a reply is missing.
func (c *client) owed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls) > 0
}

// end ends the connection. Only the first reason counts.
func (c *client) end(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
		close(c.out.ended)
	}
	c.mu.Unlock()
	if first {
		c.bus.drop(c)
		c.link.Close()
	}
}

// fits tells whether the connection can be used for calls to a target.
func (c *client) fits(mine Identity, target Target) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.retired && c.link.mine == mine && target.fits(c.link.peer.Identity) == nil
}

// retire lets the calls in flight end, and then the connection.
func (c *client) retire() {
	c.mu.Lock()
	c.retired = true
	idle := len(c.calls) == 0
	c.mu.Unlock()
	c.bus.drop(c)
	if idle {
		c.end(errRetired)
	}
}

var errRetired = errors.New("replaced by another connection")

// settle forgets a call that needs no reply any more, and frees its slot.
func (c *client) settle(id uint64) {
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

// register gives a call its id, or tells why it cannot: it is for a call that holds a slot.
func (c *client) register() (id uint64, reply chan Frame, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.retired {
		return 0, nil, errUnsent
	}
	if len(c.calls) == 0 {
		c.listen() // silence counts from the first request on
	}
	c.last++
	reply = make(chan Frame, 1)
	c.calls[c.last] = reply
	return c.last, reply, nil
}

// errUnsent says that the connection ended before a request was sent: another one may be better.
var errUnsent = errors.New("the connection ended")

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
	p := &parcel{frame: appendParts(nil, Frame{Type: uint8(method), Request: id}, left[:], payload)}
	select {
	case c.out.queue <- p:
	case <-ctx.Done():
		c.settle(id)
		return nil, fmt.Errorf("%w: waiting to send: %w", ErrUnreachable, ctx.Err())
	case <-c.out.ended:
		return nil, errUnsent
	}
	select {
	case f := <-reply:
		return open(f)
	case <-ctx.Done():
	case <-c.out.ended:
	}
	select {
	case f := <-reply: // it came at the same time
		return open(f)
	default:
	}
	unsent := p.withdraw()
	switch {
	case ctx.Err() != nil && unsent:
		c.settle(id)
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

// open returns what a reply says.
func open(f Frame) ([]byte, error) {
	if f.Flags&flagError == 0 {
		return f.Payload, nil
	}
	if len(f.Payload) < 2 {
		return nil, &RemoteError{Code: CodeFailed, Text: "no reason given"}
	}
	return nil, &RemoteError{Code: Code(binary.LittleEndian.Uint16(f.Payload)), Text: string(f.Payload[2:])}
}
