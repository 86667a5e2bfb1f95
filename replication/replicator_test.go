package replication

import (
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
)

// newFolder returns an empty disk, or nil.
func newFolder(logged bool) vfs.FS {
	if logged {
		return vfs.NewMem()
	}
	return nil
}

// bothKinds runs a test with and without logs.
func bothKinds(t *testing.T, do func(t *testing.T, logged bool)) {
	for _, logged := range []bool{true, false} {
		t.Run(fmt.Sprintf("logged=%v", logged), func(t *testing.T) {
			t.Parallel()
			do(t, logged)
		})
	}
}

func processes(nodes ...*testNode) (list []replica.Process) {
	for _, n := range nodes {
		list = append(list, n.self)
	}
	return list
}

// A learner catches up while the primary is written to, comes into the ISR, and from then on each write waits for it. When the
// primary is gone, the other copy serves all that was acknowledged.
func TestLearnerCatchesUpAndTakesOver(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n := newNetwork()
		a, b := startNode(t, n, "a", 1, newFolder(logged)), startNode(t, n, "b", 1, newFolder(logged))
		row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
		configure(t, row, a, b)
		sizes := map[string]int{"small": 100, "middle": 100 << 10, "large": 600 << 10, "blob": 3 << 20}
		acked := map[string]int{}
		put := func(prefix string) {
			for name, size := range sizes {
				key := prefix + name
				if err := a.set(key, size); err != nil {
					t.Fatal(err)
				}
				acked[key] = size
			}
		}
		put("alone-")
		row.Learners = processes(b)
		configure(t, row, a, b)
		put("learner-")
		a.proposal(replica.Expand, b.self)
		row.Epoch, row.LeaderEpoch, row.ISR, row.Learners = 2, 1, processes(a, b), nil
		configure(t, row, a)
		time.Sleep(20 * time.Millisecond) // the member learns of the row later
		configure(t, row, b)
		put("isr-")
		if b.newest() < a.newest() {
			t.Errorf("acknowledged up to %d, the other copy has %d", a.newest(), b.newest())
		}
		await(t, "the member sees what is committed", func() bool { return b.has("isr-small", 100) })
		a.end()
		row = replica.Config{Epoch: 3, Born: 1, Primary: b.self, ISR: processes(b)}
		configure(t, row, b)
		for key, size := range acked {
			if !b.has(key, size) {
				t.Errorf("%s is lost", key)
			}
		}
		if err := b.set("after", 100); err != nil {
			t.Error(err)
		}
	})
}

// A member that was away for a while gets what it lacks from the log, and one whose records the primary no longer has gets a
// whole copy.
func TestMemberComesBack(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n := newNetwork()
		a, b := startNode(t, n, "a", 1, newFolder(logged)), startNode(t, n, "b", 1, newFolder(logged))
		row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a), Learners: processes(b)}
		configure(t, row, a, b)
		a.proposal(replica.Expand, b.self)
		row.Epoch, row.LeaderEpoch, row.ISR, row.Learners = 2, 1, processes(a, b), nil
		configure(t, row, a, b)
		if err := a.set("before", 1000); err != nil {
			t.Fatal(err)
		}
		n.isolate("b", true)
		late, err := a.setAsync("waits", 1000)
		if err != nil {
			t.Fatal(err)
		}
		a.proposal(replica.Shrink, b.self)
		if done, _ := late.Done(); done {
			t.Error("a write is committed without the member of the ISR")
		}
		row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
		configure(t, row, a, b)
		if err := outcome(t.Context(), late); err != nil {
			t.Error(err)
		}
		for i := range 200 {
			if err := a.set(fmt.Sprint("away-", i), 20_000); err != nil {
				t.Fatal(err)
			}
		}
		n.isolate("b", false)
		a.proposal(replica.Expand, b.self)
		row.Epoch, row.ISR, row.Learners = 4, processes(a, b), nil
		configure(t, row, a, b)
		if err := a.set("again", 10); err != nil {
			t.Fatal(err)
		}
		await(t, "the member has all", func() bool { return b.has("again", 10) })
		for i := range 200 {
			if !b.has(fmt.Sprint("away-", i), 20_000) {
				t.Fatalf("the member lacks away-%d", i)
			}
		}
		if installs := a.repl.stats.Installs.Load(); logged && installs > 0 || !logged && installs == 0 {
			t.Errorf("%d whole copies were sent", installs)
		}
	})
}

