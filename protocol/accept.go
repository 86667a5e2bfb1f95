package protocol

import (
	"errors"
	"net"
	"time"
)

// acceptPause follows a failure to accept.
const acceptPause = 10 * time.Millisecond

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
	if tooFast(s, nc) {
		return
	}
	c, err := s.connections.add(s.config.Load(), func(id int64) *conn {
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
