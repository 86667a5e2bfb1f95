package bus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

const maxErrorText = 4 << 10

// server is the accepting side of a control connection: one goroutine reads, one writes, and each request has its own.
type server struct {
	acceptor *acceptor
	link     *link
	conn     *deadlineConn
	out      writer
	ctx      context.Context // ends with the connection

	mu      sync.Mutex                    // guards all below
	cancels map[uint64]context.CancelFunc // of running requests, by request id
	open    int                           // requests whose reply is not in the queue of out yet
}

// serveControl answers requests until the connection ends.
func (a *acceptor) serveControl(l *link) {
	options := &a.core.options
	limit, calls, idle := options.MaxPayload, callsInFlight, time.Duration(0)
	if l.guest {
		limit, calls, idle = MaxGuestPayload, guestCallsInFlight, options.GuestTimeout
	}
	ctx, cancel := context.WithCancel(a.core.ctx)
	s := &server{acceptor: a, link: l, out: newWriter(calls), ctx: ctx, cancels: make(map[uint64]context.CancelFunc)}
	s.conn = newDeadlineConn(l, options.StallTimeout, idle, func() {})

	var others sync.WaitGroup
	others.Go(func() {
		s.out.run(s.conn)
		l.Close() // ends the reader too
	})
	err := s.read(limit+4, 2*calls, &others)
	cancel()
	close(s.out.ended)
	l.Close()
	others.Wait()
	if errors.Is(err, ErrFrame) || errors.Is(err, ErrTooLarge) {
		options.Log.Warn("connection ended on the bus", "from", l.peer.Address, "node", string(l.peer.Node), "err", err)
	}
}

// read starts a goroutine for each request. The dialling side limits its calls in flight; a reply may
// cross the next request, but no order of events makes more than twice that number open here.
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
			ctx, err := s.register(&f, maxOpen)
			if err != nil {
				return err
			}
			handlers.Go(func() { s.handle(ctx, f) })
		}
	}
}

// register records a request and returns the context of its handler.
func (s *server) register(f *Frame, maxOpen int) (ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= maxOpen {
		return nil, fmt.Errorf("%w: more than %d requests at once", ErrFrame, maxOpen)
	}
	if s.cancels[f.Request] != nil {
		return nil, fmt.Errorf("%w: request id %d is in use", ErrFrame, f.Request)
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
	delete(s.cancels, f.Request) // before the reply: once it is sent, the caller may reuse the id
	s.mu.Unlock()

	answer := Frame{Type: f.Type, Flags: flagReply, Request: f.Request, Payload: reply}
	if limit := s.acceptor.core.options.MaxPayload; err == nil && len(reply) > limit {
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

// run calls the handler. A panic of the handler fails only its request.
func (s *server) run(ctx context.Context, method Method, request []byte) (reply []byte, err error) {
	if s.acceptor.core.options.Identity() != s.link.local {
		return nil, &RemoteError{Code: codeStale, Text: "this node has changed its identity since the handshake"}
	}
	handler := s.acceptor.handler(method)
	if handler == nil {
		return nil, &RemoteError{Code: CodeNoMethod, Text: fmt.Sprintf("this node has no handler for method %d", method)}
	}
	defer func() {
		if p := recover(); p != nil {
			s.acceptor.core.logPanic(handlerOf(method), s.link.peer, p)
			reply, err = nil, &RemoteError{Code: CodePanic, Text: handlerOf(method) + " panicked"}
		}
	}()
	return handler(ctx, s.link.peer, request)
}

// encodeError encodes the error of a handler as a payload.
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
