package protocol

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/protocol/tracking"
	"github.com/ndring/ndring/replica"
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

// What a client is told stands in the order of events: a change that was answered before a command began comes before the reply, and
// one after its look-up comes behind it.
func TestOrderOfPushes(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, w := s.caching(t), s.dial(t)
	for i := range 300 {
		value := []string{arrayA, arrayB}[i%2]
		w.want("+OK", "NP.SET", "k", value)
		if i > 0 {
			c.send(encode("PING"))
			c.wantPush(invalidated("k"))
			if got := c.reply(); got != "+PONG" {
				t.Fatal(got)
			}
		}
		c.want(`"`+value+`"`, "NP.GET", "k")
	}
	c.send(encode("NP.GET", "k") + encode("NP.SET", "k", arrayA) + encode("NP.GET", "k") + encode("DEL", "k") + encode("PING"))
	for _, want := range []string{`"` + arrayB + `"`, "+OK", invalidated("k"), `"` + arrayA + `"`, ":1", invalidated("k"), "+PONG"} {
		c.wantPush(want)
	}
}

// Between the pieces of a large reply no push comes, nor between the items of an EXEC.
func TestPushesBetweenLargeReplies(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, w := s.caching(t, "BCAST"), s.dial(t)
	large := bytesNPY(3<<20, "")
	w.want("+OK", "NP.SET", "{k}large", large)
	c.wantPush(invalidated("{k}large"))
	stop, writes := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				writes <- n
				return
			default:
				w.want("+OK", "NP.SET", "{k}small", arrayA)
			}
		}
	}()
	pushes := 0
	next := func() string {
		for {
			got := c.reply()
			if got != invalidated("{k}small") {
				return got
			}
			pushes++
		}
	}
	for i := range 30 {
		if i%2 == 0 {
			c.send(encode("NP.GET", "{k}large") + encode("PING"))
			if got := next(); got != `"`+large+`"` {
				t.Fatalf("a reply of %d bytes is damaged: %.100q", len(got), got)
			}
			if got := next(); got != "+PONG" {
				t.Fatal(got)
			}
			continue
		}
		c.send(encode("MULTI") + encode("NP.GET", "{k}large") + encode("NP.GET", "{k}large") + encode("EXEC"))
		for _, want := range []string{"+OK", "+QUEUED", "+QUEUED", fmt.Sprintf(`["%s" "%s"]`, large, large)} {
			if got := next(); got != want {
				t.Fatalf("a reply of %d bytes is damaged: %.100q", len(got), got)
			}
		}
	}
	close(stop)
	n := receive(t, "the writer stops", writes)
	if pushes == 0 || pushes > n+1 {
		t.Errorf("%d pushes after %d writes", pushes, n)
	}
}

// A client that gets no replies gets pushes, as in Redis.
func TestPushesWithoutReplies(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, w := s.caching(t), s.dial(t)
	c.want(":0", "EXISTS", "k")
	c.send(encode("CLIENT", "REPLY", "OFF") + encode("EXISTS", "l"))
	eventually(t, "both keys are tracked", func() bool { return s.Stats().Tracking.Keys == 2 })
	w.want("+OK", "NP.SET", "k", arrayA)
	c.wantPush(invalidated("k"))
	c.send(encode("NP.SET", "l", arrayA))
	c.wantPush(invalidated("l"))
	c.want("+OK", "CLIENT", "REPLY", "ON")
	c.want(":1", "EXISTS", "k")
	c.send(encode("CLIENT", "REPLY", "SKIP") + encode("NP.SET", "k", arrayA))
	c.wantPush(invalidated("k"))
	c.want("+PONG", "PING")
}

// A connection that waits in CLIENT PAUSE or WAIT gets its pushes meanwhile.
func TestPushesWhileACommandWaits(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c, w := s.caching(t), s.dial(t)
	other := otherShardKey("foo")
	c.want(":0", "EXISTS", other)
	s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA)) })
	s.acknowledge(9)
	c.wantPush("+OK")
	c.send(encode("WAIT", "7", "60000"))
	own := s.connOf(c)
	eventually(t, "the command waits", func() bool {
		own.track.posting.Lock()
		defer own.track.posting.Unlock()
		return own.track.resting && own.lastCommand.Load().Name == "wait"
	})
	w.want("+OK", "NP.SET", other, arrayA)
	c.wantPush(invalidated(other))
}

// connOf returns the server's end of a client's connection.
func (s *testServer) connOf(c *client) *conn {
	for _, own := range s.connections.sorted() {
		if own.origin.address() == c.LocalAddr().String() {
			return own
		}
	}
	c.t.Fatal("the connection is gone")
	return nil
}

// When this node stops to serve a shard, or begins to, all clients drop what they have.
func TestPushesWhenAShardMoves(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, broad := s.caching(t), s.caching(t, "BCAST", "PREFIX", "x")
	c.want(":0", "EXISTS", "bar")
	s.decide(otherID, 9)
	other := replica.Process{Node: otherID, Incarnation: 1}
	if err := s.foo().Role().Configure(replica.Config{Epoch: 9, LeaderEpoch: 9, Primary: other, ISR: []replica.Process{other}}); err != nil {
		t.Fatal(err)
	}
	for _, of := range []*client{c, broad} {
		of.wantPush(anything)
	}
	c.want(moved, "EXISTS", "foo")
	s.decide(selfID, 10)
	s.open(t, 10, 0)
	for _, of := range []*client{c, broad} {
		of.wantPush(anything)
		of.want("+PONG", "PING")
	}
}

