package replication

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence/vfs"
)

// testDisk is a disk in memory that hangs when a test wants it.
type testDisk struct {
	vfs.FS
	waiting atomic.Int64 // changes that wait for the end of hanging
	mu      sync.Mutex   // guards all below
	hanging chan struct{}
}

func newDisk() *testDisk {
	d := &testDisk{}
	d.FS = vfs.NewFaulty(vfs.NewMem(), func(int) error {
		d.mu.Lock()
		hanging := d.hanging
		d.mu.Unlock()
		if hanging != nil {
			d.waiting.Add(1)
			<-hanging
			d.waiting.Add(-1)
		}
		return nil
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
