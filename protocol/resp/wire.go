package resp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wire is what crypto/tls takes for the connection under it. During the handshake it is the socket. Then writes go to the socket
// without waiting, or into a buffer; reads take more from the socket than one record while the client sends many.
//
// Locks: mu is taken with crypto/tls' lock of the writing side held, or that of an Outbox.
type wire struct {
	net.Conn                 // the socket
	raw      syscall.RawConn // nil if it is none
	detached atomic.Bool     // the handshake is done: writes do not wait
	input
	output
}

// input is the reading side. One goroutine uses it.
type input struct {
	first   []byte // that the client has sent, at most recordHead
	one     [1]byte
	arrived bool    // Read takes only what is in ahead
	reader  *Reader // whose unused memory is released before Read waits; may be nil

	ahead  []byte       // received, and not read yet
	buffer *aheadBuffer // holds ahead; nil while it is empty
	many   bool         // the last read filled all that it was given

	readOnce func(fd uintptr) bool // is tryRead
	vector   [2][]byte             // of tryRead
	took     int                   // result of tryRead
	failed   error                 // result of tryRead
}

// output is the writing side.
type output struct {
	writeOnce func(fd uintptr) bool // is tryWrite

	mu         sync.Mutex // guards all below
	collecting bool       // nothing is written to the socket until flush
	out        []byte     // ciphertext that the socket has not taken yet
	sent       int        // bytes of out that are sent
	own        *outBuffer // holds out; nil while out is nil
	err        error      // of a write that failed
	next       []byte     // of tryWrite
	wrote      int        // result of tryWrite
	refused    error      // result of tryWrite
}

type (
	aheadBuffer [64 << 10]byte
	outBuffer   [sealStep + 1<<10]byte
)

var (
	aheads = sync.Pool{New: func() any { return new(aheadBuffer) }}
	outs   = sync.Pool{New: func() any { return new(outBuffer) }}
)

// maxWire is the number of bytes that wait in out at most: those of one seal, and what crypto/tls itself sends, which a client can
// make it do as often as it likes.
const maxWire = len(outBuffer{}) + 64<<10

// recordHead is the number of bytes before the content of a TLS record.
const recordHead = 5

func newWire(socket net.Conn) *wire {
	w := &wire{Conn: socket}
	w.readOnce, w.writeOnce = w.tryRead, w.tryWrite
	if sc, ok := socket.(syscall.Conn); ok {
		w.raw, _ = sc.SyscallConn() // an error leaves raw nil
	}
	return w
}

// errNotArrived is what Read returns when it must not wait. For crypto/tls it is temporary: the next Read goes on.
var errNotArrived error = notArrived{}

type notArrived struct{}

func (notArrived) Error() string   { return "no more bytes have arrived" }
func (notArrived) Timeout() bool   { return true }
func (notArrived) Temporary() bool { return true }

// Read implements net.Conn.
func (w *wire) Read(b []byte) (n int, err error) {
	switch {
	case len(w.ahead) > 0:
		n = copy(b, w.ahead)
		if w.ahead = w.ahead[n:]; len(w.ahead) == 0 {
			w.drop()
		}
		return n, nil
	case w.arrived:
		return 0, errNotArrived
	case w.raw == nil || !w.detached.Load():
		n, err = w.Conn.Read(b)
	default:
		n, err = w.receive(b)
	}
	if len(w.first) < recordHead {
		w.first = append(w.first, b[:min(n, recordHead-len(w.first))]...)
	}
	return n, err
}

func (w *wire) receive(b []byte) (int, error) {
	w.vector[0] = b
	err := w.raw.Read(w.readOnce)
	clear(w.vector[:])
	took := w.took
	switch {
	case err != nil:
		took = 0
	case w.failed != nil:
		took, err = 0, os.NewSyscallError("read", w.failed)
	case took == 0:
		err = io.EOF
	}
	w.many = took >= len(b)
	if took > len(b) {
		w.ahead = w.buffer[:took-len(b)]
		return len(b), nil
	}
	w.drop()
	return took, err
}

