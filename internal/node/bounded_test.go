package node

import (
	"io"
	"net"
	"testing"
	"time"
)

// dialBounded connects to a listener, and returns both ends.
func dialBounded(t *testing.T, l net.Listener, accepted <-chan net.Conn) (ours net.Conn, theirs *boundedConn) {
	t.Helper()
	ours, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	ours.SetDeadline(time.Now().Add(time.Minute)) // against a hang
	return ours, (<-accepted).(*boundedConn)
}

// A further connection takes the place of the one that is silent for the longest. One that serves a request stays.
func TestBound(t *testing.T) {
	t.Parallel()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bound(socket, 3)
	accepted, ended := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- conn
		}
	}()
	ends := func(conn net.Conn) {
		t.Helper()
		if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection has not ended: %v", err)
		}
	}
	oldest, busy := dialBounded(t, l, accepted)
	second, idle := dialBounded(t, l, accepted)
	third, _ := dialBounded(t, l, accepted)
	busy.serves(true)
	_, fourth := dialBounded(t, l, accepted)
	ends(second)
	fourth.serves(true)
	_, fifth := dialBounded(t, l, accepted)
	ends(third)
	fifth.serves(true)
	idle.Close() // once more
	if n := len(l.(*bounded).open); n != 3 {
		t.Errorf("%d connections are open", n)
	}
	waits, err := net.Dial("tcp", l.Addr().String()) // all are busy
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	select {
	case <-accepted:
		t.Error("there are four")
	case <-time.After(20 * time.Millisecond):
	}
	busy.serves(false)
	<-accepted
	ends(oldest)

	waiting, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	l.Close()
	for {
		select {
		case conn := <-accepted: // before the listener closed
			conn.Close()
			continue
		case err := <-ended:
			if err == nil {
				t.Error("Accept goes on after Close")
			}
		}
		break
	}
}
