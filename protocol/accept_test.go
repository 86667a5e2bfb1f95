package protocol

import (
	"bytes"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// starved is a listener without file descriptors: it accepts a client only after the server has closed its
// spare one, which the server announces by setting a deadline.
type starved struct {
	net.Listener
	allowed, failures chan struct{}
}

func (l *starved) SetDeadline(at time.Time) error {
	if !at.IsZero() {
		l.allowed <- struct{}{}
	}
	return nil
}

func (l *starved) Accept() (net.Conn, error) {
	select {
	case <-l.allowed:
		return l.Listener.Accept()
	default:
	}
	if _, ok := <-l.failures; ok {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return nil, net.ErrClosed
}

// Without a file descriptor, each client gets an error, and the log one warning, not one for each client.
func TestNoDescriptorsForClients(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	log := new(lockedBuffer)
	s.logs.to(log)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	l := &starved{Listener: socket, allowed: make(chan struct{}, 1), failures: make(chan struct{})}
	if err := s.Serve(Listener{Listener: l, Name: "starved"}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		nc, err := net.Dial("tcp", socket.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		l.failures <- struct{}{}
		nc.SetDeadline(time.Now().Add(time.Minute)) // in case the test hangs
		var got bytes.Buffer
		if _, err := got.ReadFrom(nc); err != nil || got.String() != "-ERR max number of clients reached\r\n" {
			t.Fatalf("client %d got %q, %v", i, &got, err)
		}
	}
	close(l.failures)
	if got := s.Stats().Rejected; got != n {
		t.Errorf("%d clients are counted as rejected", got)
	}
	if got := strings.Count(log.String(), "accept failed"); got != 1 {
		t.Errorf("%d warnings:\n%s", got, log)
	}
}

func TestThrottle(t *testing.T) {
	var th throttle
	now := time.Now()
	for i, step := range []struct {
		after   time.Duration
		ok      bool
		dropped int
	}{{0, true, 0}, {0, false, 0}, {warnInterval - 1, false, 0}, {warnInterval, true, 2}, {warnInterval, false, 0}, {2 * warnInterval, true, 1}} {
		if dropped, ok := th.pass(now.Add(step.after)); ok != step.ok || dropped != step.dropped {
			t.Errorf("step %d: %d, %v", i, dropped, ok)
		}
	}
}
