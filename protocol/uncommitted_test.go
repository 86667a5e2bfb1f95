package protocol

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// The process of the test's store, and another one that has a copy of the shard of foo and acknowledges
// what the test says.
var (
	here  = replica.Process{Node: "local"}
	there = replica.Process{Node: "there", Incarnation: 1}
)

// startWithCopies runs a server that is the primary of the shard of foo, in leader epoch 8 and epoch 9. A write is
// committed once the copy of another process has acknowledged it.
func startWithCopies(t *testing.T) *testServer {
	t.Helper()
	s := start(t, Config{})
	s.row(t, replica.Config{Epoch: 8, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	s.row(t, replica.Config{Epoch: 9, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here, there}})
	return s
}

// row makes the shard of foo follow a row, and then routes clients by it.
func (s *testServer) row(t *testing.T, row replica.Config) {
	t.Helper()
	configured := make(chan error, 1)
	go func() { configured <- s.foo().Role().Configure(row) }()
	if err := receive(t, "the row takes effect", configured); err != nil {
		t.Fatal(err)
	}
	primary := topology.NodeID(selfID)
	if row.Primary != here {
		primary = otherID
	}
	s.decide(primary, row.Epoch)
	topo := *s.topo.Load()
	topo.Shards[topology.ShardOf(fooSlot, 256)].LeaderEpoch = row.LeaderEpoch
	s.topo.Store(&topo)
}

// acknowledge lets the other copy acknowledge all that is appended, in an epoch.
func (s *testServer) acknowledge(epoch uint64) {
	_, seq := s.foo().Newest()
	s.foo().Role().Acked(there, replica.Ack{Epoch: epoch, Leader: 8, Written: seq, Synced: seq})
}

// appended waits until the shard of foo has so many more changes.
func (s *testServer) appended(t *testing.T, do func()) {
	t.Helper()
	_, before := s.foo().Newest()
	do()
	eventually(t, "the change is appended", func() bool {
		_, seq := s.foo().Newest()
		return seq > before
	})
}

// expectSilence checks that a client has got no reply. What it sent was executed before.
func (c *client) expectSilence() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if b, err := c.r.Peek(1); err == nil {
		c.t.Errorf("a reply came too early: it begins with %q", b)
	}
	c.extend()
}

// No acknowledgement comes, and meanwhile the epoch changes. The handler has left the gate, so the row takes effect
// while the client waits, and nothing hangs.
func TestAnEpochChangesWhileAWriteWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row   replica.Config
		want  string // of the write that waits
		after string // of a write afterwards
	}{
		"the other copy leaves the ISR": {replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}}, `^\+OK$`, `^\+OK$`},
		"another primary":               {replica.Config{Epoch: 10, LeaderEpoch: 10, Primary: there, ISR: []replica.Process{here, there}}, uncertain, `^-MOVED 12182 10\.0\.0\.9:7000$`},
		"resigned":                      {replica.Config{Epoch: 10, LeaderEpoch: 8, ISR: []replica.Process{here, there}, Relinquished: true}, uncertain, `^-MOVED `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startWithCopies(t)
			c, tx, other := s.dial(t), s.dial(t), s.dial(t)
			s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA)) })
			s.appended(t, func() { tx.send(encode("MULTI") + encode("NP.SET", "foo", arrayA) + encode("EXEC")) })
			c.expectSilence()
			other.want("+OK", "NP.SET", "bar", arrayA) // in a shard with one copy
			s.row(t, tc.row)
			c.matches(tc.want)
			for _, pattern := range []string{`^\+OK$`, `^\+QUEUED$`, strings.Replace(tc.want, `^\+OK$`, `^\[\+OK\]$`, 1)} {
				tx.matches(pattern)
			}
			c.send(encode("NP.SET", "foo", arrayA))
			c.matches(tc.after)
			other.want("+OK", "NP.SET", "bar", arrayA)
		})
	}
}

// A write that the other copy acknowledges is answered, also in a later epoch of the same primary.
func TestAnAcknowledgementEndsTheWait(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c := s.dial(t)
	s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA, "WITHVERSION")) })
	c.expectSilence()
	s.acknowledge(9)
	c.matches(`^"9-\d+"$`)
	s.appended(t, func() { c.send(encode("DEL", "foo")) })
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here, there}})
	c.expectSilence()
	s.acknowledge(10)
	c.matches(`^:1$`)
}

// Without an acknowledgement the outcome is unknown after a while. Other replies of the pipeline are right.
func TestAWriteThatIsNotCommittedIsUncertain(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	s.commitWait.Store(int64(10 * time.Millisecond))
	c := s.dial(t)
	c.send(encode("NP.SET", "bar", arrayA) + encode("NP.SET", "foo", arrayA) + encode("NP.SET", "foo", arrayA) + encode("NP.GET", "bar"))
	c.matches(`^\+OK$`)
	c.matches(uncertain)
	c.matches(uncertain)
	if got := c.reply(); got != `"`+arrayA+`"` {
		t.Error(got)
	}
}

// FLUSHALL waits for all shards.
func TestFlushAllWaitsForEachShard(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c := s.dial(t)
	c.want("+OK", "NP.SET", "bar", arrayA)
	s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA)) })
	s.acknowledge(9)
	c.matches(`^\+OK$`)
	s.appended(t, func() { c.send(encode("FLUSHALL")) })
	c.expectSilence()
	s.acknowledge(9)
	c.matches(`^\+OK$`)
	c.want(":0", "DBSIZE")
}

