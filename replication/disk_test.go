package replication

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
)

// testDisk is a disk in memory that hangs or fails when a test wants it.
type testDisk struct {
	vfs.FS
	waiting atomic.Int64 // changes that wait until the disk goes on
	mu      sync.Mutex   // guards all below
	hanging chan struct{}
	err     error // of all changes
}

func newDisk() *testDisk {
	d := &testDisk{}
	d.FS = vfs.NewFaulty(vfs.NewMem(), func(int) error {
		d.mu.Lock()
		hanging, err := d.hanging, d.err
		d.mu.Unlock()
		if hanging != nil {
			d.waiting.Add(1)
			<-hanging
			d.waiting.Add(-1)
		}
		return err
	})
	return d
}

// hang makes all changes wait until the test calls goOn, or ends.
func (d *testDisk) hang(t *testing.T) (goOn func()) {
	hanging := make(chan struct{})
	d.mu.Lock()
	d.hanging = hanging
	d.mu.Unlock()
	goOn = sync.OnceFunc(func() {
		d.mu.Lock()
		d.hanging = nil
		d.mu.Unlock()
		close(hanging)
	})
	t.Cleanup(goOn) // before the cleanup of the nodes, which were started before
	return goOn
}

// fail makes all changes fail; nil: none.
func (d *testDisk) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// A primary whose log hangs renews the lease of that shard no more, but those of its other shards. So the member hears no primary
// of that shard, and reports. Once the log goes on, the primary wants the lease again.
func TestALogThatHangsEndsTheLease(t *testing.T) {
	t.Parallel()
	n, disk := newNetwork(), newDisk()
	a, b := startNode(t, n, "a", 1, disk), startNode(t, n, "b", 1, newFolder(true))
	row := join(t, a, b)
	for _, node := range []*testNode{a, b} {
		if err := node.store.Shard(1).Role().Configure(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.set("before", 100); err != nil {
		t.Fatal(err)
	}
	await(t, "the other shard serves", a.store.Shard(1).Serving)
	p := (*a.repl.peers.Load())[b.self]
	goOn := disk.hang(t)
	written := make(chan error, 1)
	go func() {
		_, err := a.setAsync("hangs", 100)
		written <- err
	}()
	await(t, "the write hangs", func() bool { return disk.waiting.Load() > 0 })
	from := p.granted.Load()
	await(t, "a heartbeat has left since", func() bool { return p.granted.Load() >= from+2 })
	a.ahead.Add(int64(2 * time.Second))
	at := a.store.Monotonic()
	renewed := func(id int) bool { return a.repl.Heard(b.self, id, row.LeaderEpoch) >= at }
	await(t, "the lease of the other shard is renewed", func() bool { return renewed(1) })
	if renewed(0) {
		t.Fatal("the lease of the shard whose log hangs is renewed")
	}
	await(t, "the member reports that it hears no primary", b.reports[0].Load)
	goOn()
	if err := <-written; err != nil {
		t.Error(err)
	}
	await(t, "the primary wants the lease again", func() bool {
		for _, r := range p.renewals() {
			if r.shard == 0 {
				return true
			}
		}
		return false
	})
}

// A member whose disk fails says so, and the primary proposes at once to remove it: no tick comes by which it would blame the
// member for what it owes. Nothing is lost, and when the disk works again the member comes back.
func TestAMemberWhoseDiskFails(t *testing.T) {
	t.Parallel()
	n, disk := newNetwork(), newDisk()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, disk)
	row := join(t, a, b)
	if err := a.set("before", 100); err != nil {
		t.Fatal(err)
	}
	a.rests.Store(true)
	disk.fail(syscall.EIO)
	f, err := a.setAsync("during", 100)
	if err != nil {
		t.Fatal(err)
	}
	a.proposal(replica.Shrink, b.self)
	if done, _ := f.Done(); done || b.newest() == a.newest() {
		t.Error("a write is committed that the member could not log")
	}
	row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
	configure(t, row, a, b)
	if err := outcome(t.Context(), f); err != nil {
		t.Error(err)
	}
	a.rests.Store(false)
	disk.fail(nil)
	a.proposal(replica.Expand, b.self)
	row.Epoch, row.ISR, row.Learners = 4, processes(a, b), nil
	configure(t, row, a, b)
	if err := a.set("after", 100); err != nil {
		t.Fatal(err)
	}
	await(t, "the member has all", func() bool { return b.has("during", 100) && b.has("after", 100) })
}
