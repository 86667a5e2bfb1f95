package protocol

import (
	"slices"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// A write with WC ONE is answered before the other copy has it. The other concerns wait.
func TestWriteConcernOfACommand(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c := s.dial(t)
	c.want("+OK", "NP.SET", "foo", arrayA, "WC", "one")
	for _, concern := range []string{"SYNC", "all"} {
		s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA, "WC", concern)) })
		c.expectSilence()
		s.acknowledge(9)
		c.matches(`^\+OK$`)
	}
	c.want("-ERR syntax error", "NP.SET", otherShardKey("foo"), arrayA, "WC", "TWO")
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "NP.SET", "foo", arrayA, "WC", "ONE")
	c.want("[+OK]", "EXEC")
	config := *s.config.Load()
	config.Copies.Write = shard.ConcernOne
	s.Reconfigure(config)
	c.want("+OK", "NP.SET", "foo", arrayA)
	c.want(":1", "DEL", "foo")
}

// With min-insync 2 a write needs two copies before it happens, and when it is committed.
func TestMinInSync(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	config := *s.config.Load()
	config.Copies.MinInSync = 2
	s.Reconfigure(config)
	c := s.dial(t)
	s.appended(t, func() { c.send(encode("NP.SET", "foo", arrayA)) })
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	c.matches(`^-UNCERTAIN .*too few copies`)
	_, before := s.foo().Newest()
	for _, write := range [][]string{{"NP.SET", "foo", arrayA}, {"NP.SET", "foo", arrayA, "WC", "ALL"}, {"DEL", "foo"}, {"NP.MSET", "foo", arrayA}} {
		c.send(encode(write...))
		c.matches(`^-NOREPLICAS `)
	}
	if _, seq := s.foo().Newest(); seq != before {
		t.Errorf("%d changes are appended", seq-before)
	}
	c.want(":1", "EXISTS", "foo")
	c.want("+OK", "NP.SET", "foo", arrayA, "WC", "ONE")
}

// With read-concern sync the lease of a primary does not answer reads, nor replies that rest on another client's write.
func TestReadConcernSync(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	config := *s.config.Load()
	config.Copies.SyncReads = true
	s.Reconfigure(config)
	c := s.dial(t)
	c.send(encode("EXISTS", "foo")) // no heartbeat is acknowledged
	c.expectSilence()
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	c.matches(`^:0$`)
	c.want(":0", "EXISTS", "foo")
}

// startReplica runs a server that has a copy of the shard of foo, of which another node is the primary in epoch 9. The copy
// has the key foo.
func startReplica(t *testing.T) *testServer {
	t.Helper()
	s := start(t, Config{})
	s.row(t, replica.Config{Epoch: 8, LeaderEpoch: 8, Primary: here, ISR: []replica.Process{here}})
	s.dial(t).want("+OK", "NP.SET", "foo", arrayA)
	s.row(t, replica.Config{Epoch: 9, LeaderEpoch: 9, Primary: there, ISR: []replica.Process{here, there}})
	topo := *s.topo.Load()
	topo.Shards = slices.Clone(topo.Shards)
	topo.Shards[topo.ShardOf(fooSlot)].ISR = []topology.NodeID{selfID, otherID}
	s.topo.Store(&topo)
	_, seq := s.foo().Newest()
	s.foo().Member().Truncate(&shard.Source{From: there, Epoch: 9, Leader: 9}, seq)
	return s
}

// freshen plays the primary that says that the copy had all that was committed a while ago.
func (s *testServer) freshen(ago time.Duration) {
	_, seq := s.foo().Newest()
	s.foo().Member().Freshen(&shard.Source{From: there, Epoch: 9, Leader: 9}, seq, s.store.Monotonic()-int64(ago))
}

const moved = "-MOVED 12182 10.0.0.9:7000"

