package protocol

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// refusalTime is the time to accept a client that is to be refused. It may have disconnected.
const refusalTime = 100 * time.Millisecond

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
