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

// Nor is a push dropped with the replies that a client does not get, if the command before must be committed first.
func TestPushesBetweenSuppressedReplies(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c := s.caching(t, "BCAST")
	own := s.connOf(c)
	c.send(encode("CLIENT", "REPLY", "OFF") + encode("NP.SET", "foo", arrayA) + encode("MULTI") + encode("NP.SET", "{foo}2", arrayA) + encode("EXEC"))
	eventually(t, "EXEC waits for the write", func() bool { return own.lastCommand.Load().Name == "multi" && own.queueShown.Load() == 1 })
	s.appended(t, func() { s.acknowledge(9) })
	s.acknowledge(9)
	c.wantPush(invalidated("foo", "{foo}2"))
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
	for _, options := range [][]string{nil, {"BCAST"}} {
		s := start(t, Config{})
		s.row(t, replica.Config{Epoch: 8, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
		c, idle := s.caching(t, options...), s.caching(t)
		c.want(":0", "EXISTS", "foo")
		idle.want(":0", "EXISTS", "bar")
		s.row(t, replica.Config{Epoch: 9, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here, there}}) // which acknowledges no heartbeat
		for _, of := range []*client{c, idle} {
			of.wantPush(anything)
		}
		c.send(encode("EXISTS", "foo"))
		c.matches("^-TRYAGAIN ")
		c.wantPush(anything)
	}
}

// A client with BCAST may keep what it reads on other connections: it hears of a lost lease all the same.
func TestPushesWhenTheLeaseIsLostToAClientThatOnlyListens(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	s.row(t, replica.Config{Epoch: 8, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	listener, reader := s.caching(t, "BCAST"), s.dial(t)
	listener.want("+PONG", "PING")
	reader.want(":0", "EXISTS", "foo")
	s.row(t, replica.Config{Epoch: 9, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here, there}}) // which acknowledges no heartbeat
	listener.wantPush(anything)
}

func TestPushesDuringAPause(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c, operator := s.caching(t), s.dial(t)
	operator.want("+OK", "CLIENT", "PAUSE", "60000", "WRITE")
	c.send(encode("NP.SET", "k", arrayA))
	eventually(t, "the command waits", func() bool { return s.pause.waiting.Load() == 1 })
	s.foo().Role().Close()
	c.wantPush(anything)
	operator.want("+OK", "CLIENT", "UNPAUSE")
	c.wantPush("+OK")
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
