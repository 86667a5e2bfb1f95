package replication

import (
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// dropped makes a pair of which the second node, a learner that has all, leaves the row and drops its copy. It comes back in the same
// leader epoch by a row that the primary learns next: to the primary it never was away. Bulk connections are stalled, so no copy arrives.
func dropped(t *testing.T, logged bool) (n *network, a, b *testNode, row replica.Config) {
	n, a, b, row = pairUp(t, logged)
	row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
	configure(t, row, a, b)
	for i := range 20 {
		if err := a.set(fmt.Sprint("k-", i), 20_000); err != nil {
			t.Fatal(err)
		}
	}
	has := func() uint64 {
		if _, others := a.store.Shard(0).Role().Progress(); len(others) == 1 {
			return others[0].Has
		}
		return 0
	}
	await(t, "the learner has all", func() bool { return has() == a.newest() && b.newest() == a.newest() })
	gone := row
	gone.Epoch, gone.Learners, gone.Assigned = 4, nil, processes(a)
	configure(t, gone, b)
	b.ahead.Add(int64(time.Second))
	n.stall(true)
	(*a.repl.peers.Load())[b.self].bulk.reconnect() // those that are idle
	if was, err := shard.Drop(b.store.Shard(0)); err != nil || was.Bytes < 20*20_000 || b.newest() != 0 {
		t.Fatalf("%+v was dropped: %v", was, err)
	}
	if has() != a.newest() {
		t.Fatal("the primary has noticed the drop")
	}
	row.Epoch, row.Assigned = 4, processes(a, b)
	configure(t, row, b)
	configure(t, row, a)
	return n, a, b, row
}

// A copy that was dropped and is a learner again in the same leader epoch does not come into the ISR by what it had before, though its
// primary still counts that: only a whole copy makes it count.
func TestDroppedCopyIsNotCounted(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n, a, b, row := dropped(t, logged)
		beats := func() uint64 { return (*a.repl.peers.Load())[b.self].granted.Load() }
		from := beats()
		await(t, "heartbeats are answered and the copy is on its way", func() bool {
			if p := a.store.Shard(0).Role().Proposal(); p != nil {
				t.Fatalf("the primary proposes %+v of a copy that has %d of %d records", *p, b.newest(), a.newest())
			}
			return beats() >= from+12 && n.stalled() > 0
		})
		if a.repl.Heard(b.self, 0, row.LeaderEpoch) > b.store.Monotonic()-int64(time.Second)-int64(replica.DefaultTimes.Lease) {
			t.Error("the copy has granted the lease")
		}
		n.stall(false)
		a.proposal(replica.Expand, b.self)
		if b.newest() < a.newest() || !b.has("k-19", 20_000) {
			t.Error("the primary proposes a copy that lacks something")
		}
		if installs := a.repl.stats.Installs.Load(); installs == 0 {
			t.Error("no whole copy was sent")
		}
		row.Epoch, row.ISR, row.Learners = 5, processes(a, b), nil
		configure(t, row, a, b)
		if err := a.set("last", 100); err != nil {
			t.Fatal(err)
		}
		a.end()
		row = replica.Config{Epoch: 6, Born: 1, Primary: b.self, ISR: processes(b)}
		configure(t, row, b)
		for i := range 20 {
			if !b.has(fmt.Sprint("k-", i), 20_000) {
				t.Errorf("k-%d is lost", i)
			}
		}
		if !b.has("last", 100) {
			t.Error("the last write is lost")
		}
	})
}

// A dropped copy that learns of another leader epoch synchronizes with its primary, and comes back.
func TestDroppedCopyInAnotherLeaderEpoch(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n, a, b, row := dropped(t, logged)
		n.stall(false)
		row.Epoch, row.LeaderEpoch = 5, 5
		configure(t, row, a, b)
		a.proposal(replica.Expand, b.self)
		if b.newest() < a.newest() || !b.has("k-19", 20_000) {
			t.Error("the primary proposes a copy that lacks something")
		}
	})
}
