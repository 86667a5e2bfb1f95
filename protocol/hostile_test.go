package protocol

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/resptest"
	"github.com/ndring/ndring/protocol/resp"
)

// goodClient stores and fetches arrays until the test ends, and must never fail, whatever the test does.
func goodClient(t *testing.T, s *testServer) {
	c := s.dial(t)
	stop, done := make(chan struct{}), make(chan error, 1)
	var rounds atomic.Int64
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			key, array := fmt.Sprint("good", i%10), bytesNPY(10_000+i%20_000, fmt.Sprint(i))
			if _, err := io.WriteString(c, encode("NP.SET", key, array)+encode("NP.GET", key)); err != nil {
				done <- err
				return
			}
			for _, want := range []string{"+OK", `"` + array + `"`} {
				if got, err := resptest.Render(c.r); err != nil || got != want {
					done <- fmt.Errorf("round %d: got %.200q, %v", i, got, err)
					return
				}
			}
			rounds.Add(1)
		}
	}()
	t.Cleanup(func() {
		enough := rounds.Load() + 3 // at least 3 after the bad input
		eventually(t, "rounds of the good client", func() bool { return rounds.Load() >= enough || len(done) > 0 })
		close(stop)
		if err := receive(t, "the end of the good client", done); err != nil {
			t.Errorf("the good client failed: %v", err)
		}
		if n := s.Stats().Panics; n != 0 {
			t.Errorf("%d panics", n)
		}
	})
}

// A stream that is not RESP gets an error, and the connection is closed.
func TestMalformedStreams(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	goodClient(t, s)
	for _, test := range []struct{ stream, want string }{
		{"*2\r\n$9223372036854775807\r\nabc", "invalid bulk length"},
		{"*9223372036854775807\r\n", "invalid multibulk length"},
		{"*1000000\r\n" + strings.Repeat("$1\r\na\r\n", 1_000_000), "invalid multibulk length"},
		{"*65537\r\n", "invalid multibulk length"},
		{"*99999999999999999999999999\r\n", "invalid multibulk length"},
		{"*x\r\n", "invalid multibulk length"},
		{"*" + strings.Repeat("1", 100_000), "invalid multibulk length"},
		{"*1\r\n$-1\r\n", "invalid bulk length"},
		{"*1\r\n$-2\r\n", "invalid bulk length"},
		{"*1\r\n$-9223372036854775808\r\n", "invalid bulk length"},
		{"*3\r\n$6\r\nNP.SET\r\n$1\r\nk\r\n$99999999999\r\n", "invalid bulk length"},
		{"*1\r\n$4\r\nPINGxx", "expected CRLF"},
		{"*1\r\n+PING\r\n", "expected '$'"},
		{"*1\n$4\r\nPING\r\n", "missing CR"},
		{"ECHO 'open\r\n", "unbalanced quotes"},
		{strings.Repeat("a", 1<<20), "too big inline request"},
		{"GET / HTTP/1.1\r\nHost: " + strings.Repeat("h", 1<<17), "too big inline request"},
	} {
		c := s.dial(t)
		io.WriteString(c, test.stream) // may fail at the end, after the server has closed
		if got := c.closed(); !strings.Contains(got, "-ERR Protocol error: ") || !strings.Contains(got, test.want) {
			t.Errorf("%.60q: got %.300q, want %s", test.stream, got, test.want)
		}
	}
	if n := s.Stats().ProtocolErrors; n < 15 {
		t.Errorf("%d protocol errors are counted", n)
	}
}

// A stream that ends within a command leaves no memory behind.
func TestTruncatedStreams(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	goodClient(t, s)
	whole := encode("NP.SET", "key", bytesNPY(100_000, ""))
	for at := 1; at < len(whole); at += 1 + at/3 {
		c := s.dial(t)
		c.send(whole[:at])
		c.Close()
	}
	eventually(t, "all connections but one end", func() bool { return s.Stats().Clients == 1 })
}

// Valid RESP that cannot be executed gets an error, and the connection goes on.
func TestRefusedCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxArrayBytes: 1 << 20})
	goodClient(t, s)
	c := s.dial(t)
	big := strings.Repeat("x", 3<<20)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"NP.SET", "k", bytesNPY(1<<20+1, "")}, "-TOOLARGE the array is too large: 1048577 bytes of data, the limit is 1048576"},
		{[]string{"NP.SET", "k", big}, "-TOOLARGE too large: an argument of 3145728 bytes, the limit is 2097168"},
		{[]string{"NP.SET", "k", arrayA, "PART", "mask", strings.Repeat("m", 1<<20+1)}, "-TOOLARGE too large: part mask has 1048577 bytes, the limit is 1048576"},
		{[]string{"NP.SET", big, arrayA}, "-TOOLARGE"},
		{[]string{"ECHO", strings.Repeat("x", 64<<10+1)}, "-TOOLARGE too large: an argument of 65537 bytes, the limit here is 65536"},
		{[]string{"NOSUCH", big}, "-TOOLARGE"},
		{[]string{"NOSUCH", strings.Repeat("x", 100<<10)}, "-ERR unknown command 'NOSUCH'"},
		{[]string{"NP.GET", "k", strings.Repeat("x", 100<<10)}, "-TOOLARGE"},
		{[]string{strings.Repeat("x", 100<<10)}, "-TOOLARGE"},
		{[]string{"NP.SET", strings.Repeat("k", 100<<10)}, "-ERR wrong number of arguments for 'np.set' command"},
	} {
		if got := c.do(test.args...); !strings.HasPrefix(got, test.want) {
			t.Errorf("%.100q: got %.300q, want %s", test.args, got, test.want)
		}
		c.want("+PONG", "PING")
	}
	c.want("$nil", "NP.GET", "k")
	c.want("+OK", "NP.SET", "k", bytesNPY(1<<20, ""))
}

