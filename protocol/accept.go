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
			if !outOfFiles(err) || !s.spare.refuse(l, func(nc net.Conn) { s.rejectFull(nc, l) }) {
				time.Sleep(acceptPause) // other connections may close soon
			}
			continue
		}
		s.acceptConn(nc, l)
	}
}

// acceptConn serves a client, or rejects it.
func (s *Server) acceptConn(nc net.Conn, l Listener) {
	c, err := s.connections.add(s.config.Load().MaxClients, func(id int64) *conn {
		protected := s.protected(nc.RemoteAddr())
		if protected && l.TLS == nil {
			return nil
		}
		c := newConn(s, nc, l, id)
		c.denied = protected // it is told so after the handshake
		return c
	})
	switch {
	case errors.Is(err, errTooManyClients):
		s.rejectFull(nc, l)
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

// rejectFull rejects a client because there are too many. With TLS it would have to make a handshake to say so; Redis does not either.
func (s *Server) rejectFull(nc net.Conn, l Listener) {
	s.counters.rejected.Add(1)
	if l.TLS != nil {
		nc.Close()
		return
	}
	reject(nc, "ERR "+errTooManyClients.Error())
}

// reject closes a new connection with an error. One short write to an empty socket does not block.
func reject(nc net.Conn, text string) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write([]byte("-" + text + "\r\n")) // fails if the client has disconnected
	nc.Close()
}
