package screen

import (
	"errors"
	"fmt"
	"io"
)

var (
	errTooLong   = errors.New("is longer than any message of an ndring node")
	errMalformed = errors.New("is not a message of memberlist")
)

// source reads the bytes of a message and keeps them for memberlist.
type source struct {
	r     io.Reader
	taken []byte // Invariant: len(taken) <= limit.
	limit int
	names *[]string // collects the member names in the message; nil: not needed
}

// chunk is how much is allocated at a time for bytes that are announced but have not arrived.
const chunk = 16 << 10

// take returns the next n bytes. It allocates by what has arrived, not by what is announced.
func (s *source) take(n int) ([]byte, error) {
	start := len(s.taken)
	if n < 0 || n > s.limit-start {
		return nil, errTooLong
	}
	for left := n; left > 0; {
		part := min(left, chunk)
		at := len(s.taken)
		s.taken = append(s.taken, make([]byte, part)...)
		if _, err := io.ReadFull(s.r, s.taken[at:]); err != nil {
			if errors.Is(err, io.EOF) && at > 0 || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("ends in the middle: %w", io.ErrUnexpectedEOF)
			}
			return nil, err
		}
		left -= part
	}
	return s.taken[start:], nil
}

func (s *source) byte() (byte, error) {
	b, err := s.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// number returns an unsigned big-endian number of n bytes.
func (s *source) number(n int) (v uint64, err error) {
	b, err := s.take(n)
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v, err
}
