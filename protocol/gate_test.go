package protocol

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

const fooSlot = 12182

// foo returns the shard of the key foo.
func (s *testServer) foo() *shard.Shard { return s.store.Shard(int(topology.ShardOf(fooSlot, 256))) }

// decide publishes a topology with another primary, or none, for the shard of foo, in an epoch.
func (s *testServer) decide(primary topology.NodeID, epoch uint64) {
	topo := *s.topo.Load()
	topo.Nodes = append(topo.Nodes[:1:1], topology.Node{ID: otherID, Listeners: map[string]topology.Address{"default": {Host: "10.0.0.9", Port: 7000}}})
	topo.Shards = slices.Clone(topo.Shards)
	row := &topo.Shards[topo.ShardOf(fooSlot)]
	row.Primary, row.Epoch = primary, epoch
	s.topo.Store(&topo)
}

// waiting returns once a command waits for its shard: then the server checks the topology repeatedly.
func (s *testServer) waiting(t *testing.T) {
	t.Helper()
	before := s.topologyCalls.Load()
	eventually(t, "a command waits", func() bool { return s.topologyCalls.Load() > before+4 })
}

func (s *testServer) open(t *testing.T, epoch, born uint64) {
	t.Helper()
	if err := s.foo().Role().Open(epoch, born); err != nil {
		t.Fatal(err)
	}
}

// A command whose shard is closed, or open in another epoch than the topology's, waits until one of these happens.
func TestCommandsWaitForTheirShard(t *testing.T) {
	t.Parallel()
	const moved = "-MOVED 12182 10.0.0.9:7000"
	for _, test := range []struct {
		name   string
		before func(*testing.T, *testServer)
		then   func(*testing.T, *testServer)
		want   string        // of NP.SET foo
		wait   time.Duration // 0 for the default; long if the timeout is not what is tested
	}{
		{"handed over", func(_ *testing.T, s *testServer) { s.foo().Role().CloseIfEmpty(s.foo().Epoch()) }, func(_ *testing.T, s *testServer) { s.decide(otherID, 8) }, moved, time.Minute},
		{"handover refused", func(_ *testing.T, s *testServer) { s.foo().Role().CloseIfEmpty(s.foo().Epoch()) }, func(_ *testing.T, s *testServer) { s.foo().Role().Reopen() }, `"7-1"`, time.Minute},
		{"resigned", func(_ *testing.T, s *testServer) { s.foo().Role().Close() }, func(_ *testing.T, s *testServer) { s.decide("", 8) }, "-CLUSTERDOWN Hash slot 12182 is not served: shard 190 has no primary; its copies are on: node " + selfID, time.Minute},
		{"the shards are behind", func(_ *testing.T, s *testServer) { s.decide(selfID, 9) }, func(t *testing.T, s *testServer) { s.open(t, 9, 0) }, `"9-1"`, time.Minute},
		{"the topology is behind", func(t *testing.T, s *testServer) { s.open(t, 9, 0) }, func(_ *testing.T, s *testServer) { s.decide(selfID, 9) }, `"9-1"`, time.Minute},
		{"moved here", func(_ *testing.T, s *testServer) { s.foo().Role().Close(); s.decide(selfID, 9) }, func(t *testing.T, s *testServer) { s.open(t, 9, 9) }, `"9-1"`, time.Minute},
		{"undecided", func(_ *testing.T, s *testServer) { s.foo().Role().CloseIfEmpty(s.foo().Epoch()) }, func(*testing.T, *testServer) {}, "-TRYAGAIN the shard is being handed over, try again", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{})
			if test.wait > 0 {
				s.gateWait.Store(int64(test.wait))
			}
			c, tx, other := s.dial(t), s.dial(t), s.dial(t)
			test.before(t, s)
			c.send(encode("PING") + encode("NP.SET", "foo", arrayA, "WITHVERSION"))
			if got := c.reply(); got != "+PONG" { // it does not wait with the other command
				t.Error(got)
			}
			tx.send(encode("MULTI") + encode("NP.SET", "foo", arrayA, "WITHVERSION") + encode("EXEC"))
			if got := tx.reply() + tx.reply(); got != "+OK+QUEUED" {
				t.Error(got)
			}
			s.waiting(t)
			other.want("+OK", "NP.SET", "bar", arrayA) // in another shard
			test.then(t, s)
			got := []string{c.reply(), strings.Trim(tx.reply(), "[]")}
			second := strings.Replace(test.want, `-1"`, `-2"`, 1)
			if slices.Sort(got); got[0] != test.want || got[1] != second {
				t.Errorf("%q, want %q and %q", got, test.want, second)
			}
			tx.want("-ERR EXEC without MULTI", "EXEC")
			other.want("+OK", "NP.SET", "bar", arrayA)
		})
	}
}

