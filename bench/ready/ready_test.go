package ready

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// serve sends each connection the next of the answers, repeats the last one, and counts the connections.
func serve(t *testing.T, answers ...string) (addr string, asked func() int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	counts := make(chan int, 1)
	counts <- 0
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
				n := <-counts
				c.Write([]byte(answers[min(n, len(answers)-1)]))
				counts <- n + 1
			}
			c.Close()
		}
	}()
	return l.Addr().String(), func() int {
		n := <-counts
		counts <- n
		return n
	}
}

func TestWaitAsksUntilKeysAreServed(t *testing.T) {
	addr, asked := serve(t, "-CLUSTERDOWN this node is not part of a cluster yet: its own startup\r\n", "-LOADING data\r\n", "", ":0\r\n")
	if err := Wait(t.Context(), addr, Keys); err != nil {
		t.Fatal(err)
	}
	if asked() != 4 {
		t.Errorf("asked %d times", asked())
	}
}

func TestWaitReportsTheLastReply(t *testing.T) {
	addr, asked := serve(t, "-CLUSTERDOWN no\r\n")
	ctx, end := context.WithCancelCause(t.Context())
	gone := errors.New("the process has ended")
	go func() {
		for asked() < 3 {
			time.Sleep(time.Millisecond)
		}
		end(gone)
	}()
	err := Wait(ctx, addr, Keys)
	if !errors.Is(err, gone) || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
}