// pairUp makes two nodes with the ISR of both, of which the first is the primary.
func pairUp(t *testing.T, logged bool) (n *network, a, b *testNode, row replica.Config) {
	t.Helper()
	n = newNetwork()
	a, b = startNode(t, n, "a", 1, newFolder(logged)), startNode(t, n, "b", 1, newFolder(logged))
	row = replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a), Learners: processes(b)}
	configure(t, row, a, b)
	a.proposal(replica.Expand, b.self)
	row.Epoch, row.ISR, row.Learners = 2, processes(a, b), nil
	configure(t, row, a, b)
	if err := a.set("first", 100); err != nil {
		t.Fatal(err)
	}
	return n, a, b, row
}

// A deposed primary with changes of its own truncates them, and takes what the new one has. Nothing that it has shown goes.
func TestDeposedPrimaryTruncates(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n, a, b, _ := pairUp(t, logged)
		n.isolate("a", true)
		var lost []string
		for i := range 50 {
			key := fmt.Sprint("lost-", i)
			if _, err := a.setAsync(key, 1000+i*20_000); err != nil {
				t.Fatal(err)
			}
			lost = append(lost, key)
		}
		row := replica.Config{Epoch: 3, LeaderEpoch: 3, Born: 1, Primary: b.self, ISR: processes(b), Learners: processes(a)}
		configure(t, row, b)
		for i := range 20 {
			if err := b.set(fmt.Sprint("new-", i), 1000); err != nil {
				t.Fatal(err)
			}
		}
		n.isolate("a", false)
		configure(t, row, a)
		b.proposal(replica.Expand, a.self)
		row.Epoch, row.ISR, row.Learners = 4, processes(b, a), nil
		configure(t, row, a, b)
		if err := b.set("last", 10); err != nil {
			t.Fatal(err)
		}
		await(t, "the deposed primary has the last write", func() bool { return a.has("last", 10) })
		for _, key := range lost {
			if a.store.Shard(0).Exists([][]byte{[]byte(key)}, false) > 0 {
				t.Errorf("%s was never committed, and is there", key)
			}
		}
		if !a.has("first", 100) || !a.has("new-19", 1000) {
			t.Error("what is committed is not there")
		}
	})
}

// A member that lost the values of uploads gets them again.
func TestLostUploadsAreSentAgain(t *testing.T) {
	t.Parallel()
	_, a, b, _ := pairUp(t, true)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Microsecond): // some values get through in between
				b.repl.inbound.drop()
			}
		}
	}()
	for i := range 10 {
		if err := a.set(fmt.Sprint("large-", i), 400<<10); err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			close(stop)
		}
	}
	await(t, "the member has the last value", func() bool { return b.has("large-9", 400<<10) })
	for i := range 10 {
		if !b.has(fmt.Sprint("large-", i), 400<<10) {
			t.Errorf("the member lacks large-%d", i)
		}
	}
}

// A peer that is not connected holds no writer back by its window: nothing is on its way. What is not committed bounds the shard then.
func TestAPeerThatIsNotConnectedHasRoom(t *testing.T) {
	t.Parallel()
	for _, inISR := range []bool{true, false} {
		n, a, b, row := pairUp(t, true)
		if !inISR {
			row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
			configure(t, row, a, b)
		}
		n.isolate("b", true)
		for i := range 200 {
			if _, err := a.setAsync(fmt.Sprint("k", i), 100<<10); err != nil {
				t.Fatal(err)
			}
			if a.repl.Room(0) != nil {
				t.Fatalf("in the ISR: %v: the window is full after %d writes", inISR, i+1)
			}
		}
		if a.store.Shard(0).Alone() == inISR {
			t.Errorf("in the ISR: %v: the primary is alone: %v", inISR, !inISR)
		}
	}
}

