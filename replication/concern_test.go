package replication

import (
	"testing"
	"time"

	"github.com/ndring/ndring/shard"
)

// A member learns how old its copy is, and does not any more once the primary cannot be reached. What it shows is never older than
// the bound.
func TestMemberKnowsHowFreshItIs(t *testing.T) {
	t.Parallel()
	n, a, b, _ := pairUp(t, false)
	if err := a.set("key", 100); err != nil {
		t.Fatal(err)
	}
	committed := b.store.Monotonic() // the processes of the test have one clock
	fresh := func() (int64, bool) { return b.store.Shard(0).Copies().FreshAt(b.store.Monotonic()) }
	await(t, "the member is fresh", func() bool {
		at, ok := fresh()
		if ok && at > committed && !b.has("key", 100) {
			t.Error("fresh without what was committed before")
		}
		return ok && at > committed
	})
	n.isolate("b", true)
	await(t, "the member is stale", func() bool { _, ok := fresh(); return !ok })
	if _, ok := a.store.Shard(0).Copies().FreshAt(a.store.Monotonic()); ok {
		t.Error("the primary is a fresh copy of itself")
	}
}

// A read with a round is answered by a heartbeat that leaves at once, by many readers at a time, and not at all while a member
// of the ISR cannot be reached.
func TestRoundToTheISR(t *testing.T) {
	t.Parallel()
	n, a, b, _ := pairUp(t, false)
	if err := a.set("key", 100); err != nil {
		t.Fatal(err)
	}
	config := shard.DefaultCopyConfig
	config.SyncReads = true
	a.store.ConfigureCopies(config)
	copies := a.store.Shard(0).Copies()
	const rounds = 200
	began := time.Now()
	for range rounds {
		asked := copies.AskISR()
		await(t, "the round is over", func() bool { return copies.Answers(asked, a.store.Monotonic()) })
		if heard := a.repl.Heard(b.self, 0, 1); heard <= asked {
			t.Errorf("answered by a heartbeat of %d ns before the look-up", asked-heard)
		}
	}
	if took := time.Since(began); took > rounds*beatInterval/4 {
		t.Errorf("%d rounds took %v", rounds, took)
	}
	n.isolate("b", true)
	asked := copies.AskISR()
	time.Sleep(2 * beatInterval)
	if copies.Answers(asked, a.store.Monotonic()) {
		t.Error("answered without the member")
	}
}
