package protocol

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestConnectionRate(t *testing.T) {
	t.Parallel()
	at := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip)} }
	var r connectionRate
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		after   time.Duration
		address string
		rate    int
		want    bool
	}{
		{0, "192.0.2.1", 2, true}, {0, "192.0.2.1", 2, true}, {0, "192.0.2.1", 2, false},
		{0, "::ffff:192.0.2.1", 2, false}, {0, "192.0.2.2", 2, true},
		{499 * time.Millisecond, "192.0.2.1", 2, false}, {2 * time.Millisecond, "192.0.2.1", 2, true}, {0, "192.0.2.1", 2, false},
		{time.Hour, "192.0.2.1", 2, true}, {0, "192.0.2.1", 2, true}, {0, "192.0.2.1", 2, false}, // no more than those of one second
		{0, "192.0.2.1", 0, true}, {0, "127.0.0.1", 1, true}, {0, "127.0.0.1", 1, true}, {0, "::1", 1, true}, {0, "::1", 1, true},
		{0, "2001:db8::1", 1, true}, {0, "2001:db8::ffff:1", 1, false}, {0, "2001:db8:0:1::1", 1, true},
	} {
		now = now.Add(step.after)
		if got := r.take(at(step.address), step.rate, now); got != step.want {
			t.Errorf("step %d: %+v: %v", i, step, got)
		}
	}
	for range 3 {
		if !r.take(&net.UnixAddr{Name: "x"}, 1, now) {
			t.Error("a client without an IP address is limited")
		}
	}
}

// However many addresses connect, the table stays small; those without a bucket share one, and an address with one keeps it.
func TestConnectionRateOfManyAddresses(t *testing.T) {
	t.Parallel()
	var r connectionRate
	now := time.Unix(1000, 0)
	take := func(i int) bool {
		return r.take(&net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))}, 2, now)
	}
	admitted := 0
	for i := range 3 * maxRated {
		if take(i) {
			admitted++
		}
	}
	if len(r.buckets) != maxRated || admitted != maxRated+2 {
		t.Errorf("%d buckets, %d admitted", len(r.buckets), admitted)
	}
	if !take(0) || take(0) {
		t.Error("an address with a bucket does not have its own tokens")
	}
	now = now.Add(time.Second)
	if !take(3*maxRated) || len(r.buckets) != 1 {
		t.Errorf("%d buckets are left after a quiet second", len(r.buckets))
	}
}

func TestClientsThatConnectTooOften(t *testing.T) {
	t.Parallel()
	s := start(t, Config{ConnectionRate: 3})
	log := new(lockedBuffer)
	s.logs.to(log)
	far := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 99}
	connect := func() *client {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		go s.acceptConn(farConn{ours, far}, Listener{Name: "default"})
		return &client{t: t, Conn: theirs, r: bufio.NewReader(theirs)}
	}
	for range 3 {
		connect().want("+PONG", "PING")
	}
	for range 5 {
		if got := connect().closed(); got != "-"+rateText+"\r\n" {
			t.Fatalf("got %q", got)
		}
	}
	if n := s.Stats().RateLimited; n != 5 {
		t.Errorf("%d are counted", n)
	}
	if n := strings.Count(log.String(), "connection-rate"); n != 1 || !strings.Contains(log.String(), "192.0.2.1:99") {
		t.Errorf("%d lines:\n%s", n, log)
	}
	s.dial(t).want("+PONG", "PING") // from this machine
}
