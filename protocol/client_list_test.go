package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/ndring/ndring/protocol/resp"
)

// shows returns a numeric field of a client's line in CLIENT LIST.
func shows(t *testing.T, watcher *client, id, name string) int {
	t.Helper()
	line := watcher.do("CLIENT", "LIST", "ID", id)
	n, err := strconv.Atoi(field(line, " "+name, "="))
	if err != nil {
		t.Fatalf("%s in %q", name, line)
	}
	return n
}

// CLIENT LIST shows where the memory of a connection is, with Redis' names and correct values.
func TestClientListShowsMemory(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	watcher, c := s.dial(t), s.dial(t)
	id := strings.TrimPrefix(c.do("CLIENT", "ID"), ":")
	is := func(name string, fits func(int) bool) {
		t.Helper()
		eventually(t, name, func() bool { return fits(shows(t, watcher, id, name)) })
	}
	within := func(low, high int) func(int) bool { return func(n int) bool { return low <= n && n <= high } }
	is("qbuf", within(0, 0))
	is("qbuf-free", within(0, resp.DefaultBuffers.Large))
	is("argv-mem", within(0, 0))
	is("oll", within(0, 0))
	is("omem", within(0, 0))
	if fd := shows(t, watcher, id, "fd"); fd < 3 || fd == shows(t, watcher, strings.TrimPrefix(watcher.do("CLIENT", "ID"), ":"), "fd") {
		t.Errorf("fd=%d", fd)
	}

	c.send("*3\r\n$6\r\nNP.SET\r\n$1\r\nk\r\n$1000000\r\n" + strings.Repeat("x", 1000)) // part of a large argument
	is("argv-mem", within(1_000_007, 1_000_007))
	line, sum := watcher.do("CLIENT", "LIST", "ID", id), 0
	for _, part := range []string{"qbuf", "qbuf-free", "argv-mem", "multi-mem", "rbs", "omem"} {
		n, _ := strconv.Atoi(field(line, " "+part, "="))
		sum += n
	}
	if total, err := strconv.Atoi(field(line, " tot-mem", "=")); err != nil || total <= sum || total > sum+10_000 {
		t.Errorf("tot-mem is not %d and the connection itself: %q", sum, line)
	}
	c.send(strings.Repeat("x", 999_000) + "\r\n*2\r\n$4\r\nPING\r\n$") // and part of a small one
	if got := c.reply(); !strings.HasPrefix(got, "-BADNPY") {
		t.Fatal(got)
	}
	is("argv-mem", within(4, 4))
	is("qbuf", within(1, 1))
	c.send("1\r\na\r\n")
	if got := c.reply(); got != `"a"` {
		t.Fatal(got)
	}
	is("qbuf", within(0, 0))

	c.want("+OK", "MULTI")
	is("multi-mem", within(0, 0))
	c.want("+QUEUED", "NP.SET", "k", bytesNPY(100_000, ""))
	is("multi-mem", within(100_000, 110_000))
	c.want("[+OK]", "EXEC")
	is("multi-mem", within(0, 0))
	if n := shows(t, watcher, id, "rbp"); n < len("*1\r\n+OK\r\n") {
		t.Errorf("rbp=%d", n)
	}

	c.send(strings.Repeat(encode("NP.GET", "k"), 200)) // 20 MB that the client does not read yet
	is("oll", func(n int) bool { return n > 0 })
	is("omem", func(n int) bool { return n > 1_000_000 })
	if line := watcher.do("CLIENT", "LIST", "ID", id); field(line, "events", "=") != "rw" {
		t.Errorf("events in %q", line)
	}
	for range 200 {
		c.reply()
	}
	is("omem", within(0, 0))
	if line := c.do("CLIENT", "INFO"); field(line, "events", "=") != "r" || field(line, "argv-mem", "=") != fmt.Sprint(len("CLIENTINFO")) {
		t.Errorf("the client's own line: %q", line)
	}
}
