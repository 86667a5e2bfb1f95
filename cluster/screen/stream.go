package screen

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// stream is a connection from which memberlist reads one checked message. Memberlist sets the deadline for it.
type stream struct {
	net.Conn
	t       *Transport
	allowed []byte    // types of messages
	once    sync.Once // guards rest and err
	rest    bytes.Reader
	err     error
	close   sync.Once
	closed  func()
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
	message, err := s.message(bufio.NewReader(s.Conn))
	s.rest.Reset(message)
	s.err = err
	var broken *net.OpError // an I/O error, not the fault of the message
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &broken) {
		return
	}
	s.t.refuse(s.RemoteAddr(), err)
}

func (s *stream) message(r io.Reader) ([]byte, error) {
	if s.t.options.Secret {
		return encrypted(r)
	}
	message, members, err := fromStream(r, s.allowed)
	if err == nil && !s.t.members.admit(members, time.Now()) {
		err = errTooManyMembers
	}
	return message, err
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.close.Do(s.closed)
	return s.Conn.Close()
}

// fromStream reads one message of the allowed types from a stream. It returns the message for memberlist
// and the members that it names.
func fromStream(r io.Reader, allowed []byte) (b []byte, members []string, err error) {
	s := &source{r: r, limit: maxStream}
	kind, err := s.byte()
	if err != nil {
		return nil, nil, err
	}
	if kind == typeCompressed {
		if s, err = unpack(s, maxStream); err != nil {
			return nil, nil, err
		}
	} else {
		s = &source{r: io.MultiReader(bytes.NewReader([]byte{kind}), r), limit: maxStream}
	}
	s.names = &members
	if err := message(s, allowed); err != nil {
		if kind == typeCompressed && errors.Is(err, io.EOF) { // of the inner message, not of the stream
			err = errMalformed
		}
		return nil, nil, err
	}
	return s.taken, members, nil
}

// encrypted reads one encrypted message from a stream.
func encrypted(r io.Reader) ([]byte, error) {
	s := &source{r: r, limit: maxStream + cipherExtra}
	kind, err := s.byte()
	if err != nil {
		return nil, err
	}
	if kind != typeEncrypted {
		return nil, errors.New("is not encrypted: this node has a gossip key, its sender has none")
	}
	length, err := s.number(4)
	if err != nil {
		return nil, err
	}
	if _, err := s.take(int(length)); err != nil {
		return nil, err
	}
	return s.taken, nil
}
