package bus

import (
	"bufio"
	"sync/atomic"
)

// writer sends the frames of many goroutines over one connection.
type writer struct {
	queue chan *outFrame
	ended chan struct{} // closed when the connection ends
}

// outFrame is a frame to send. Its sender can withdraw it until the writer takes it.
type outFrame struct {
	bytes []byte
	state atomic.Int32
}

const (
	waiting = iota
	taken
	withdrawn
)

// withdraw reports whether no byte of the frame has been sent or ever will be.
func (f *outFrame) withdraw() bool {
	return f.state.CompareAndSwap(waiting, withdrawn) || f.state.Load() == withdrawn
}

func newWriter(size int) writer {
	return writer{queue: make(chan *outFrame, size), ended: make(chan struct{})}
}

// offer sends a frame, or drops it if the queue is full: then other frames show the peer that this side is alive.
func (w *writer) offer(frame []byte) {
	select {
	case w.queue <- &outFrame{bytes: frame}:
	default:
	}
}

// put sends a frame. It waits while the queue is full.
func (w *writer) put(frame []byte) {
	select {
	case w.queue <- &outFrame{bytes: frame}:
	case <-w.ended:
	}
}

// run writes frames until the connection ends. It returns nil, or why it cannot write.
func (w *writer) run(conn *deadlineConn) error {
	out := bufio.NewWriterSize(conn, bufferSize)
	for {
		var f *outFrame
		select {
		case f = <-w.queue:
		default:
			if err := out.Flush(); err != nil {
				return err
			}
			select {
			case f = <-w.queue:
			case <-w.ended:
				return nil
			}
		}
		if !f.state.CompareAndSwap(waiting, taken) {
			continue
		}
		if _, err := out.Write(f.bytes); err != nil {
			return err
		}
	}
}
