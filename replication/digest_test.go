package replication

import (
	"testing"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// joined starts a primary and a member of its ISR. The row has epoch 2 of leader epoch 1.
func joined(t *testing.T, logged bool) (n *network, a, b *testNode, row replica.Config) {
	n = newNetwork()
	a, b = startNode(t, n, "a", 1, newFolder(logged)), startNode(t, n, "b", 1, newFolder(logged))
	return n, a, b, join(t, a, b)
}

// join makes one process the primary, and another one a member of its ISR.
func join(t *testing.T, a, b *testNode) replica.Config {
	t.Helper()
	row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a), Learners: processes(b)}
	configure(t, row, a, b)
	a.proposal(replica.Expand, b.self)
	row.Epoch, row.LeaderEpoch, row.ISR, row.Learners = 2, 1, processes(a, b), nil
	configure(t, row, a, b)
	return row
}

// alike reports whether both copies of shard 0 have all and the same.
func alike(a, b *testNode) bool {
	seq, sum := a.store.Shard(0).Member().Digest()
	other, otherSum := b.store.Shard(0).Member().Digest()
	return seq == other && sum == otherSum
}

// writeNoOp writes until the copies have a no-op.
func writeNoOp(t *testing.T, a *testNode) {
	t.Helper()
	before := a.store.Shard(0).Primary().NewestDigest()
	await(t, "a no-op", func() bool {
		if err := a.set("writes", 10); err != nil {
			t.Fatal(err)
		}
		return a.store.Shard(0).Primary().NewestDigest() != before
	})
}

// Copies that have the same are compared, and found the same. A member that has taken another record in the place of its primary's is
// found, leaves the ISR, and comes back with the primary's copy.
func TestCopyThatDiffersIsReplaced(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		_, a, b, row := joined(t, logged)
		if err := a.set("key", 100); err != nil {
			t.Fatal(err)
		}
		writeNoOp(t, a)
		await(t, "a comparison", func() bool { return b.store.CopyStats().DigestChecks > 0 })
		await(t, "all at the member", func() bool { return alike(a, b) })
		seq := a.newest()
		source := shard.Source{From: a.self, Epoch: row.Epoch, Leader: row.LeaderEpoch}
		forged := persistence.Record{Type: persistence.Delete, Epoch: row.Epoch, Seq: seq + 1, Key: []byte("key")}
		prev := replica.Point{Epoch: row.Epoch, Seq: seq}
		if answer, err := b.store.Shard(0).Member().Append(&source, prev, seq, forged.AppendWire(nil), nil); err != nil || answer.Ack.Written != seq+1 {
			t.Fatalf("%+v, %v", answer, err)
		}
		if err := a.set("other", 100); err != nil { // the member takes its record for this one
			t.Fatal(err)
		}
		if s := b.store.CopyStats(); s.DigestMismatches != 0 {
			t.Fatalf("%+v", s)
		}
		writeNoOp(t, a)
		a.proposal(replica.Shrink, b.self)
		if s := b.store.CopyStats(); s.DigestMismatches != 1 || s.Repairs != 1 {
			t.Errorf("%+v", s)
		}
		row.Epoch, row.ISR, row.Learners = 3, processes(a), processes(b)
		configure(t, row, a, b)
		a.proposal(replica.Expand, b.self)
		row.Epoch, row.ISR, row.Learners = 4, processes(a, b), nil
		configure(t, row, a, b)
		writeNoOp(t, a)
		await(t, "the same at the member", func() bool { return alike(a, b) })
		if !b.has("key", 100) || !b.has("other", 100) {
			t.Error("the member lacks keys")
		}
		if s := b.store.CopyStats(); s.DigestMismatches != 1 || s.Repairs != 1 || s.DigestChecks < 3 {
			t.Errorf("%+v", s)
		}
	})
}

