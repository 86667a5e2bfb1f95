package replication

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// limit bounds the memory of a node to what it has and so much more.
func (n *testNode) limit(more int64, policy shard.Policy) {
	m := n.store.Memory()
	m.MeasureBy(func() memory.Program { return memory.Program{} })
	m.Configure(shard.MemoryConfig{Limit: m.Used() + more, Policy: policy, Samples: 16})
}

// fullAt waits until a primary knows that a member is full, or that none is.
func fullAt(t *testing.T, a *testNode, yes bool) {
	t.Helper()
	await(t, fmt.Sprint("a member is full: ", yes), func() bool { return a.repl.Full(0) != 0 == yes })
}

// The primary of a member that has no memory left refuses values, deletes keys, and takes values again when there is room.
func TestMemberWithoutMemory(t *testing.T) {
	t.Parallel()
	_, a, b, _ := joined(t, false)
	b.limit(256<<10, shard.NoEviction)
	var err error
	stored := 0
	for ; err == nil && stored < 1000; stored++ {
		err = a.set(fmt.Sprint("key ", stored), 10_000)
	}
	if !errors.Is(err, shard.ErrMemoryFull) || stored < 10 || stored > 60 {
		t.Fatalf("after %d values: %v", stored, err)
	}
	if b.newest() < a.newest() {
		t.Error("the member has refused what was appended")
	}
	for i := range stored {
		a.remove(fmt.Sprint("key ", i))
	}
	await(t, "the member takes what is removed off", func() bool { return alike(a, b) })
	fullAt(t, a, false)
	if err := a.set("again", 10_000); err != nil {
		t.Error(err)
	}
}

// With a policy the primary evicts what its writes add, so the memory of the member stays near its limit. It evicts from no shard
// that has no full member.
func TestPrimaryEvictsForAMember(t *testing.T) {
	t.Parallel()
	_, a, b, _ := joined(t, false)
	if err := a.store.Shard(1).Role().Open(1, 1); err != nil { // on this node alone
		t.Fatal(err)
	}
	if _, err := a.setIn(1, "alone", 100); err != nil {
		t.Fatal(err)
	}
	a.store.Memory().MeasureBy(func() memory.Program { return memory.Program{} })
	a.store.Memory().Configure(shard.MemoryConfig{Policy: shard.AllKeysRandom, Samples: 16})
	b.limit(512<<10, shard.NoEviction)
	limit := b.store.Memory().Config().Limit
	for i := range 500 {
		if err := a.set(fmt.Sprint("key ", i), 10_000); err != nil {
			t.Fatalf("value %d: %v", i, err)
		}
		if used := b.store.Memory().Used(); used > limit+256<<10 {
			t.Fatalf("value %d: the member has %d KiB more than its limit", i, (used-limit)>>10)
		}
	}
	if n := a.store.Stats().Evicted; n < 400 || n > 500 {
		t.Errorf("%d values were evicted", n)
	}
	if a.store.Shard(1).Keys() != 1 {
		t.Error("a key of a shard without a full member was evicted")
	}
	await(t, "the copies are the same", func() bool { return alike(a, b) })
}

// The primary of a member whose disk is full refuses values, and deletes keys.
func TestMemberWithoutDisk(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	mem := vfs.NewMem()
	a, b := startNode(t, n, "a", 1, vfs.NewMem()), startNode(t, n, "b", 1, mem)
	join(t, a, b)
	if err := a.set("before", 1000); err != nil {
		t.Fatal(err)
	}
	mem.SetFree(1000)
	b.store.Disk().Configure(shard.DiskConfig{Fsync: shard.FsyncEverysec, Reserve: 1 << 20})
	b.store.Open(t.Context())
	fullAt(t, a, true)
	if err := a.set("full", 1000); !errors.Is(err, shard.ErrDiskFull) {
		t.Errorf("a value: %v", err)
	}
	a.remove("before")
	await(t, "the key is removed at the member", func() bool { return !b.has("before", 1000) })
	mem.SetFree(1 << 40)
	fullAt(t, a, false)
	if err := a.set("again", 1000); err != nil {
		t.Error(err)
	}
}