// A fresh copy answers commands that only read, after READONLY. All others are redirected, and so is everything while
// the copy is not fresh or not in the row.
func TestReadsOfAReplica(t *testing.T) {
	t.Parallel()
	s := startReplica(t)
	c := s.dial(t)
	c.want("+OK", "READONLY")
	c.want(moved, "EXISTS", "foo")
	s.freshen(time.Hour)
	c.want(moved, "EXISTS", "foo")
	config := *s.config.Load()
	config.Copies.MaxStaleness = time.Minute
	s.Reconfigure(config)
	s.freshen(0)
	c.want(":1", "EXISTS", "foo")
	c.want(`"`+arrayA+`"`, "NP.GET", "foo")
	for _, command := range [][]string{{"NP.SET", "foo", arrayA}, {"DEL", "foo"}, {"WATCH", "foo"}, {"PERSIST", "foo"}} {
		c.want(moved, command...)
	}
	c.want("+OK", "MULTI")
	c.want(moved, "EXISTS", "foo")
	c.send(encode("EXEC"))
	c.matches("^-EXECABORT ")
	s.dial(t).want(moved, "EXISTS", "foo")
	c.want("+OK", "READWRITE")
	c.want(moved, "EXISTS", "foo")
	c.want("+OK", "READONLY")
	c.want(":1", "EXISTS", "foo")
	topo := *s.topo.Load()
	topo.Shards = slices.Clone(topo.Shards)
	topo.Shards[topo.ShardOf(fooSlot)].ISR = []topology.NodeID{otherID}
	s.topo.Store(&topo)
	c.want(moved, "EXISTS", "foo")
}

// What was looked up in a copy is not sent once it is too old, or once the copy has another row.
func TestReplyOfAReplicaGrowsOld(t *testing.T) {
	t.Parallel()
	s := startReplica(t)
	s.freshen(0)
	read := func() unsettledReply {
		ref, ok := s.router.copyOf(fooSlot)
		if !ok {
			t.Fatal("the copy is not fresh")
		}
		return unsettledReply{copy: ref}
	}
	r := read()
	later := r.copy.fresh + int64(time.Second)
	if r.stale(s.Server, later) {
		t.Error("too old within the bound")
	}
	s.freshen(-time.Millisecond) // a newer copy does not make the reply newer
	if !r.stale(s.Server, later+1) {
		t.Error("beyond the bound")
	}
	r = read()
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 10, Primary: there, ISR: []replica.Process{here, there}})
	if !r.stale(s.Server, s.store.Monotonic()) {
		t.Error("of an earlier leader epoch")
	}
}

// WAIT counts the copies that have what the connection has written.
func TestWaitCountsCopies(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c, other := s.dial(t), s.dial(t)
	c.want("+OK", "NP.SET", "foo", arrayA, "WC", "ONE")
	c.want(":0", "WAIT", "0", "0")
	began := time.Now()
	c.want(":0", "WAIT", "1", "30")
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("waited for %v", took)
	}
	c.send(encode("PING") + encode("WAIT", "1", "0"))
	c.matches(`^\+PONG$`) // earlier replies need not wait
	c.expectSilence()
	s.acknowledge(9)
	c.matches(`^:1$`)
	other.want("+OK", "NP.SET", "foo", arrayA, "WC", "ONE")
	c.want(":1", "WAIT", "1", "0") // another client's write does not count
	c.want("+OK", "MULTI")
	c.want("+QUEUED", "NP.SET", "foo", arrayA, "WC", "ONE")
	c.want("+QUEUED", "WAIT", "1", "0")
	c.want("[+OK :1]", "EXEC") // within EXEC it does not wait, and counts what was written before
	c.want(":0", "WAIT", "1", "1")
	s.acknowledge(9)
	c.want(":1", "WAIT", "1", "0")
	c.want("+OK", "NP.SET", otherShardKey("foo"), arrayA) // of which there is one copy
	c.want(":0", "WAIT", "1", "1")
}

// A WAIT without a limit ends when another node takes over, and when the client is gone.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	c := s.dial(t)
	c.want("+OK", "NP.SET", "foo", arrayA, "WC", "ONE")
	c.send(encode("WAIT", "1", "0"))
	c.expectSilence()
	s.row(t, replica.Config{Epoch: 10, LeaderEpoch: 10, Primary: there, ISR: []replica.Process{here, there}})
	c.matches(`^:0$`)
	gone := s.dial(t)
	gone.want("+OK", "NP.SET", otherShardKey("foo"), arrayA)
	gone.send(encode("WAIT", "1", "0"))
	gone.expectSilence()
	gone.Close()
	eventually(t, "the connection ends", func() bool { return s.connections.count() == 1 })
}

// A connection that has written nothing waits for nothing.
func TestWaitWithoutWrites(t *testing.T) {
	t.Parallel()
	s := startWithCopies(t)
	s.dial(t).want(":0", "WAIT", "1", "1") // the shards with one copy
	s.dial(t).want(":0", "WAIT", "0", "0")
}
