package protocol

import (
	"strings"
	"testing"
)

const fullText = "-ERR max number of clients reached"

// On a full node an operator can log in, look and end other connections. Everyone else is refused.
func TestReserveIsForOperators(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxClients: 8, MaxClientsReserve: 100, Password: "secret"}) // at most a quarter: 2
	var others []*client
	for range 6 {
		c := s.dial(t)
		c.want("+OK", "AUTH", "secret")
		others = append(others, c)
	}
	others[0].want("+OK", "NP.SET", "k", npy("|u1", "(1,)", "x"))
	operator := s.dial(t)
	operator.want("+OK", "AUTH", "secret")
	for _, allowed := range []string{"PING", "INFO", "CLIENT LIST", "CONFIG GET maxclients", "CLUSTER INFO", "SLOWLOG GET", "LATENCY LATEST", "COMMAND COUNT", "MEMORY STATS", "TIME", "CLIENT SETNAME x"} {
		if got := operator.do(strings.Fields(allowed)...); strings.HasPrefix(got, "-") {
			t.Errorf("%s: %s", allowed, got)
		}
	}
	for _, refused := range []string{"NP.GET k", "DBSIZE", "SCAN 0", "MULTI", "FLUSHALL", "WATCH k", "MEMORY USAGE k", "WAIT 0 0"} {
		c := s.dial(t)
		c.want("+OK", "AUTH", "secret")
		c.want(fullText, strings.Fields(refused)...)
		if got := c.closed(); got != "" {
			t.Errorf("after %s: %q", refused, got)
		}
		eventually(t, "the refused connection is gone", func() bool { return s.Stats().Clients == 7 })
	}
	if got := s.Stats().Rejected; got != 8 {
		t.Errorf("%d are counted", got)
	}
	operator.want(":1", "CLIENT", "KILL", "ADDR", others[5].LocalAddr().String())
	eventually(t, "the connection is gone", func() bool { return s.Stats().Clients == 6 })
	operator.want(":1", "DBSIZE") // there is room now
	eventually(t, "the operator is an ordinary client", func() bool { return ordinary(s) == 6 })
}

// ordinary returns how many connections are outside the reserve.
func ordinary(s *testServer) int {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	return s.connections.ordinary
}

// Connections that show no password do not keep an operator out, however many there are.
func TestReserveIsNotForStrangers(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxClients: 8, MaxClientsReserve: 2, Password: "secret"})
	var strangers []*client
	for range 30 {
		c := s.dial(t)
		c.want("-NOAUTH Authentication required.", "PING")
		strangers = append(strangers, c)
	}
	operator := s.dial(t)
	operator.want("+OK", "AUTH", "secret")
	operator.want("+PONG", "PING")
	for range 30 {
		s.dial(t).want("-NOAUTH Authentication required.", "PING")
	}
	operator.want("+PONG", "PING")
	for _, c := range strangers[:6] { // they were here before the node was full
		c.want("-NOAUTH Authentication required.", "PING")
	}
	eventually(t, "the displaced connections are gone", func() bool { return s.Stats().Clients == 8 })
	second := s.dial(t) // in place of the last stranger
	second.want("+OK", "AUTH", "secret")
	second.want("+PONG", "PING")
	if got := s.dial(t).closed(); got != fullText+"\r\n" {
		t.Errorf("beyond maxclients: %q", got)
	}
}

// The numbers stay right through many clients that come and go.
func TestReserveCounts(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxClients: 16, MaxClientsReserve: 4})
	for range 3 {
		var all []*client
		for range 40 {
			all = append(all, s.dial(t))
		}
		for _, c := range all {
			c.Close()
		}
		eventually(t, "all are gone", func() bool { return s.Stats().Clients == 0 })
		if n := ordinary(s); n != 0 {
			t.Fatalf("%d ordinary connections are counted", n)
		}
	}
	s.dial(t).want(":0", "DBSIZE")
}
