package protocol

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	acceptPause  = 10 * time.Millisecond  // after a failure
	refusalTime  = 100 * time.Millisecond // to accept a client that is to be refused, and may have disconnected
	warnInterval = 10 * time.Second
)

// accept accepts clients of a listener until it is closed.
func (s *Server) accept(l Listener) {
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if dropped, ok := s.acceptWarning.pass(time.Now()); ok {
				s.log.Warn("accept failed", "listener", l.Name, "err", err, "suppressed", dropped)
			}
			if !outOfFiles(err) || !s.spare.refuse(l, s.rejectFull) {
				time.Sleep(acceptPause) // other connections may close soon
			}
			continue
		}
		s.acceptConn(nc, l.Name)
	}
}

// acceptConn serves a client, or rejects it.
func (s *Server) acceptConn(nc net.Conn, listener string) {
	c, err := s.connections.add(s.config.Load().MaxClients, func(id int64) *conn {
		if s.protected(nc.RemoteAddr()) {
			return nil
		}
		return newConn(s, nc, listener, id)
	})
	switch {
	case errors.Is(err, errTooManyClients):
		s.rejectFull(nc)
	case err != nil:
		nc.Close()
	case c == nil:
		s.counters.denied.Add(1)
		reject(nc, deniedText)
	default:
		s.counters.connections.Add(1)
		s.connections.done.Go(func() {
			defer s.connections.remove(c)
			c.serve()
		})
	}
}

// rejectFull rejects a client because there are too many.
func (s *Server) rejectFull(nc net.Conn) {
	s.counters.rejected.Add(1)
	reject(nc, "ERR "+errTooManyClients.Error())
}

// reject closes a new connection with an error. One short write to an empty socket does not block.
func reject(nc net.Conn, text string) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write([]byte("-" + text + "\r\n")) // fails if the client has disconnected
	nc.Close()
}

// outOfFiles reports whether the process or the system has run out of file descriptors.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// spareFile keeps a file descriptor for when there is no other: it is closed to accept a client and
// refuse it with an error.
type spareFile struct {
	mu   sync.Mutex // guards file; held while a client is refused
	file *os.File   // nil when there is no spare descriptor
}

func (s *spareFile) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		s.file, _ = os.Open(os.DevNull) // if it fails, clients wait in the backlog instead
	}
}

func (s *spareFile) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// refuse closes the spare file, accepts the next client of l in its place, and rejects it. It reports
// whether it could.
func (s *spareFile) refuse(l Listener, reject func(net.Conn)) bool {
	defer s.hold()
	s.mu.Lock()
	defer s.mu.Unlock()
	deadliner, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if s.file == nil || !ok || deadliner.SetDeadline(time.Now().Add(refusalTime)) != nil {
		return false
	}
	s.file.Close()
	s.file = nil
	nc, err := l.Accept()
	deadliner.SetDeadline(time.Time{}) // fails if the listener is closed, which the next Accept reports
	if err != nil {
		return false
	}
	reject(nc)
	return true
}

// throttle limits how often a warning is logged.
type throttle struct {
	mu      sync.Mutex // guards all below
	next    time.Time
	dropped int
}

// pass reports whether to log the warning, and how many were suppressed since the last one.
func (t *throttle) pass(now time.Time) (dropped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.dropped++
		return 0, false
	}
	dropped, t.dropped, t.next = t.dropped, 0, now.Add(warnInterval)
	return dropped, true
}
