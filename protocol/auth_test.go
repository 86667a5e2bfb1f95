package protocol

import (
	"bufio"
	"net"
	"strings"
	"testing"
)

func TestPassword(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret", ProtectedMode: true})
	c := s.dial(t)
	c.talk([]exchange{
		{"PING", `-NOAUTH Authentication required.`},
		{"NP.SET k $A", `-NOAUTH Authentication required.`},
		{"NOSUCH", `-NOAUTH Authentication required.`},
		{"CLIENT SETINFO LIB-NAME x", `-NOAUTH Authentication required.`},
		{"HELLO 3", `-NOAUTH ` + errHelloAuth.Error()},
		{"HELLO 3 AUTH default wrong", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"HELLO 3 AUTH someone secret", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"AUTH wrong", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"AUTH secre", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"AUTH someone secret", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"AUTH a b c", `-ERR syntax error`},
		{"AUTH", `-ERR wrong number of arguments for 'auth' command`},
		{"PING", `-NOAUTH Authentication required.`},
		{"AUTH secret", `+OK`},
		{"PING", `+PONG`},
		{"NP.SET k $A", `+OK`},
		{"AUTH wrong", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"NP.GET k", `"$A"`}, // a wrong password does not log out, as in Redis
		{"RESET", `+RESET`},
		{"NP.GET k", `-NOAUTH Authentication required.`},
		{"AUTH default secret", `+OK`},
		{"NP.GET k", `"$A"`},
	})
	hello := s.dial(t)
	if got := hello.do("HELLO", "3", "AUTH", "default", "secret"); !strings.HasPrefix(got, "{") {
		t.Errorf("HELLO with AUTH: %s", got)
	}
	hello.want("+PONG", "PING")
	quits := s.dial(t)
	quits.want("+OK", "QUIT")
	if n := s.Stats().AuthFailures; n != 6 {
		t.Errorf("%d failures counted", n)
	}
}

// A stranger gets room for a password and nothing else.
func TestLimitsBeforeAuth(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Password: "secret"})
	goodClient := s.dial(t)
	goodClient.want("+OK", "AUTH", "secret")
	for stream, want := range map[string]string{
		"*11\r\n":                        "unauthenticated multibulk length: 11 arguments",
		"*2\r\n$4\r\nAUTH\r\n$16385\r\n": "unauthenticated bulk length: 16385 bytes",
		"*3\r\n$6\r\nNP.SET\r\n$1\r\nk\r\n$536870912\r\n": "unauthenticated bulk length: 536870912 bytes",
		"*2\r\n$4\r\nAUTH\r\n$-2\r\n":                     "invalid bulk length",
	} {
		c := s.dial(t)
		c.send(stream)
		if got := c.closed(); !strings.HasPrefix(got, "-ERR Protocol error: ") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
	c := s.dial(t)
	c.want("-WRONGPASS invalid username-password pair or user is disabled.", "AUTH", strings.Repeat("x", 16<<10))
	c.want("+OK", "AUTH", "secret")
	c.want("+OK", "NP.SET", "k", bytesNPY(1<<20, ""))
	c.want("+RESET", "RESET")
	c.send("*3\r\n$6\r\nNP.SET\r\n$1\r\nk\r\n$536870912\r\n")
	if got := c.closed(); !strings.HasPrefix(got, "-ERR Protocol error: ") {
		t.Errorf("after RESET: %q", got)
	}
	goodClient.want("+PONG", "PING")
}

func TestWithoutAPassword(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	c.talk([]exchange{
		{"AUTH secret", `-ERR ` + errNoPassword.Error()},
		{"AUTH default anything", `+OK`},
		{"AUTH someone anything", `-WRONGPASS invalid username-password pair or user is disabled.`},
		{"RESET", `+RESET`},
		{"PING", `+PONG`},
	})
}

func TestProtectedMode(t *testing.T) {
	t.Parallel()
	near, far := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	for _, test := range []struct {
		config Config
		remote net.Addr
		want   bool
	}{
		{Config{ProtectedMode: true}, near, false},
		{Config{ProtectedMode: true}, &net.TCPAddr{IP: net.IPv6loopback}, false},
		{Config{ProtectedMode: true}, far, true},
		{Config{ProtectedMode: true}, &net.UnixAddr{Name: "x"}, false},
		{Config{ProtectedMode: true, Password: "p"}, far, false},
		{Config{}, far, false},
	} {
		s := new(Server)
		s.config.Store(&test.config)
		if got := s.protected(test.remote); got != test.want {
			t.Errorf("%+v, %v: %v", test.config, test.remote, got)
		}
	}
	s := start(t, Config{ProtectedMode: true})
	ours, theirs := net.Pipe()
	go s.acceptConn(farConn{ours, far}, Listener{Name: "default"})
	c := &client{t: t, Conn: theirs, r: bufio.NewReader(theirs)}
	if got := c.closed(); got != "-"+deniedText+"\r\n" {
		t.Errorf("a client from another machine got %q", got)
	}
	if n := s.Stats().Denied; n != 1 {
		t.Errorf("%d denied clients are counted", n)
	}
}

type farConn struct {
	net.Conn
	remote net.Addr
}

func (c farConn) RemoteAddr() net.Addr { return c.remote }