// A learner that has no memory left takes no whole copy until it has room. Where it evicts, it takes one all the same.
func TestLearnerWithoutMemory(t *testing.T) {
	t.Parallel()
	for _, policy := range []shard.Policy{shard.NoEviction, shard.AllKeysRandom} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			n := newNetwork()
			a, b := startNode(t, n, "a", 1, nil), startNode(t, n, "b", 1, nil)
			if err := b.store.Shard(1).Role().Open(1, 1); err != nil {
				t.Fatal(err)
			}
			if _, err := b.setIn(1, "own", 100_000); err != nil {
				t.Fatal(err)
			}
			b.limit(-1000, policy)
			row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
			configure(t, row, a, b)
			if err := a.set("key", 1000); err != nil {
				t.Fatal(err)
			}
			row.Learners = processes(b)
			configure(t, row, a, b)
			if policy == shard.NoEviction {
				await(t, "the primary has tried twice", func() bool { return a.repl.stats.Installs.Load() >= 2 })
				if b.newest() > 0 || a.store.Shard(0).Role().Proposal() != nil {
					t.Error("a copy without room was installed")
				}
				b.limit(1<<20, policy)
			}
			a.proposal(replica.Expand, b.self)
		})
	}
}

// remove deletes a key of shard 0.
func (n *testNode) remove(key string) {
	n.t.Helper()
	of := n.store.Shard(0)
	if !of.Acquire() {
		n.t.Fatal("the shard is closed")
	}
	defer of.Release()
	_, f, err := of.Delete([][]byte{[]byte(key)})
	if err = errors.Join(err, outcome(n.t.Context(), f)); err != nil {
		n.t.Errorf("DEL %s: %v", key, err)
	}
}

// A learner takes a whole copy only with room for it, also while it is not full. A primary that does not say how large the copy is
// gets the answer that it got before.
func TestLearnerWithoutRoomForTheCopy(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, nil), startNode(t, n, "b", 1, nil)
	row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a, b)
	for i := range 50 {
		if err := a.set(fmt.Sprint("key ", i), 20_000); err != nil {
			t.Fatal(err)
		}
	}
	b.limit(500_000, shard.NoEviction)
	row.Learners = processes(b)
	configure(t, row, a, b)
	await(t, "the primary has tried twice", func() bool { return a.repl.stats.Installs.Load() >= 2 })
	if b.newest() > 0 || b.store.Memory().Used() > 100_000 {
		t.Errorf("a copy without room has come: %d bytes are used", b.store.Memory().Used())
	}
	if memory, _ := shard.RoomOf(b.store); memory < 400_000 || memory > 500_000 {
		t.Errorf("there is room for %d bytes", memory)
	}
	source := shard.Source{From: a.self, Epoch: 1, Leader: 1}
	await(t, "a copy of unknown size is taken", func() bool {
		i, err := b.store.Shard(0).Member().Install(source, replica.Point{Epoch: 1, Seq: 1}, nil, 0)
		if err == nil {
			i.Abort()
		}
		return err == nil
	})
	b.limit(2<<20, shard.NoEviction)
	a.proposal(replica.Expand, b.self)
}

// A node whose room other values take while a whole copy arrives says so, and the primary reads that although the connection ends in the
// middle of what it sends. The primary then waits twice as long each time.
func TestRoomEndsWhileACopyArrives(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, nil), startNode(t, n, "b", 1, nil)
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a)
	for i := range 100 { // more than the buffers of a connection have
		if err := a.set(fmt.Sprint("key ", i), 400_000); err != nil {
			t.Fatal(err)
		}
	}
	row.Learners = processes(b)
	configure(t, row, b) // the primary does not know of it, and sends nothing by itself
	b.limit(2<<20, shard.NoEviction)
	p := newPeer(a.repl, b.self)
	defer p.cancel()
	s := &stream{peer: p, shard: 0, epoch: 1, leader: 1, context: p.context, inFlight: inFlight{window: &p.window}}
	for _, asked := range []time.Duration{askFailed, 2 * askFailed, 4 * askFailed, askFull, askFull} {
		image, err := a.store.Shard(0).Primary().Image()
		if err != nil {
			t.Fatal(err)
		}
		image.Bytes = 0 // as a program sends it that does not say
		err = p.sendImage(t.Context(), s, image, func(int) {})
		image.Close()
		refused := new(refusedError)
		if !errors.As(err, &refused) || refused.full != replica.AckMemoryFull {
			t.Fatalf("the copy: %v", err)
		}
		if b.newest() > 0 {
			t.Fatal("a part of a copy was installed")
		}
		s.state, p.queue.linked = catching, true
		(&catchUp{p: p, s: s, run: s.run}).end(err)
		if wait := time.Until(s.askAt); wait > asked || wait < asked-time.Second/2 {
			t.Errorf("the primary asks again after %v, want %v", wait, asked)
		}
	}
	s.state = catching
	if (&catchUp{p: p, s: s, run: s.run}).hasImage(); s.refused != 0 {
		t.Errorf("after a copy was installed the primary would wait for %v", s.refused)
	}
	if used := b.store.Memory().Used(); used > 1<<20 {
		t.Errorf("what has arrived still takes %d bytes", used)
	}
}