// The server's shutdown does not wait for a shard.
func TestCloseEndsTheWaitForAShard(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	s.foo().Role().Close()
	c.send(encode("EXISTS", "foo"))
	s.waiting(t)
	if err := s.Server.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if got := c.closed(); got != "" && !strings.HasPrefix(got, "-TRYAGAIN ") {
		t.Error(got)
	}
}

// Under load, a shard is closed and reopened in rising epochs: nothing is stored while it is closed, each
// version is newer than the one before, and each write is acknowledged or refused.
func TestNothingIsStoredInAClosedShard(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	var clients sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		c := s.dial(t)
		clients.Go(func() {
			var last shard.Version
			newer := func(text string) {
				v, err := shard.ParseVersion(strings.Trim(text, `["]`))
				if err != nil || !v.After(last) {
					t.Errorf("version %s follows %v", text, last)
				}
				last = v
			}
			set := encode("NP.SET", "foo", arrayA, "WITHVERSION")
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i%2 == 0 {
					c.send(strings.Repeat(set, 20))
					for range 20 {
						newer(c.reply())
					}
				} else {
					c.send(encode("MULTI") + set + encode("NP.GET", "foo") + encode("EXEC"))
					for range 3 {
						c.reply()
					}
					version, _, _ := strings.Cut(c.reply(), " ")
					newer(version)
				}
			}
		})
	}
	sh := s.foo()
	for i := range uint64(60) {
		_, before := sh.Newest()
		eventually(t, "a write happens", func() bool { _, now := sh.Newest(); return now > before })
		sh.Role().Close()
		_, seq := sh.Newest()
		other := s.dial(t)
		other.want(":0", "EXISTS", "bar") // leaves time for a stray write
		other.Close()
		if _, now := sh.Newest(); now != seq {
			t.Errorf("%d writes after Close returned", now-seq)
		}
		if i%3 > 0 { // the topology changes first, or the shard
			s.decide(selfID, 8+i)
		}
		s.open(t, 8+i, 0)
		s.decide(selfID, 8+i)
	}
	close(stop)
	clients.Wait()
}

// A watched key was on another node in between, or its shard restarted empty: EXEC must not assume that it is
// unchanged.
func TestWatchedKeysOfAShardThatMoved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, key string
		between   func(*testing.T, *testServer)
		want      string
	}{
		{"a key, nothing happens", "foo", func(*testing.T, *testServer) {}, `[:1]`},
		{"a missing key, nothing happens", "{foo}none", func(*testing.T, *testServer) {}, `[:0]`},
		{"a key, closed and opened in the same epoch", "foo", func(t *testing.T, s *testServer) { s.foo().Role().Close(); s.open(t, 7, 0) }, `[:1]`},
		{"a missing key, closed and opened in the same epoch", "{foo}none", func(t *testing.T, s *testServer) { s.foo().Role().Close(); s.open(t, 7, 0) }, `[:0]`},
		{"a key, now on another node", "foo", func(_ *testing.T, s *testServer) { s.foo().Role().Close(); s.decide(otherID, 8) }, `-MOVED 12182 10.0.0.9:7000`},
		{"a missing key, now on another node", "{foo}none", func(_ *testing.T, s *testServer) { s.foo().Role().Close(); s.decide(otherID, 8) }, `-MOVED 12182 10.0.0.9:7000`},
		{"a key, back without the data", "foo", func(t *testing.T, s *testServer) { s.foo().Role().Close(); s.open(t, 9, 9); s.decide(selfID, 9) }, `*nil`},
		{"a missing key, back without the data", "{foo}none", func(t *testing.T, s *testServer) { s.foo().Role().Close(); s.open(t, 9, 9); s.decide(selfID, 9) }, `*nil`},
		{"a missing key, back with the data", "{foo}none", func(t *testing.T, s *testServer) { s.foo().Role().Close(); s.open(t, 9, 7); s.decide(selfID, 9) }, `*nil`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, Config{})
			c := s.dial(t)
			c.want("+OK", "NP.SET", "foo", arrayA)
			c.want("+OK", "WATCH", test.key)
			c.want("+OK", "MULTI")
			c.want("+QUEUED", "DEL", test.key)
			test.between(t, s)
			c.want(test.want, "EXEC")
		})
	}
}

