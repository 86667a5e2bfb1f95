package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

const maxErrorText = 4 << 10

// server is the listening side of a control connection: one goroutine reads, one writes, and each request has its own.
type server struct {
	bus  *Bus
	link *link
	conn *patient
	out  outbox
	ctx  context.Context // ends with the connection

	mu      sync.Mutex                    // guards all below
	cancels map[uint64]context.CancelFunc // of requests under way
	open    int                           // requests whose replies are not in the outbox
}

// serve answers requests until the connection ends.
func (b *Bus) serve(l *link) {
	limit, calls, idle := b.options.MaxPayload, callsInFlight, time.Duration(0)
	if l.guest {
		limit, calls, idle = MaxGuestPayload, guestCallsInFlight, b.options.GuestTimeout
	}
	ctx, cancel := context.WithCancel(b.ctx)
	s := &server{bus: b, link: l, out: newOutbox(calls), ctx: ctx, cancels: make(map[uint64]context.CancelFunc)}
	s.conn = newPatient(l, b.options.StallTimeout, idle, func() {})

	var others sync.WaitGroup
	others.Go(func() {
		s.out.run(s.conn)
		l.Close() // so that the reader ends as well
	})
	err := s.read(limit+4, 2*calls, &others)
	cancel()
	close(s.out.ended)
	l.Close()
	others.Wait()
	if errors.Is(err, ErrFrame) || errors.Is(err, ErrTooLarge) {
		b.options.Log.Warn("connection ended on the bus", "from", l.peer.Address, "node", string(l.peer.Node), "err", err)
	}
}

// read starts a goroutine for each request. The dialling side keeps to the number of calls in flight; twice as many it cannot have by any order of events.
func (s *server) read(limit, maxOpen int, handlers *sync.WaitGroup) error {
	for {
		f, err := s.conn.next(limit)
		switch {
		case err != nil:
			return err
		case f.Flags == flagPing:
			s.out.offer(AppendFrame(nil, Frame{Flags: flagPing | flagReply}))
		case f.Flags == flagCancel:
			s.mu.Lock()
			if cancel := s.cancels[f.Request]; cancel != nil {
				cancel()
			}
			s.mu.Unlock()
		case f.Flags != 0 || len(f.Payload) < 4:
			return fmt.Errorf("%w: flags %02x and %d bytes in a request", ErrFrame, f.Flags, len(f.Payload))
		default:
			ctx, err := s.begin(&f, maxOpen)
			if err != nil {
				return err
			}
			handlers.Go(func() { s.handle(ctx, f) })
		}
	}
}

// begin makes the context of a request.
func (s *server) begin(f *Frame, maxOpen int) (ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= maxOpen {
		return nil, fmt.Errorf("%w: more than %d requests at once", ErrFrame, maxOpen)
	}
	if s.cancels[f.Request] != nil {
		return nil, fmt.Errorf("%w: request %d came twice", ErrFrame, f.Request)
	}
	s.open++
	var cancel context.CancelFunc
	if left := binary.LittleEndian.Uint32(f.Payload); left > 0 {
		ctx, cancel = context.WithTimeout(s.ctx, time.Duration(left)*time.Millisecond)
	} else {
		ctx, cancel = context.WithCancel(s.ctx)
	}
	s.cancels[f.Request] = cancel
	return ctx, nil
}

func (s *server) handle(ctx context.Context, f Frame) {
	reply, err := s.run(ctx, Method(f.Type), f.Payload[4:])
	s.mu.Lock()
	s.cancels[f.Request]()
	delete(s.cancels, f.Request) // before the reply is sent: then the id is the caller's again
	s.mu.Unlock()

	answer := Frame{Type: f.Type, Flags: flagReply, Request: f.Request, Payload: reply}
	if limit := s.bus.options.MaxPayload; err == nil && len(reply) > limit {
		err = fmt.Errorf("%w: a reply of %d bytes, the limit is %d", ErrTooLarge, len(reply), limit)
	}
	if err != nil {
		answer.Flags, answer.Payload = flagReply|flagError, encodeError(err)
	}
	s.out.put(AppendFrame(nil, answer))
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
}

// run calls the handler. What it panics with ends nothing but the request.
func (s *server) run(ctx context.Context, method Method, request []byte) (reply []byte, err error) {
	if s.bus.options.Identity() != s.link.mine {
		return nil, &RemoteError{Code: codeStale, Text: "this node has another identity by now"}
	}
	handler := s.bus.handler(method)
	if handler == nil {
		return nil, &RemoteError{Code: CodeNoMethod, Text: fmt.Sprintf("method %d is not handled here", method)}
	}
	defer func() {
		if p := recover(); p != nil {
			s.bus.panicked(fmt.Sprintf("the handler of method %d", method), s.link.peer, p)
			reply, err = nil, &RemoteError{Code: CodePanic, Text: fmt.Sprintf("the handler of method %d panicked", method)}
		}
	}()
	return handler(ctx, s.link.peer, request)
}

func (b *Bus) panicked(who string, peer Peer, reason any) {
	b.options.Log.Error("panic on the bus", "in", who, "from", peer.Address, "node", string(peer.Node), "panic", reason, "stack", string(debug.Stack()))
}

// encodeError makes the payload of an error.
func encodeError(err error) []byte {
	code := CodeFailed
	var remote *RemoteError
	switch {
	case errors.As(err, &remote):
		code = remote.Code
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		code = CodeExpired
	}
	text := err.Error()
	return append(binary.LittleEndian.AppendUint16(nil, uint16(code)), text[:min(len(text), maxErrorText)]...)
}
