package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ndring/ndring/protocol/tracking"
	"github.com/ndring/ndring/shard"
)

// dialRESP3 returns a client that has selected RESP3.
func (s *testServer) dialRESP3(t testing.TB) *client {
	t.Helper()
	c := s.dial(t)
	if got := c.do("HELLO", "3"); !strings.Contains(got, `"proto" :3`) {
		t.Fatalf("HELLO 3: %s", got)
	}
	return c
}

// caching returns a client that tracks keys, with options of CLIENT TRACKING.
func (s *testServer) caching(t testing.TB, options ...string) *client {
	t.Helper()
	c := s.dialRESP3(t)
	c.want("+OK", append([]string{"CLIENT", "TRACKING", "ON"}, options...)...)
	return c
}

// invalidated is the push that tells of keys, and anything the one that tells that any key may have changed.
func invalidated(keys ...string) string {
	return `>["invalidate" ["` + strings.Join(keys, `" "`) + `"]]`
}

const anything = `>["invalidate" nil]`

// wantPush checks the next message, which the client has not asked for.
func (c *client) wantPush(want string) {
	c.t.Helper()
	if got := c.reply(); got != want {
		c.t.Errorf("the client is told %q, want %q", got, want)
	}
}

func TestTrackingCommands(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.talk([]exchange{
		{"CLIENT GETREDIR", ":-1"},
		{"CLIENT TRACKINGINFO", `["flags" ["off"] "redirect" :-1 "prefixes" []]`},
		{"CLIENT TRACKING ON", "-ERR " + errTrackingRESP3.Error()},
		{"CLIENT CACHING YES", "-ERR " + errCachingOff.Error()},
		{"CLIENT TRACKING OFF", "+OK"},
	})
	c.do("HELLO", "3")
	c.talk([]exchange{
		{"CLIENT TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"},
		{"CLIENT TRACKING ON REDIRECT 1", "-ERR " + errRedirect.Error()},
		{"CLIENT TRACKING ON REDIRECT x", "-ERR value is not an integer or out of range"},
		{"CLIENT TRACKING ON REDIRECT", "-ERR syntax error"},
		{"CLIENT TRACKING ON BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"},
		{"CLIENT TRACKING ON OPTOUT OPTIN", "-ERR You can't specify both OPTIN mode and OPTOUT mode"},
		{"CLIENT TRACKING ON BCAST PREFIX a PREFIX ab", "-ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap."},
		{"CLIENT GETREDIR", ":-1"},
		{"CLIENT TRACKING ON BCAST PREFIX b PREFIX a NOLOOP", "+OK"},
		{"CLIENT TRACKINGINFO", `{"flags" ~["on" "bcast" "noloop"] "redirect" :0 "prefixes" ["a" "b"]}`},
		{"CLIENT TRACKING ON BCAST PREFIX ac", "-ERR Prefix 'ac' overlaps with an existing prefix 'a'. Prefixes for a single client must not overlap."},
		{"CLIENT TRACKING ON", "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."},
		{"CLIENT TRACKING ON BCAST PREFIX c", "+OK"},
		{"CLIENT TRACKINGINFO", `{"flags" ~["on" "bcast"] "redirect" :0 "prefixes" ["a" "b" "c"]}`},
		{"CLIENT GETREDIR", ":0"},
		{"CLIENT CACHING YES", "-ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."},
		{"CLIENT CACHING NO", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."},
		{"CLIENT CACHING MAYBE", "-ERR syntax error"},
		{"CLIENT TRACKING OFF", "+OK"},
		{"CLIENT TRACKINGINFO", `{"flags" ~["off"] "redirect" :-1 "prefixes" []}`},
		{"CLIENT TRACKING ON OPTIN", "+OK"},
		{"CLIENT CACHING YES", "+OK"},
		{"CLIENT TRACKINGINFO", `{"flags" ~["on" "optin" "caching-yes"] "redirect" :0 "prefixes" []}`},
		{"PING", "+PONG"},
		{"CLIENT TRACKINGINFO", `{"flags" ~["on" "optin"] "redirect" :0 "prefixes" []}`},
		{"CLIENT TRACKING ON OPTOUT", "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."},
		{"RESET", "+RESET"},
		{"CLIENT TRACKINGINFO", `["flags" ["off"] "redirect" :-1 "prefixes" []]`},
	})
	c.do("HELLO", "3")
	c.talk([]exchange{
		{"CLIENT TRACKING ON OPTOUT", "+OK"},
		{"CLIENT CACHING NO", "+OK"},
		{"CLIENT TRACKINGINFO", `{"flags" ~["on" "optout" "caching-no"] "redirect" :0 "prefixes" []}`},
	})
	many := []string{"CLIENT", "TRACKING", "ON", "BCAST"}
	for i := range maxPrefixes + 1 {
		many = append(many, "PREFIX", fmt.Sprintf("%04d", i))
	}
	c.do("CLIENT", "TRACKING", "OFF")
	c.want("-ERR "+errPrefixes.Error(), many...)
	c.want("+OK", many[:len(many)-2]...)
	c.want("-ERR "+errPrefixes.Error(), "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "x")
	if line := c.do("CLIENT", "INFO"); !strings.Contains(line, " flags=tB ") || !strings.Contains(line, " redir=0 ") {
		t.Error(line)
	}
	c.do("HELLO", "2")
	c.want(`["flags" ["off"] "redirect" :-1 "prefixes" []]`, "CLIENT", "TRACKINGINFO")
	if line := c.do("CLIENT", "INFO"); !strings.Contains(line, " flags=N ") || !strings.Contains(line, " redir=-1 ") {
		t.Error(line)
	}
	if got := s.Stats().Tracking; got != (tracking.Sizes{}) {
		t.Errorf("%+v is left", got)
	}
}

// Each change of a key that a client has read is told once, also while the client says nothing.
func TestInvalidations(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, w := s.caching(t), s.dial(t)
	array := `"` + arrayA + `"`
	for _, test := range []struct {
		name  string
		do    [][]string
		reply string // to the last one
	}{
		{"set", [][]string{{"NP.SET", "k", arrayB}}, "+OK"},
		{"mset", [][]string{{"NP.MSET", "k", arrayB}}, "+OK"},
		{"delete", [][]string{{"DEL", "k"}}, ":1"},
		{"unlink", [][]string{{"UNLINK", "k"}}, ":1"},
		{"expire", [][]string{{"EXPIRE", "k", "100"}}, ":1"},
		{"expire at once", [][]string{{"EXPIRE", "k", "-1"}}, ":1"},
		{"transaction", [][]string{{"MULTI"}, {"NP.SET", "k", arrayB}, {"DEL", "k"}, {"EXEC"}}, "[+OK :1]"},
	} {
		w.want("+OK", "NP.SET", "k", arrayA)
		w.want("+OK", "NP.SET", "other", arrayA)
		c.want(array, "NP.GET", "k")
		var got string
		for _, command := range test.do {
			got = w.do(command...)
		}
		if got != test.reply {
			t.Errorf("%s: %s", test.name, got)
		}
		c.wantPush(invalidated("k"))
		w.want("+OK", "NP.SET", "k", arrayA) // which the client has not read since
		c.want("+PONG", "PING")
	}

	w.want("+OK", "NP.SET", "k", arrayA, "PX", "1000")
	c.want(array, "NP.GET", "k")
	w.want(":1", "PERSIST", "k")
	c.wantPush(invalidated("k"))
	c.want("[nil]", "NP.MGET", "missing")
	w.want("+OK", "NP.SET", "missing", arrayA)
	c.wantPush(invalidated("missing"))

	w.want("+OK", "NP.SET", "k", arrayA, "PX", "1000")
	c.want(array, "NP.GET", "k")
	s.now.Add(1001)
	for i := range shard.Count(s.store) {
		shard.RemoveExpired(s.store.Shard(i), 100)
	}
	c.wantPush(invalidated("k"))

	w.want("+OK", "NP.SET", "k", arrayA)
	c.want(array, "NP.GET", "k")
	w.want("+OK", "FLUSHALL")
	c.wantPush(anything)
	w.want("+OK", "NP.SET", "k", arrayA)
	c.send(encode("PING"))
	for got := c.reply(); got != "+PONG"; got = c.reply() { // shards are emptied one after another
		if got != anything {
			t.Fatal(got)
		}
	}
	if got := s.Stats().Tracking; got != (tracking.Sizes{Clients: 1}) {
		t.Errorf("%+v is left", got)
	}
}

func TestInvalidationOfAnEvictedKey(t *testing.T) {
	t.Parallel()
	s := limited(t, shard.AllKeysLRU, 4<<20)
	c, w := s.caching(t), s.dial(t)
	w.want("+OK", "NP.SET", "k", bytesNPY(1<<20, ""))
	c.want(":1", "EXISTS", "k")
	for i := 0; w.do("MEMORY", "USAGE", "k") != "$nil"; i++ {
		if i > 20 {
			t.Fatal("the key is not evicted")
		}
		s.now.Add(10_000)
		w.want("+OK", "NP.SET", fmt.Sprint("filler", i), bytesNPY(1<<20, ""))
	}
	c.wantPush(invalidated("k"))
}

// A client is told of its own changes behind their replies, unless it wants NOLOOP.
func TestOwnChanges(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	own, quiet, w := s.caching(t), s.caching(t, "NOLOOP"), s.dial(t)
	keys := map[string]func(c *client){
		"set":    func(c *client) { c.want("+OK", "NP.SET", "set", arrayA) },
		"mset":   func(c *client) { c.want("+OK", "NP.MSET", "mset", arrayA) },
		"expire": func(c *client) { c.want(":1", "EXPIRE", "expire", "100") },
		"del":    func(c *client) { c.want(":1", "DEL", "del") },
		"exec": func(c *client) {
			c.want("+OK", "MULTI")
			c.want("+QUEUED", "NP.SET", "exec", arrayA)
			c.want("+QUEUED", "NP.GET", "exec")
			c.want(`[+OK "`+arrayA+`"]`, "EXEC")
		},
	}
	for key, change := range keys {
		w.want("+OK", "NP.SET", key, arrayB)
		for _, c := range []*client{own, quiet} {
			c.want(":1", "EXISTS", key)
		}
		change(own)
		own.wantPush(invalidated(key))
		quiet.wantPush(invalidated(key))
		w.want("+OK", "NP.SET", key, arrayB)
		own.want(":1", "EXISTS", key)
		quiet.want(":1", "EXISTS", key)
		change(quiet)
		own.wantPush(invalidated(key))
		own.want("+PONG", "PING")
		quiet.want("+PONG", "PING")
		w.want("+OK", "NP.SET", key, arrayB)
		quiet.wantPush(invalidated(key)) // it may keep a copy of what it has written
	}
	quiet.want("+OK", "FLUSHALL")
	quiet.wantPush(anything)
}

// OPTIN and OPTOUT choose by CLIENT CACHING which commands are tracked, or which transactions.
func TestOptInAndOut(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	in, out, w := s.caching(t, "OPTIN"), s.caching(t, "OPTOUT"), s.dial(t)
	write := func(keys ...string) {
		t.Helper()
		for _, key := range keys {
			w.want("+OK", "NP.SET", key, arrayA)
		}
	}
	in.want(":0", "EXISTS", "a")
	in.want("+OK", "CLIENT", "CACHING", "YES")
	in.want(":0", "EXISTS", "b")
	in.want(":0", "EXISTS", "c")
	out.want(":0", "EXISTS", "a")
	out.want("+OK", "CLIENT", "CACHING", "NO")
	out.want(":0", "EXISTS", "b")
	write("a", "c", "b")
	in.wantPush(invalidated("b"))
	out.wantPush(invalidated("a"))

	in.want("+OK", "CLIENT", "CACHING", "YES")
	in.want("+OK", "MULTI")
	in.want("+QUEUED", "EXISTS", "{t}a")
	in.want("+QUEUED", "EXISTS", "{t}b")
	in.want("[:0 :0]", "EXEC")
	in.want(":0", "EXISTS", "{t}c")
	write("{t}c", "{t}a")
	in.wantPush(invalidated("{t}a"))
	write("{t}b")
	in.wantPush(invalidated("{t}b"))
	for _, c := range []*client{in, out} {
		c.want("+PONG", "PING")
	}
}

func TestBroadcast(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	all, user, w := s.caching(t, "BCAST"), s.caching(t, "BCAST", "PREFIX", "user:", "PREFIX", "group:"), s.dial(t)
	w.want("+OK", "NP.SET", "k", arrayA)
	all.wantPush(invalidated("k"))
	w.want("+OK", "NP.SET", "group:1", arrayA)
	all.wantPush(invalidated("group:1"))
	user.wantPush(invalidated("group:1"))
	if info := w.do("INFO", "stats", "clients"); !strings.Contains(info, "tracking_total_prefixes:3\r\n") || !strings.Contains(info, "tracking_clients:2\r\n") {
		t.Error(info)
	}
	w.want("+OK", "FLUSHALL")
	all.wantPush(anything)
	user.wantPush(anything)
	user.Close()
	eventually(t, "the prefixes of a client that is gone are freed", func() bool { return s.Stats().Tracking == tracking.Sizes{Clients: 1, Prefixes: 1} })
}
