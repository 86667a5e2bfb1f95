package protocol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
)

// field returns the value of a field of a line such as CLIENT LIST's or INFO's.
func field(text, name, separator string) string {
	_, rest, _ := strings.Cut(text, name+separator)
	value, _, _ := strings.Cut(rest, " ")
	value, _, _ = strings.Cut(value, "\r")
	return value
}

func TestClientKill(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	victim := func() (*client, string) {
		v := s.dial(t)
		return v, strings.TrimPrefix(v.do("CLIENT", "ID"), ":")
	}
	for name, kill := range map[string]func(v *client, id string) []string{
		"ID":       func(_ *client, id string) []string { return []string{"ID", id} },
		"ADDR":     func(v *client, _ string) []string { return []string{"ADDR", v.LocalAddr().String()} },
		"old form": func(v *client, _ string) []string { return []string{v.LocalAddr().String()} },
		"all filters": func(v *client, id string) []string {
			return []string{"ID", id, "TYPE", "normal", "USER", "default", "LADDR", s.addr}
		},
		"not me": func(*client, string) []string { return []string{"TYPE", "normal"} },
	} {
		v, id := victim()
		want := ":1"
		if name == "old form" {
			want = "+OK"
		}
		c.want(want, append([]string{"CLIENT", "KILL"}, kill(v, id)...)...)
		if got := v.closed(); got != "" {
			t.Errorf("%s: the victim got %q", name, got)
		}
	}
	c.want(":0", "CLIENT", "KILL", "MAXAGE", "3600")
	c.want(":0", "CLIENT", "KILL", "LADDR", "10.0.0.1:1")
	eventually(t, "the victims are gone", func() bool { return s.Stats().Clients == 1 })
	c.want(":1", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
	if got := c.closed(); got != "" {
		t.Errorf("the client's own connection got %q", got)
	}
}

func TestClientPause(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	operator, reader, writer, last := s.dial(t), s.dial(t), s.dial(t), s.dial(t)
	writer.want("+OK", "NP.SET", "k", arrayA)
	operator.want("+OK", "CLIENT", "PAUSE", "100000", "WRITE")
	writer.send(encode("PING") + encode("DEL", "k"))
	if got := writer.reply(); got != "+PONG" { // earlier commands are answered
		t.Error(got)
	}
	last.want("+OK", "MULTI")
	last.want("+QUEUED", "EXISTS", "k")
	last.want("[:1]", "EXEC")
	reader.want(":1", "EXISTS", "k")
	operator.want("+OK", "CLIENT", "PAUSE", "1") // the shorter time does not count, but ALL does
	reader.send(encode("EXISTS", "k"))
	eventually(t, "both wait", func() bool { return s.pause.waiting.Load() == 2 })
	operator.want("+OK", "CLIENT", "UNPAUSE")
	if got := writer.reply(); got != ":1" {
		t.Error(got)
	}
	reader.reply()
	operator.want("+OK", "CLIENT", "PAUSE", "20")
	reader.want(":0", "EXISTS", "k") // once the time has passed
}

// A pause does not delay the server's shutdown.
func TestPauseEndsWithTheServer(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "CLIENT", "PAUSE", "3600000")
	c.send(encode("PING"))
	eventually(t, "the client waits", func() bool { return s.pause.waiting.Load() == 1 })
	began := time.Now()
	if err := s.Server.Close(t.Context()); err != nil || time.Since(began) > stopGrace {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestClientReply(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	large := bytesNPY(100_000, "")
	c.send(encode("CLIENT", "REPLY", "SKIP") + encode("NP.SET", "k", large) + encode("PING", "a"))
	if got := c.reply(); got != `"a"` {
		t.Error(got)
	}
	c.send(encode("PING", "b") + encode("CLIENT", "REPLY", "OFF") + encode("NP.GET", "k") + encode("NOSUCH") +
		encode("CLIENT", "REPLY", "SKIP") + encode("DEL", "k") + encode("HELLO", "3") + encode("CLIENT", "REPLY", "ON") + encode("NP.GET", "k"))
	for _, want := range []string{`"b"`, "+OK", "nil"} {
		if got := c.reply(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// The command that ends the suppression is answered, as in Redis: otherwise the client would wait forever.
func TestClientReplyEnds(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for name, test := range map[string]struct {
		send []string // words separated by blanks
		want []string
	}{
		"ON after SKIP":      {[]string{"CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING a"}, []string{"+OK", `"a"`}},
		"ON after OFF":       {[]string{"CLIENT REPLY OFF", "PING b", "CLIENT REPLY ON", "PING a"}, []string{"+OK", `"a"`}},
		"SKIP after ON":      {[]string{"CLIENT REPLY ON", "CLIENT REPLY SKIP", "PING b", "PING a"}, []string{"+OK", `"a"`}},
		"SKIP twice":         {[]string{"CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING b", "PING a"}, []string{`"a"`}},
		"SKIP, then error":   {[]string{"CLIENT REPLY SKIP", "CLIENT REPLY what", "PING a"}, []string{`"a"`}},
		"OFF after SKIP":     {[]string{"CLIENT REPLY SKIP", "CLIENT REPLY OFF", "PING b", "CLIENT REPLY ON", "PING a"}, []string{"+OK", `"a"`}},
		"RESET after OFF":    {[]string{"CLIENT REPLY OFF", "PING b", "RESET", "PING a"}, []string{"+RESET", `"a"`}},
		"RESET after SKIP":   {[]string{"CLIENT REPLY SKIP", "RESET", "PING a"}, []string{`"a"`}},
		"a QUIT is skipped":  {[]string{"PING a", "CLIENT REPLY SKIP", "QUIT"}, []string{`"a"`}},
		"nothing after QUIT": {[]string{"CLIENT REPLY OFF", "QUIT"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			var all string
			for _, words := range test.send {
				all += encode(strings.Fields(words)...)
			}
			c.send(all)
			for _, want := range test.want {
				if got := c.reply(); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			if !strings.Contains(all, "QUIT") {
				c.want("+PONG", "PING")
			} else if rest := c.closed(); rest != "" {
				t.Errorf("got %q after the expected replies", rest)
			}
		})
	}
}

func TestResetKeepsTheLibrary(t *testing.T) {
	t.Parallel()
	c := start(t, Config{}).dial(t)
	for _, words := range []string{"CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO LIB-VER 1.5", "CLIENT SETNAME me", "CLIENT NO-TOUCH ON", "CLIENT NO-EVICT on", "READONLY"} {
		c.want("+OK", strings.Fields(words)...)
	}
	if got := c.do("CLIENT", "INFO"); field(got, "flags", "=") != "reT" || field(got, "name", "=") != "me" {
		t.Error(got)
	}
	c.want("+RESET", "RESET")
	if got := c.do("CLIENT", "INFO"); field(got, "flags", "=") != "N" || field(got, " name", "=") != "" || field(got, "lib-name", "=") != "lib" || !strings.Contains(got, "lib-ver=1.5") {
		t.Error(got)
	}
}

func TestNoTouchAndIdleTime(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "k", arrayA)
	c.want("+OK", "CLIENT", "NO-TOUCH", "on")
	s.now.Add(10_000)
	for _, args := range [][]string{{"NP.GET", "k"}, {"NP.MGET", "k"}, {"NP.META", "k"}, {"EXISTS", "k"}, {"TTL", "k"}, {"TYPE", "k"}, {"MEMORY", "USAGE", "k"}} {
		c.do(args...)
		c.want(":10", "OBJECT", "IDLETIME", "k")
	}
	c.want("+OK", "CLIENT", "NO-TOUCH", "OFF")
	for _, args := range [][]string{{"NP.GET", "k"}, {"NP.MGET", "k"}, {"NP.SHAPE", "k"}, {"TOUCH", "k"}} {
		c.do(args...)
		c.want(":0", "OBJECT", "IDLETIME", "k")
		s.now.Add(10_000)
	}
}

func TestMemoryUsageGrowsWithTheValue(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	usage := func(key string) (n int) {
		fmt.Sscanf(c.do("MEMORY", "USAGE", key), ":%d", &n)
		return n
	}
	c.want("+OK", "NP.SET", "a", bytesNPY(1000, ""))
	c.want("+OK", "NP.SET", "b", bytesNPY(1_000_000, ""))
	c.want("+OK", "NP.SET", "c", bytesNPY(1000, ""), "PART", "mask", strings.Repeat("m", 5000), "ATTRS", `{"a": 1}`)
	a, b, withPart := usage("a"), usage("b"), usage("c")
	if a < 1100 || a > 2000 || b < 1_000_100 || b > 1_016_000 || withPart < a+5008 || withPart > a+6000 {
		t.Errorf("MEMORY USAGE is %d, %d and %d", a, b, withPart)
	}
	c.want("$nil", "MEMORY", "USAGE", "none")
	if got := c.do("MEMORY", "STATS"); !strings.Contains(got, `"keys.count" :3 `) || !strings.Contains(got, `"dataset.bytes" :100`) {
		t.Errorf("MEMORY STATS: %s", got)
	}
	// The race detector uses much more memory than the values in this test.
	if got := c.do("MEMORY", "DOCTOR"); !strings.Contains(got, "Nothing looks wrong") && !memory.OnGoHeap {
		t.Errorf("MEMORY DOCTOR: %s", got)
	}
	c.want("+OK", "MEMORY", "PURGE")
	c.want("+OK", "MULTI") // EXEC holds a lock that it takes
	c.want("-ERR Command not allowed inside a transaction", "MEMORY", "PURGE")
	c.want("+OK", "DISCARD")
}