// A connection sees what it has written, although its reads come in the same pipeline; others see it once it is
// committed. Without heartbeats the shard has no lease, so the test lets the other copy leave the ISR.
func TestAConnectionSeesItsOwnWrites(t *testing.T) {
	t.Parallel()
	for name, read := range map[string][]string{
		"read": {encode("EXISTS", "foo"), ":1"},
		"EXEC": {encode("MULTI") + encode("EXISTS", "foo") + encode("EXEC"), "+OK", "+QUEUED", "[:1]"},
		"WATCH": {encode("WATCH", "foo") + encode("MULTI") + encode("EXISTS", "foo") + encode("EXEC"),
			"+OK", "+OK", "+QUEUED", "[:1]"}, // the mark is that of the value, so EXEC finds it unchanged
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startWithCopies(t)
			c := s.dial(t)
			s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA) + read[0]) })
			c.expectSilence()
			if n := s.Stats().Store.Keys; n != 0 {
				t.Errorf("%d keys are visible before the commit", n)
			}
			s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
			c.matches(`^\+OK$`)
			for _, want := range read[1:] {
				if got := c.reply(); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
}

// What a client only reads needs the lease: another primary may have committed more. So do replies that rest on
// an uncommitted write of another client.
func TestReadsNeedTheLease(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c, other := s.dial(t), s.dial(t)
	const noLease = `^-TRYAGAIN .*lost touch with its other copies`
	c.send(encode("EXISTS", "foo") + encode("EXISTS", "bar"))
	c.matches(noLease)
	c.matches(`^:0$`)
	s.appended(t, func() { other.send(encode("NP.SET", "foo", arrayA)) })
	c.send(encode("NP.SET", "foo", arrayA, "NX"))
	c.expectSilence()
	s.acknowledge(9)
	other.matches(`^\+OK$`)
	c.matches(noLease)
	if info := c.do("INFO", "errorstats"); !strings.Contains(info, "errorstat_TRYAGAIN:count=2") {
		t.Error(info)
	}
	// Alone, the primary needs none.
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	c.want("$nil", "NP.SET", "foo", arrayA, "NX")
	c.want(":1", "EXISTS", "foo")
}

// A lease that comes within the wait validates the lookup, in the same leader epoch only.
func TestALeaseThatReturnsValidatesTheLookup(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row  replica.Config
		want string
	}{
		"same leader epoch":    {replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}}, `^:0$`},
		"another leader epoch": {replica.Config{Epoch: 10, LeaderEpoch: 10, Primary: here, ISR: []replica.Process{here}}, `^-TRYAGAIN `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startWithCopies(t)
			c := s.dial(t)
			before := s.statistics.commands[commandIndex(t, "exists")].calls.Load()
			c.send(encode("EXISTS", "foo"))
			eventually(t, "the key is looked up", func() bool { // noted when the command is inside the gate
				all := s.connections.sorted()
				return len(all) == 1 && all[0].lastCommand.Load() != nil
			})
			c.expectSilence()
			s.row(t, tc.row)
			c.matches(tc.want)
			if n := s.statistics.commands[commandIndex(t, "exists")].calls.Load(); n != before+1 {
				t.Errorf("%d calls are counted", n-before)
			}
		})
	}
}

// commandIndex returns the index of a command's row.
func commandIndex(t *testing.T, name string) int {
	t.Helper()
	for _, row := range commands.All() {
		if row.Full == name {
			return row.Index
		}
	}
	t.Fatalf("there is no command %q", name)
	return 0
}

// A server that stops, and CLIENT KILL, end the wait.
func TestTheWaitForACommitEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	s.commitWait.Store(int64(time.Hour))
	killed, stopped, other := s.dial(t), s.dial(t), s.dial(t)
	id := regexp.MustCompile(`\d+`).FindString(killed.do("CLIENT", "ID"))
	s.appended(t, func() { killed.send(encode("NP.SET", "foo", arrayA)) })
	s.appended(t, func() { stopped.send(encode("NP.SET", "foo", arrayA)) })
	other.want(":1", "CLIENT", "KILL", "ID", id)
	eventually(t, "the connection ends", func() bool { return s.connections.count() == 2 })
	if err := s.Server.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := stopped.closed(); !strings.HasPrefix(got, "-UNCERTAIN ") {
		t.Errorf("got %q", got)
	}
}

// The slow log and the latency events show how long a client waited.
func TestTheSlowLogCountsTheWait(t *testing.T) {
	t.Parallel()
	s := start(t, Config{SlowlogSlowerThan: 10 * time.Millisecond, SlowlogMaxLen: 10})
	s.row(t, replica.Config{Epoch: 8, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	s.row(t, replica.Config{Epoch: 9, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here, there}})
	c := s.dial(t)
	s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA)) })
	c.expectSilence() // 20 ms
	s.acknowledge(9)
	c.matches(`^\+OK$`)
	if got := c.do("SLOWLOG", "GET"); !strings.Contains(got, `["NP.SET" "foo"]`) {
		t.Error(got)
	}
}

// EXEC waits for the connection's own writes before it changes anything.
func TestExecWaitsForTheConnectionsOwnWrites(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c := s.dial(t)
	s.appended(t, func() {
		c.send(encode("NP.SET", "foo", arrayA) + encode("MULTI") + encode("NP.SET", "foo", arrayA) + encode("EXEC"))
	})
	c.expectSilence()
	_, first := s.foo().Newest()
	s.appended(t, func() { s.acknowledge(9) }) // now EXEC goes on
	if _, seq := s.foo().Newest(); seq != first+1 {
		t.Errorf("EXEC appended %d changes after the acknowledgement", seq-first)
	}
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	for _, pattern := range []string{`^\+OK$`, `^\+OK$`, `^\+QUEUED$`, `^\[\+OK\]$`} {
		c.matches(pattern)
	}
}