// A catch-up sends a large value that a later write has replaced as a deletion. Until that write the member has not what the primary
// had, and no digest of that time is compared.
func TestSupersededValueIsNoDifference(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, newFolder(true))
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a, b)
	if err := a.set("large", persistence.BlobBytes); err != nil {
		t.Fatal(err)
	}
	writeNoOp(t, a)
	if err := a.set("large", persistence.BlobBytes); err != nil {
		t.Fatal(err)
	}
	row.Epoch, row.Learners = 2, processes(b)
	configure(t, row, a, b)
	a.proposal(replica.Expand, b.self)
	time.Sleep(5 * beatInterval) // the primary sends its newest digest
	row.Epoch, row.ISR, row.Learners = 3, processes(a, b), nil
	configure(t, row, a, b)
	if err := a.set("large", persistence.BlobBytes); err != nil {
		t.Fatal(err)
	}
	writeNoOp(t, a)
	await(t, "a comparison", func() bool { return b.store.CopyStats().DigestChecks > 0 })
	if s := b.store.CopyStats(); s.DigestMismatches != 0 {
		t.Errorf("%+v", s)
	}
}

// A member that gives up what it has while nothing is written is asked again, and replaced.
func TestMemberGivesUpItsCopyAtRest(t *testing.T) {
	t.Parallel()
	_, a, b, row := joined(t, true)
	if err := a.set("key", 100); err != nil {
		t.Fatal(err)
	}
	await(t, "all at the member", func() bool { return alike(a, b) })
	row.Epoch, row.Unclean = 3, processes(b) // raft knows of the damage before the primary asks
	time.Sleep(50 * time.Millisecond)
	forge(t, a, b, row)
	configure(t, row, a)
	time.Sleep(100 * time.Millisecond) // ticks, before the member has said anything
	if p := a.store.Shard(0).Role().Proposal(); p != nil {
		t.Fatalf("the primary proposes %+v by what the member had acknowledged before", *p)
	}
	configure(t, row, b)
	a.proposal(replica.Shrink, b.self)
	row.Epoch, row.ISR, row.Learners, row.Unclean = 4, processes(a), processes(b), nil
	configure(t, row, a, b)
	a.proposal(replica.Expand, b.self)
	if installs := a.repl.stats.Installs.Load(); installs != 1 {
		t.Errorf("%d whole copies were sent", installs)
	}
}

// A member that must install a whole copy says so again when its first answer is lost and nothing is appended.
func TestMemberSaysAgainThatItMustInstall(t *testing.T) {
	t.Parallel()
	_, a, b, row := joined(t, true)
	if err := a.set("key", 100); err != nil {
		t.Fatal(err)
	}
	await(t, "all at the member", func() bool { return alike(a, b) })
	row.Epoch++
	forge(t, a, b, row)
	a.proposal(replica.Shrink, b.self)
}

// forge makes a member differ, tells it so, and loses its answer.
func forge(t *testing.T, a, b *testNode, row replica.Config) {
	t.Helper()
	source := shard.Source{From: a.self, Epoch: row.Epoch - 1, Leader: row.LeaderEpoch}
	d := b.store.Shard(0).Primary().NewestDigest()
	d.Sum++
	if answer := b.store.Shard(0).Member().Compare(&source, d); answer.Kind != shard.Synchronize {
		t.Fatalf("%+v of %+v", answer, d)
	}
}

// A member that is restarted with all that its primary has learns what of it is committed, although nothing more is written.
func TestRestartedMemberLearnsTheCommitIndex(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	mem := vfs.NewMem()
	a, b := startNode(t, n, "a", 1, vfs.NewMem()), startNode(t, n, "b", 1, mem)
	row := join(t, a, b)
	if err := a.set("key", 100); err != nil {
		t.Fatal(err)
	}
	b.end()
	b = startNode(t, n, "b", 2, mem)
	row.Epoch, row.ISR = 3, processes(a, b)
	configure(t, row, a, b)
	if b.newest() != a.newest() {
		t.Fatalf("the member has %d of %d", b.newest(), a.newest())
	}
	await(t, "all is visible at the member", func() bool { return alike(a, b) && b.has("key", 100) })
}