// tryRead reads what has arrived. It reports false to wait for more.
func (w *wire) tryRead(fd uintptr) bool {
	for {
		if !w.many {
			w.took, w.failed = unix.Read(int(fd), w.vector[0])
		} else {
			if w.buffer == nil {
				w.buffer = aheads.Get().(*aheadBuffer)
			}
			w.vector[1] = w.buffer[:]
			w.took, w.failed = unix.Readv(int(fd), w.vector[:])
		}
		switch w.failed {
		case unix.EINTR:
		case unix.EAGAIN:
			w.drop()
			if w.reader != nil {
				w.reader.idle()
			}
			return false
		default:
			return true
		}
	}
}

// drop gives the buffer of ahead back.
func (w *wire) drop() {
	if w.buffer != nil {
		aheads.Put(w.buffer)
		w.buffer, w.ahead, w.vector[1] = nil, nil, nil
	}
}

// Write implements net.Conn.
func (w *wire) Write(b []byte) (int, error) {
	if !w.detached.Load() {
		return w.Conn.Write(b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := b
	if w.out == nil && !w.collecting {
		rest = b[w.try(b):]
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case len(rest) == 0:
		return len(b), nil
	case len(w.out)-w.sent+len(rest) > maxWire:
		w.err = errors.New("the client makes TLS send more than it reads")
		return 0, w.err
	}
	if w.out == nil {
		w.own = outs.Get().(*outBuffer)
		w.out = w.own[:0]
	}
	w.out = append(w.out, rest...)
	return len(b), nil
}

// try sends what the socket takes of b without waiting, and returns how much that is. An error is in w.err. w.mu is held.
func (w *wire) try(b []byte) (sent int) {
	for sent < len(b) && w.err == nil && w.raw != nil {
		w.next = b[sent:]
		err := w.raw.Write(w.writeOnce)
		w.next = nil
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // it is about what was written before
			return sent
		case err != nil:
			w.err = err
		case w.refused == unix.EINTR:
		case w.refused == unix.EAGAIN:
			return sent
		case w.refused != nil:
			w.err = os.NewSyscallError("write", w.refused)
		default:
			sent += w.wrote
		}
	}
	return sent
}

// tryWrite makes one system call. It returns true so that RawConn does not wait.
func (w *wire) tryWrite(fd uintptr) bool {
	w.wrote, w.refused = unix.Write(int(fd), w.next)
	return true
}

// collect keeps what is written in the buffer until flush, so that several records need one system call.
func (w *wire) collect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.collecting = true
}

// flush sends what the socket takes without waiting, and returns how many bytes are left.
func (w *wire) flush() (left int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.collecting = false
	w.done(w.try(w.out[w.sent:]))
	return len(w.out) - w.sent, w.err
}

// waiting returns how many bytes the socket has not taken yet.
func (w *wire) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.out) - w.sent
}

// drain writes what is left, and waits until the socket has taken it or its deadline passes. It returns how many bytes it has
// taken and how many are left. Meanwhile nothing else sends, except what crypto/tls sends itself.
func (w *wire) drain() (n, left int, err error) {
	w.mu.Lock()
	rest := w.out[w.sent:]
	w.mu.Unlock()
	if len(rest) > 0 { // a write may append to out, but does not change what is there
		n, err = w.Conn.Write(rest)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done(n)
	return n, len(w.out) - w.sent, err
}

// done counts bytes of out that are sent. w.mu is held.
func (w *wire) done(n int) {
	if w.sent += n; w.out != nil && w.sent == len(w.out) {
		outs.Put(w.own)
		w.out, w.own, w.sent = nil, nil, 0
	}
}

// SetDeadline, like SetWriteDeadline, leaves the writing side of the socket to the Outbox once writes do not wait.
func (w *wire) SetDeadline(t time.Time) error {
	if w.detached.Load() {
		return w.Conn.SetReadDeadline(t)
	}
	return w.Conn.SetDeadline(t)
}

// SetWriteDeadline implements net.Conn. crypto/tls sets deadlines when it closes.
func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.detached.Load() {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}