// A write of a large value does not wait for a member that takes none of it once the member has left the ISR.
func TestAnUploadEndsWithTheMembership(t *testing.T) {
	t.Parallel()
	n, a, b, row := pairUp(t, true)
	n.stall(true)
	ended := make(chan error, 1)
	go func() { ended <- a.set("large", 8<<20) }()
	await(t, "the upload is stalled", func() bool { return n.stalled() > 0 })
	row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
	configure(t, row, a, b)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	n.stall(false)
	if !a.has("large", 8<<20) {
		t.Error("the value is not there")
	}
}

// A large value on its way to a member that is not heard any more ends with the other connections to it. TCP would keep it much longer.
func TestAnUploadEndsWithTheConnections(t *testing.T) {
	t.Parallel()
	n, a, b, _ := pairUp(t, true)
	n.stall(true)
	ended := make(chan error, 1)
	go func() { ended <- a.set("large", 8<<20) }()
	await(t, "the upload is stalled", func() bool { open, _ := n.bulkConns(); return n.stalled() > 0 && open == 1 })
	_, before := n.bulkConns()
	(*a.repl.peers.Load())[b.self].reconnect() // as after a silence
	// The next try stalls too, perhaps before anyone looks: that a connection has ended says more than that none is open.
	await(t, "the upload has ended", func() bool { _, ended := n.bulkConns(); return ended > before })
	n.stall(false)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	await(t, "the member has the value", func() bool { return b.has("large", 8<<20) })
}

// A replica's data does not count as fresh while its primary lacks the lease because of another member: then another primary may
// have committed more.
func TestNothingIsFreshWithoutTheLease(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b, c := startNode(t, n, "a", 1, nil), startNode(t, n, "b", 1, nil), startNode(t, n, "c", 1, nil)
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a, b, c)}
	configure(t, row, a, b, c)
	await(t, "the primary serves", func() bool { return a.store.Shard(0).Serving() })
	if err := a.set("key", 100); err != nil {
		t.Fatal(err)
	}
	fresh := func() int64 {
		at, _ := b.store.Shard(0).Copies().FreshAt(b.store.Monotonic())
		return at
	}
	await(t, "the member is fresh", func() bool { return fresh() > 0 })
	n.isolate("c", true)
	leased := func() bool { _, ok := a.store.Shard(0).Leased(a.store.Monotonic()); return ok }
	await(t, "the lease is over", func() bool { return !leased() })
	heard := func() uint64 { return (*a.repl.peers.Load())[b.self].granted.Load() }
	beats := func(count uint64) {
		from := heard()
		await(t, "the other member acknowledges heartbeats", func() bool { return heard() >= from+count })
	}
	beats(3) // what was on the way when the lease ended has come
	before := fresh()
	beats(4)
	if after := fresh(); after > before {
		t.Errorf("the member's data has become %d ns fresher without a lease", after-before)
	}
}

// A planned handover: the new primary has all that was acknowledged, and the old one follows it.
func TestTransfer(t *testing.T) {
	t.Parallel()
	_, a, b, row := pairUp(t, true)
	for _, epoch := range []uint64{row.Epoch - 1, row.Epoch + 1} { // in which b may have been leaving
		if err := a.store.Shard(0).Role().Transfer(t.Context(), epoch, b.self); err == nil || !a.store.Shard(0).Serving() {
			t.Errorf("a handover that was planned in epoch %d, not %d, has begun: %v", epoch, row.Epoch, err)
		}
	}
	if err := a.store.Shard(0).Role().Transfer(t.Context(), row.Epoch, b.self); err != nil {
		t.Fatal(err)
	}
	if a.store.Shard(0).Serving() {
		t.Error("the primary serves while raft may have decided")
	}
	a.proposal(replica.Handover, b.self)
	row.Epoch, row.LeaderEpoch, row.Primary = 3, 3, b.self
	configure(t, row, a, b)
	await(t, "the new primary serves", func() bool { return b.store.Shard(0).Serving() })
	if err := b.set("second", 100); err != nil {
		t.Error(err)
	}
	await(t, "the old primary follows", func() bool { return a.has("second", 100) })
	if err := a.store.Shard(0).Role().Transfer(t.Context(), row.Epoch, b.self); err == nil {
		t.Error("a member hands over")
	}
}

