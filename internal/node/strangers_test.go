package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/internal/slowtest"
)

// Clients without the password send pipelines and read no replies, on a node with little memory left: no key is
// evicted for them, no write is refused, and the node needs no more memory afterwards.
func TestStrangersEvictNothing(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	const strangers, room = 200, 10 << 20
	p := startBuilt(t, "--requirepass", "secret", "--maxmemory-policy", "allkeys-lru")
	c := dialLoggedIn(t, p)
	const array = 100_000
	for i := range 200 {
		c.want(t, "+OK", "NP.SET", fmt.Sprint("k", i), npyOfBytes(array))
	}
	used := infoNumber(t, c.do(t, "INFO", "memory"), "used_memory")
	c.want(t, "+OK", "CONFIG", "SET", "maxmemory", fmt.Sprint(used+room))
	pipeline := strings.Repeat(resptest.Command("PING"), 64<<10/14)
	var all []net.Conn
	for range strangers {
		conn, err := net.Dial("tcp", p.resp)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		all = append(all, conn)
		go io.WriteString(conn, pipeline) // fails when the connection ends
	}
	// Each sends far more than the free memory: the node reads a part of it, and answers that before it reads on.
	for answered := int64(0); answered < strangers*10; {
		c.want(t, "+OK", "NP.SET", "during", npyOfBytes(array))
		answered = infoNumber(t, c.do(t, "INFO", "stats"), "total_error_replies")
	}
	for _, conn := range all {
		conn.Close()
	}
	c.want(t, "+OK", "NP.SET", "after", npyOfBytes(array))
	stats := c.do(t, "INFO", "stats")
	if evicted, refused := infoNumber(t, stats, "evicted_keys"), infoNumber(t, stats, "oom_denied"); evicted != 0 || refused != 0 {
		t.Errorf("%d keys are evicted, %d writes refused", evicted, refused)
	}
}

// loggedIn is a client of a node, with its password if it has one.
type loggedIn struct {
	net.Conn
	r *bufio.Reader
}

func dialLoggedIn(t *testing.T, p *process) *loggedIn {
	t.Helper()
	c := dialPlain(t, p)
	c.want(t, "+OK", "AUTH", "secret")
	return c
}

func dialPlain(t *testing.T, p *process) *loggedIn {
	t.Helper()
	conn, err := net.Dial("tcp", p.resp)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * time.Minute)) // against a hang
	return &loggedIn{conn, bufio.NewReader(conn)}
}

func (c *loggedIn) do(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := io.WriteString(c, resptest.Command(args...)); err != nil {
		t.Fatal(err)
	}
	got, err := resptest.Render(c.r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (c *loggedIn) want(t *testing.T, want string, args ...string) {
	t.Helper()
	if got := c.do(t, args...); got != want {
		t.Fatalf("%.100q: got %.200q, want %q", args, got, want)
	}
}

// npyOfBytes returns a .npy file of n bytes.
func npyOfBytes(n int) string {
	header := fmt.Sprintf("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }\n", n)
	return "\x93NUMPY\x01\x00" + string([]byte{byte(len(header)), 0}) + header + strings.Repeat("\x07", n)
}
