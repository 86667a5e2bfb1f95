package cluster

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// A stream rests between two requests, and fails when a request has begun and nothing more of it comes.
func TestARequestThatStalls(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	const stall = 20 * time.Millisecond
	s := &requestStream{Conn: near, stall: stall}
	for range 2 {
		go func() {
			time.Sleep(2 * stall)
			far.Write([]byte("request"))
			io.ReadFull(far, make([]byte, len("reply")))
		}()
		if _, err := io.ReadFull(s, make([]byte, len("request"))); err != nil {
			t.Fatalf("a request after a rest: %v", err)
		}
		if _, err := s.Write([]byte("reply")); err != nil {
			t.Fatal(err)
		}
	}
	go far.Write([]byte("req"))
	if n, err := io.ReadFull(s, make([]byte, len("request"))); n != 3 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("half a request: %d bytes, %v", n, err)
	}
}
