package screen

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
)

// stream is a connection of which memberlist reads one message, after it was looked at. Memberlist sets the deadline within which it has to be there.
type stream struct {
	net.Conn
	t      *Transport
	read   func(io.Reader) ([]byte, error)
	once   sync.Once // guards rest and err
	rest   bytes.Reader
	err    error
	close  sync.Once
	closed func()
}

func (t *Transport) reader(plain func(io.Reader) ([]byte, error)) func(io.Reader) ([]byte, error) {
	if t.options.Secret {
		return encrypted
	}
	return plain
}

// Read implements net.Conn.
func (s *stream) Read(b []byte) (int, error) {
	s.once.Do(s.screen)
	if s.err != nil {
		return 0, s.err
	}
	return s.rest.Read(b)
}

func (s *stream) screen() {
	message, err := s.read(bufio.NewReader(s.Conn))
	s.rest.Reset(message)
	s.err = err
	var broken *net.OpError // it says nothing about what was sent
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &broken) {
		return
	}
	s.t.refuse(s.RemoteAddr(), err)
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.close.Do(s.closed)
	return s.Conn.Close()
}
