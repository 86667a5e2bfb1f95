package bus

import (
	"bufio"
	"net"
	"sync/atomic"
	"time"
)

const (
	step       = 256 << 10 // bytes that a peer takes or sends within the stall timeout
	bufferSize = 16 << 10  // of a control connection, in each direction; what is longer goes past it
)

// patient bounds how long a peer may make no progress on what is under way, however long the whole may take. One goroutine reads, one writes.
type patient struct {
	net.Conn
	stall  time.Duration
	idle   time.Duration // how long it may be silent between two frames; no end when 0
	within bool          // a frame, when reading
	// heard is called when the peer has shown that it lives.
	heard  func()
	frames *bufio.Reader
}

func newPatient(conn net.Conn, stall, idle time.Duration, heard func()) *patient {
	p := &patient{Conn: conn, stall: stall, idle: idle, heard: heard}
	p.frames = bufio.NewReaderSize(p, bufferSize)
	return p
}

// next reads a frame. Only its first byte may keep it waiting.
func (p *patient) next(limit int) (Frame, error) {
	p.within = false
	if _, err := p.frames.Peek(1); err != nil {
		return Frame{}, err
	}
	p.within = true
	return ReadFrame(p.frames, nil, limit)
}

func (p *patient) Read(b []byte) (int, error) {
	deadline := time.Now().Add(p.stall)
	if !p.within {
		deadline = time.Time{}
		if p.idle > 0 {
			deadline = time.Now().Add(p.idle)
		}
	}
	if err := p.Conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := p.Conn.Read(b)
	if n > 0 {
		p.heard()
	}
	return n, err
}

func (p *patient) Write(b []byte) (int, error) {
	written := 0
	for {
		part := b[written:]
		if len(part) > step {
			part = part[:step]
		}
		if err := p.Conn.SetWriteDeadline(time.Now().Add(p.stall)); err != nil {
			return written, err
		}
		n, err := p.Conn.Write(part)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
		p.heard() // it takes a long frame, and can hardly answer before it has it
	}
}

// outbox brings the frames of many goroutines to one connection.
type outbox struct {
	queue chan *parcel
	ended chan struct{} // closed when the connection ends
}

// parcel is a frame on its way out. Whoever wants it sent can take it back until it is taken.
type parcel struct {
	frame []byte
	state atomic.Int32
}

const (
	waiting = iota
	taken
	withdrawn
)

// withdraw tells whether the frame has not been sent, not even in part, and never will be.
func (p *parcel) withdraw() bool {
	return p.state.CompareAndSwap(waiting, withdrawn) || p.state.Load() == withdrawn
}

func newOutbox(size int) outbox {
	return outbox{queue: make(chan *parcel, size), ended: make(chan struct{})}
}

// offer sends a frame that may be lost: when there is no room, others are on the way that tell the peer as much.
func (o *outbox) offer(frame []byte) {
	select {
	case o.queue <- &parcel{frame: frame}:
	default:
	}
}

// put sends a frame. It waits for room.
func (o *outbox) put(frame []byte) {
	select {
	case o.queue <- &parcel{frame: frame}:
	case <-o.ended:
	}
}

// run writes what comes until the connection ends, and returns why it could not write.
func (o *outbox) run(w *patient) error {
	out := bufio.NewWriterSize(w, bufferSize)
	for {
		var p *parcel
		select {
		case p = <-o.queue:
		default:
			if err := out.Flush(); err != nil {
				return err
			}
			select {
			case p = <-o.queue:
			case <-o.ended:
				return nil
			}
		}
		if !p.state.CompareAndSwap(waiting, taken) {
			continue
		}
		if _, err := out.Write(p.frame); err != nil {
			return err
		}
	}
}
