package replication

import (
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
)

// newFolder returns a data folder, or nil.
func newFolder(logged bool) *vfs.Mem {
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
		if err := late.Wait(t.Context()); err != nil {
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