// Restarted from its folder, a member goes on with what it has.
func TestMemberRestarts(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	folder := vfs.NewMem()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, folder)
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a), Learners: processes(b)}
	configure(t, row, a, b)
	for i := range 30 {
		if err := a.set(fmt.Sprint("k", i), 100+i*100_000); err != nil {
			t.Fatal(err)
		}
	}
	a.proposal(replica.Expand, b.self)
	b.end()
	b = startNode(t, n, "b", 2, folder)
	end := b.newest()
	if end == 0 {
		t.Error("nothing was recovered")
	}
	row.Epoch, row.Learners = 2, processes(b)
	configure(t, row, a, b)
	a.proposal(replica.Expand, b.self)
	row.Epoch, row.ISR, row.Learners = 3, processes(a, b), nil
	configure(t, row, a, b)
	if err := a.set("last", 100); err != nil {
		t.Fatal(err)
	}
	await(t, "the member has all", func() bool { return b.has("last", 100) })
	for i := range 30 {
		if !b.has(fmt.Sprint("k", i), 100+i*100_000) {
			t.Errorf("the member lacks k%d", i)
		}
	}
	if n := a.repl.stats.Installs.Load(); n > 0 {
		t.Errorf("%d whole copies were sent", n)
	}
}

// A primary learns of a new row while a catch-up waits until the member has taken what fills the window. The member still acknowledges
// in the epoch before: that makes room all the same.
func TestCatchUpGoesOnInANewEpoch(t *testing.T) {
	t.Parallel()
	n, disk := newNetwork(), newDisk()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, disk)
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a, b)
	for i := range 60 {
		if err := a.set(fmt.Sprint("k-", i), 100_000); err != nil {
			t.Fatal(err)
		}
	}
	goOn := disk.hang(t)
	row.Learners = processes(b)
	configure(t, row, b)
	configure(t, row, a)
	inFlight := func() int64 {
		if p := (*a.repl.peers.Load())[b.self]; p != nil {
			return p.window.catchUp.Load()
		}
		return 0
	}
	await(t, "the window is full", func() bool { return disk.waiting.Load() > 0 && inFlight() >= windowCatchUp })
	row.Epoch = 2
	configure(t, row, a)
	goOn()
	await(t, "there is room again", func() bool { return inFlight() < windowCatchUp })
	configure(t, row, b)
	await(t, "the member has caught up", func() bool {
		p := a.store.Shard(0).Role().Proposal()
		return p != nil && p.Kind == replica.Expand
	})
}

// A full window holds the writers of a shard back if its copy is in the ISR. A learner that has a full window is taken off the stream
// instead, and catches up again: no rule removes a learner.
func TestFullWindow(t *testing.T) {
	t.Parallel()
	_, a, b, row := pairUp(t, true)
	fill := func(n int64) *stream {
		s := a.repl.rows[0].Load().streams[0]
		s.inFlight.bytes.Add(n)
		return s
	}
	await(t, "the member is attached", func() bool { return fill(0).attached() })
	fill(windowShard)
	if a.repl.Room(0) == nil {
		t.Error("a member of the ISR with a full window holds no writer back")
	}
	fill(-windowShard)
	row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
	configure(t, row, a, b)
	await(t, "the learner is attached", func() bool { return fill(0).attached() })
	fill(windowShard)
	if a.repl.Room(0) != nil {
		t.Error("a learner with a full window holds writers back")
	}
	run := fill(0).runs()
	if err := a.set("more", 100); err != nil {
		t.Error(err)
	}
	if fill(0).runs() == run {
		t.Error("a learner with a full window stays on the stream")
	}
	fill(-windowShard)
	await(t, "the learner catches up", func() bool { return b.newest() == a.newest() })
}

func (s *stream) attached() bool {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.state == attached
}

// runs returns how often the stream was detached.
func (s *stream) runs() uint64 {
	s.peer.mu.Lock()
	defer s.peer.mu.Unlock()
	return s.run
}