// When a primary may not hear of changes any more, because it has lost its lease, its clients drop what they have.
func TestPushesWhenTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	s.row(t, replica.Config{Epoch: 8, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	c, broad, idle := s.caching(t), s.caching(t, "BCAST"), s.caching(t)
	for _, of := range []*client{c, broad} {
		of.want(":0", "EXISTS", "foo")
	}
	idle.want(":0", "EXISTS", "bar")
	s.row(t, replica.Config{Epoch: 9, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here, there}}) // which acknowledges no heartbeat
	for _, of := range []*client{c, broad, idle} {
		of.wantPush(anything)
	}
	c.send(encode("EXISTS", "foo"))
	c.matches("^-TRYAGAIN ")
	c.wantPush(anything)
}

// A client that reads from a copy of another node's shard is told when that applies a change, and when it is not fresh any more.
func TestPushesOfAReplica(t *testing.T) {
	t.Parallel()
	s := startReplica(t)
	config := *s.config.Load()
	config.Copies.MaxStaleness = time.Hour
	s.Reconfigure(config)
	s.freshen(0)
	c, broad, primaries := s.caching(t), s.caching(t, "BCAST"), s.caching(t, "BCAST")
	for _, of := range []*client{c, broad} {
		of.want("+OK", "READONLY")
		of.want(":1", "EXISTS", "foo")
	}
	c.want("+OK", "READWRITE") // and keeps what it has

	_, seq := s.foo().Newest()
	s.receive(t, 8, seq, "foo")
	for _, of := range []*client{c, broad} {
		of.wantPush(invalidated("foo"))
	}
	primaries.want("+PONG", "PING")

	c.want("+OK", "READONLY")
	s.freshen(0)
	c.want(":0", "EXISTS", "foo")
	config.Copies.MaxStaleness = time.Nanosecond
	s.Reconfigure(config)
	for _, of := range []*client{c, broad, primaries} {
		of.wantPush(anything)
	}
}

// A table that is full gives up keys, and tells their clients.
func TestTrackingTableMaxKeys(t *testing.T) {
	t.Parallel()
	s := start(t, Config{TrackingTableMaxKeys: 3})
	c, other := s.caching(t), s.caching(t)
	other.want(":0", "EXISTS", "0")
	for i := range 20 {
		c.send(encode("EXISTS", fmt.Sprint(i)))
		for got := c.reply(); got != ":0"; got = c.reply() {
			if !strings.HasPrefix(got, `>["invalidate" ["`) {
				t.Fatal(got)
			}
		}
	}
	other.wantPush(invalidated("0")) // though it says nothing
	if info := c.do("INFO", "stats"); !strings.Contains(info, "tracking_total_keys:3\r\ntracking_total_items:3\r\n") && !strings.HasPrefix(info, ">") {
		t.Error(info)
	}
	c.Close()
	eventually(t, "the keys of a client that is gone are freed", func() bool { return s.Stats().Tracking.Items == 0 })
}

// A client that does not read what it is told costs a bounded amount of memory, and is disconnected by the limits of replies.
func TestClientThatReadsNoPushes(t *testing.T) {
	t.Parallel()
	s := start(t, Config{ReplyStall: 2 * time.Second})
	c, w := s.caching(t, "BCAST"), s.dial(t)
	w.want("+PONG", "PING")
	key := strings.Repeat("k", 10_000)
	most := int64(0)
	for i := 0; s.Stats().Clients == 2; i++ {
		w.send(encode("NP.SET", fmt.Sprint(key, i%100), arrayA))
		if i%100 == 99 {
			for range 100 {
				w.reply()
			}
			most = max(most, s.output.Waiting())
		}
	}
	if most > 1<<20 {
		t.Errorf("%d bytes wait for the client", most)
	}
	if s.Stats().ReplyStalls != 1 {
		t.Error("the client was not disconnected for not reading")
	}
	_, _ = io.Copy(io.Discard, c.Conn)
	eventually(t, "nothing is left of it", func() bool { return s.Stats().Tracking == tracking.Sizes{} })
}

// receive applies the removal of a key to the copy of the shard of foo, as its primary sends it.
func (s *testServer) receive(t *testing.T, epoch, seq uint64, key string) {
	t.Helper()
	topo := s.topo.Load()
	if !slices.Contains(topo.Shards[topology.ShardOf(fooSlot, 256)].ISR, selfID) {
		t.Fatal("this node has no copy")
	}
	record := persistence.Record{Type: persistence.Delete, Epoch: 9, Seq: seq + 1, Commit: seq + 1, Key: []byte(key)}
	prev := replica.Point{Epoch: epoch, Seq: seq}
	if _, err := s.foo().Member().Append(&shard.Source{From: there, Epoch: 9, Leader: 9}, prev, seq+1, record.AppendWire(nil), nil); err != nil {
		t.Fatal(err)
	}
}