// A command that panics releases its shard.
func TestPanicReleasesTheShard(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	for _, in := range []func(*conn, *call, shardRef){s.executeInside, func(c *conn, k *call, _ shardRef) { _ = c.execInside(k, fooSlot) }} {
		func() {
			row := &command.Spec{Name: "panic", Full: "panic", Handler: plain(func(*call) { panic("on purpose") })}
			c := newConn(s.Server, s.dial(t).Conn, Listener{Name: "default"}, 1)
			defer c.end() // counts the panic
			c.tx.queue = []queued{{row, &resp.Kept{}}}
			ref, err := s.router.locate(&c.origin, fooSlot)
			if err != nil {
				t.Fatal(err)
			}
			in(c, &call{row: row, slot: fooSlot, replies: &c.replies, from: &c.origin}, ref)
		}()
	}
	if n := s.counters.panics.Load(); n != 2 {
		t.Errorf("%d panics are counted", n)
	}
	s.foo().Role().Close() // returns
}

func TestNodeWideCommandsSkipClosedShards(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	c := s.dial(t)
	c.want("+OK", "NP.SET", "foo", arrayA)
	c.want("+OK", "NP.SET", "bar", arrayA)
	s.foo().Role().Close()
	slot := fmt.Sprint(fooSlot)
	c.talk([]exchange{
		{"DBSIZE", `:1`},
		{"SCAN 0", `["0" ["bar"]]`},
		{"RANDOMKEY", `"bar"`},
		{"CLUSTER COUNTKEYSINSLOT " + slot, `:0`},
		{"CLUSTER GETKEYSINSLOT " + slot + " 10", `[]`},
		{"FLUSHALL", `+OK`},
		{"DBSIZE", `:0`},
	})
	if got := c.do("CLUSTER", "SLOT-STATS", "SLOTSRANGE", slot, slot); !strings.Contains(got, `"key-count" :0`) || !strings.Contains(got, `"memory-bytes" :0`) {
		t.Error(got)
	}
	s.open(t, 7, 0)
	c.talk([]exchange{
		{"DBSIZE", `:1`},
		{"SCAN 0", `["0" ["foo"]]`},
		{"CLUSTER COUNTKEYSINSLOT " + slot, `:1`},
		{"NP.GET foo", `"$A"`},
		{"FLUSHALL", `+OK`},
		{"SCAN 0", `["0" []]`},
	})
	s.topo.Store(&topology.Topology{}) // before the node joins a cluster
	c.talk([]exchange{
		{"NP.GET foo", `-CLUSTERDOWN this node is not part of a cluster yet`},
		{"CLUSTER GETKEYSINSLOT " + slot + " 10", `[]`},
	})
}

// A client that has used this node counts as unaware of a handover until it is redirected, unless that was long ago. One that asked
// about no key does not count.
func TestUnawareClients(t *testing.T) {
	t.Parallel()
	s := start(t, Config{})
	unaware := func(want int, since time.Time, within time.Duration) {
		t.Helper()
		if n := Unaware(s.Server, since, within); n != want {
			t.Errorf("%d clients are unaware, want %d", n, want)
		}
	}
	reads, writes, pings := s.dial(t), s.dial(t), s.dial(t)
	reads.want("$nil", "NP.GET", "foo")
	writes.want("+OK", "NP.SET", "foo", arrayA)
	pings.want("+PONG", "PING")
	handedOver := time.Now()
	unaware(2, handedOver, time.Minute)
	unaware(0, handedOver.Add(2*time.Minute), time.Minute)
	unaware(0, handedOver.Add(-time.Minute), time.Minute) // they have used what stayed here since
	time.Sleep(2 * time.Millisecond)                      // a redirect is noted with a time in ms
	s.foo().Role().Close()
	s.decide(otherID, 8)
	reads.want("-MOVED 12182 10.0.0.9:7000", "NP.GET", "foo")
	unaware(1, handedOver, time.Minute)
	writes.want("-MOVED 12182 10.0.0.9:7000", "NP.SET", "foo", arrayA)
	unaware(0, handedOver, time.Minute)
}
