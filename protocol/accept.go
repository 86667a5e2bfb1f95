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
	acceptPause = 10 * time.Millisecond  // after a failure
	refusalTime = 100 * time.Millisecond // for a client that is to be refused, and may have gone by itself
	warnEach    = 10 * time.Second
)

func (s *Server) accept(l Listener) {
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			if dropped, tell := s.acceptWarning.pass(time.Now()); tell {
				s.log.Warn("accept failed", "listener", l.Name, "err", err, "also", dropped)
			}
			if !outOfFiles(err) || !s.spare.refuse(l, s.turnAwayFull) {
				time.Sleep(acceptPause) // others may close soon
			}
			continue
		}
		s.welcome(nc, l.Name)
	}
}

func (s *Server) welcome(nc net.Conn, listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	if len(s.conns) >= s.config.Load().MaxClients {
		s.turnAwayFull(nc)
		return
	}
	if s.protected(nc.RemoteAddr()) {
		s.counters.denied.Add(1)
		turnAway(nc, deniedText)
		return
	}
	s.counters.connections.Add(1)
	c := newConn(s, nc, listener, s.nextID.Add(1))
	s.conns[c] = struct{}{}
	s.done.Go(func() {
		defer s.forget(c)
		c.serve()
	})
}

// turnAwayFull closes a connection for which there is no place.
func (s *Server) turnAwayFull(nc net.Conn) {
	s.counters.rejected.Add(1)
	turnAway(nc, "ERR max number of clients reached")
}

// turnAway closes a connection with an error. One short write to an empty socket does not block.
func turnAway(nc net.Conn, text string) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write([]byte("-" + text + "\r\n")) // if it fails, the client has gone
	nc.Close()
}

// outOfFiles reports whether the process, or the system, has no file descriptor left.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// spareFile is a file descriptor that is held for the moment at which there is no other: to accept a client and tell it so.
type spareFile struct {
	mu   sync.Mutex // guards file, and that one client is refused at a time
	file *os.File   // nil: the descriptor is in use elsewhere
}

func (s *spareFile) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		s.file, _ = os.Open(os.DevNull) // without it, clients wait to be accepted
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

// refuse accepts the next client of l in place of the spare file, and has it turned away. It reports whether it could.
func (s *spareFile) refuse(l Listener, turnAway func(net.Conn)) bool {
	defer s.hold()
	s.mu.Lock()
	defer s.mu.Unlock()
	patient, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if s.file == nil || !ok || patient.SetDeadline(time.Now().Add(refusalTime)) != nil {
		return false
	}
	s.file.Close()
	s.file = nil
	nc, err := l.Accept()
	patient.SetDeadline(time.Time{}) // fails for a listener that is closed, which the next Accept tells
	if err != nil {
		return false
	}
	turnAway(nc)
	return true
}

// throttle lets a warning pass from time to time.
type throttle struct {
	mu      sync.Mutex // guards all below
	next    time.Time
	dropped int
}

// pass reports whether the warning may be given, and how many were not since the last one.
func (t *throttle) pass(now time.Time) (dropped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.dropped++
		return 0, false
	}
	dropped, t.dropped, t.next = t.dropped, 0, now.Add(warnEach)
	return dropped, true
}