// Each rejected kind of .npy, through a socket. The stored value stays.
func TestRefusedArrays(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	goodClient(t, s)
	c := s.dial(t)
	c.want("+OK", "NP.SET", "k", arrayA)
	header := func(text string) string {
		return "\x93NUMPY\x01\x00" + string([]byte{byte(len(text)), byte(len(text) >> 8)}) + text
	}
	for name, bad := range map[string]string{
		"empty":              "",
		"magic":              "\x93NUMPX" + arrayA[6:],
		"version 4.0":        arrayA[:6] + "\x04\x00" + arrayA[8:],
		"version 1.1":        arrayA[:6] + "\x01\x01" + arrayA[8:],
		"ends in header":     arrayA[:40],
		"one byte too few":   arrayA[:len(arrayA)-1],
		"one byte too many":  arrayA + "x",
		"object dtype":       npy("|O", "(1,)", "12345678"),
		"pickle":             npy("|O", "(1,)", "\x80\x04cos\nsystem\n"),
		"negative dimension": npy("|u1", "(-1,)", ""),
		"boolean dimension":  npy("|u1", "(True,)", "x"),
		"float dimension":    npy("|u1", "(1.0,)", "x"),
		"overflow":           npy("<f8", "(4611686018427387904, 4)", ""),
		"overflow with 0":    npy("<f8", "(0, 9223372036854775807, 9223372036854775807)", ""),
		"65 dimensions":      npy("|u1", "("+strings.Repeat("1, ", 65)+")", "x"),
		"shape is a list":    npy("|u1", "[1]", "x"),
		"shape is a call":    npy("|u1", "tuple([1])", "x"),
		"not a dict":         header("[1, 2]"),
		"an expression":      header("{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,)}"),
		"a missing key":      header("{'descr': '<f4', 'shape': ()}"),
		"an extra key":       header("{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}"),
		"a duplicate key":    header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}"),
		"deep nesting":       header("{'descr': " + strings.Repeat("[", 10_000)),
		"order is 1":         header("{'descr': '<f4', 'fortran_order': 1, 'shape': ()}"),
		"nested object":      header("{'descr': [('a', [('b', '|O')])], 'fortran_order': False, 'shape': (0,)}"),
		"unknown dtype":      npy("<f3", "(1,)", "xxx"),
	} {
		if got := c.do("NP.SET", "k", bad); !strings.HasPrefix(got, "-BADNPY not a valid .npy file: ") {
			t.Errorf("%s: got %.200q", name, got)
		}
	}
	long := "\x93NUMPY\x02\x00\x01\x00\x10\x00" + strings.Repeat(" ", 1<<20+1)
	if got := c.do("NP.SET", "k", long); !strings.HasPrefix(got, "-TOOLARGE the array is too large: its header has 1048577 bytes") {
		t.Errorf("a long header: got %.200q", got)
	}
	c.want(`"`+arrayA+`"`, "NP.GET", "k")
}

// A command that arrives eight bytes at a time, for longer than a client may be silent, is executed in the
// end, and does not disturb other clients.
func TestDribble(t *testing.T) {
	t.Parallel()
	s := start(t, Config{UploadStall: 2 * time.Second})
	goodClient(t, s)
	c := s.dial(t)
	array := bytesNPY(2400, "slow")
	stream := encode("NP.SET", "k", array)
	writes := (len(stream) + 7) / 8
	for i := 0; i < len(stream); i += 8 {
		c.send(stream[i:min(i+8, len(stream))])
		time.Sleep(2500 * time.Millisecond / time.Duration(writes)) // paces the dribble, does not wait for a condition
	}
	if got := c.reply(); got != "+OK" {
		t.Fatal(got)
	}
	c.want(`"`+array+`"`, "NP.GET", "k")
}

// A client that falls silent within a command is disconnected and its memory released. Between commands it
// may be silent.
func TestSilenceWithinACommand(t *testing.T) {
	t.Parallel()
	s := start(t, Config{UploadStall: 50 * time.Millisecond})
	idle, silent := s.dial(t), s.dial(t)
	idle.want("+PONG", "PING")
	silent.send(encode("NP.SET", "k", bytesNPY(1<<20, ""))[:500_000])
	if got := silent.closed(); got != "-ERR argument 2: the upload stalled: no bytes for 50ms\r\n" {
		t.Error(got)
	}
	eventually(t, "its memory is released", func() bool { return s.pool.Bytes() == 0 && s.budget.Used() == 0 })
	idle.want("+PONG", "PING")
}

// Announced lengths use no more than the budget, even if the bytes never arrive; further commands get BUSY.
func TestUploadBudget(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxArrayBytes: 4 << 20, MaxUploadBytes: 8 << 20, UploadWait: 10 * time.Millisecond})
	array := bytesNPY(4<<20, "")
	begun := encode("NP.SET", "k", array)[:100]
	for range 2 {
		s.dial(t).send(begun)
	}
	eventually(t, "two uploads are admitted", func() bool { return s.budget.Used() > 4<<20 || s.budget.Used() == int64(2*len(array)) })
	c := s.dial(t)
	var busy bool
	for range 3 {
		if got := c.do("NP.SET", "l", array); got == "-BUSY too many uploads at once, try again" {
			busy = true
		} else if got != "+OK" {
			t.Fatal(got)
		}
	}
	if !busy {
		t.Error("no client got BUSY")
	}
	c.want("+PONG", "PING")
	if used := s.Stats().UploadBytes; used > 9<<20 {
		t.Errorf("%d bytes of uploads", used)
	}
}

// A client that does not read its replies costs at most MaxReplyBytes and one reply; then its commands wait.
func TestUnreadReplies(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxReplyBytes: 1 << 20, ReplyStall: 200 * time.Millisecond})
	goodClient(t, s)
	c := s.dial(t)
	array := bytesNPY(1<<20, "")
	c.want("+OK", "NP.SET", "k", array)
	go io.WriteString(c, strings.Repeat(encode("NP.GET", "k"), 10_000)) // fails when the server disconnects the client
	eventually(t, "the client is disconnected", func() bool { return s.Stats().Clients == 1 })
}

func TestTooManyClients(t *testing.T) {
	t.Parallel()
	s := start(t, Config{MaxClients: 2})
	a, b := s.dial(t), s.dial(t)
	a.want("+PONG", "PING")
	b.want("+PONG", "PING")
	if got := s.dial(t).closed(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("a third client got %q", got)
	}
	b.Close()
	eventually(t, "a connection is free", func() bool { return s.Stats().Clients == 1 })
	s.dial(t).want("+PONG", "PING")
	if n := s.Stats().Rejected; n != 1 {
		t.Errorf("%d connections were rejected", n)
	}
}

// A panic in a handler ends only its connection and releases the memory that it held.
func TestPanicEndsOneConnection(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	server, end := net.Pipe()
	c := newConn(s.Server, server, Listener{Name: "default"}, 99)
	c.reader = resp.NewReader(resp.Stream(panicSource{}), s.pool, &s.clients, s.budget, c.config.limits(true), nil, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.serve()
	}()
	receive(t, "the end of the connection", done)
	end.SetReadDeadline(time.Now().Add(time.Minute)) // in case the test hangs
	if _, err := end.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection is open: %v", err)
	}
	if n := s.Stats().Panics; n != 1 {
		t.Errorf("%d panics are counted", n)
	}
	s.dial(t).want("+PONG", "PING")
}

type panicSource struct{}

func (panicSource) Read([]byte) (int, error) { panic("a bug") }

// Close lets a command that is being read complete.
func TestCloseWaitsForCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, idle := s.dial(t), s.dial(t)
	idle.want("+PONG", "PING")
	stream := encode("NP.SET", "k", bytesNPY(1<<20, ""))
	c.send(stream[:1000])
	eventually(t, "the upload has begun", func() bool { return s.budget.Used() > 0 })
	closed := make(chan error, 1)
	go func() { closed <- s.Server.Close(t.Context()) }()
	if rest := idle.closed(); rest != "" {
		t.Errorf("the idle client got %q", rest)
	}
	c.send(stream[1000:])
	if got := c.reply(); got != "+OK" {
		t.Errorf("the running command got %q", got)
	}
	if err := receive(t, "the end of Close", closed); err != nil {
		t.Error(err)
	}
}

// A web page can make a browser send a request to this port, with commands in its body.
func TestHTTPEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"", "secret"} {
		s := start(t, Config{Password: password})
		log := new(lockedBuffer)
		s.logs.to(log)
		keeper := s.dial(t)
		if password != "" {
			keeper.want("+OK", "AUTH", password)
		}
		keeper.want("+OK", "NP.SET", "k", arrayA)
		for _, request := range []string{
			"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n",
			"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\nFLUSHALL\r\n",
			"post / HTTP/1.0\r\n\r\nAUTH secret\r\nFLUSHALL\r\n",
		} {
			c := s.dial(t)
			c.send(request)
			if got := c.closed(); strings.Contains(got, "OK") {
				t.Errorf("%q: %q", request, got)
			}
		}
		keeper.want(":1", "EXISTS", "k")
		if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "speaks HTTP") {
			t.Errorf("the log says %q", lines)
		}
	}
}
