package shard

import (
	"errors"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
)

// put sets the key with a concern.
func (p *pair) put(c Concern) (Future, error) {
	_, f, err := p.sh.Set(Write{Key: []byte(asked), Value: p.text("v"), Concern: c})
	return f, err
}

// A write with the concern ONE is complete before the other copy has it, and one with SYNC is not. The concern of the
// store holds for writes that name none.
func TestConcernOneDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		usual, named Concern
		done         bool
	}{
		{ConcernSync, ConcernOne, true}, {ConcernSync, ConcernDefault, false}, {ConcernSync, ConcernAll, false},
		{ConcernOne, ConcernDefault, true}, {ConcernOne, ConcernSync, false},
	} {
		p := newPair(t, true)
		p.configureCopies(func(c *CopyConfig) { c.Write = of.usual })
		f, err := p.put(of.named)
		must(t, 0, err)
		if done, err := f.Done(); done != of.done || err != nil {
			t.Errorf("%v where %v is usual: done %v, %v", of.named, of.usual, done, err)
		}
		if p.has(asked) {
			t.Error("readers see what is not committed")
		}
		p.ack(p.newest())
		if done, err := f.Done(); !done || err != nil || !p.has(asked) {
			t.Errorf("%v, once it is acknowledged: done %v, %v", of.named, done, err)
		}
		p.end()
	}
}

// A transaction has the strongest concern of its changes.
func TestTransactionHasTheStrongestConcern(t *testing.T) {
	t.Parallel()
	p := newPair(t, true)
	defer p.end()
	for _, second := range []Concern{ConcernOne, ConcernDefault} {
		f, err := p.sh.Update(true, func(tx *Tx) {
			for _, c := range []Concern{second, ConcernOne} {
				if _, err := tx.Set(Write{Key: []byte(asked), Value: p.text("v"), Concern: c}); err != nil {
					t.Error(err)
				}
			}
		})
		must(t, 0, err)
		if done, _ := f.Done(); done != (second == ConcernOne) {
			t.Errorf("with %v: done %v", second, done)
		}
	}
	p.ack(p.newest())
}

// The ISR shrinks between the append and the commit: the write is done, and the client learns that too few copies have it.
// Writes before and after, with enough copies, are not affected.
func TestTooFewReplicasAtTheCommit(t *testing.T) {
	t.Parallel()
	for _, concern := range []Concern{ConcernSync, ConcernAll} {
		p := newPair(t, true)
		p.row.Assigned = []replica.Process{here, there}
		p.goOn(here, there)
		if concern == ConcernSync {
			p.configureCopies(func(c *CopyConfig) { c.MinInSync = 2 })
		}
		before, err := p.put(concern)
		must(t, 0, err)
		p.ack(p.newest())
		thin, err := p.put(concern)
		must(t, 0, err)
		one, err := p.put(ConcernOne)
		must(t, 0, err)
		p.goOn(here)
		end := p.newest()
		if _, err := p.put(concern); !errors.Is(err, ErrNoReplicas) || p.newest() != end {
			t.Errorf("%v with one copy: %v", concern, err)
		}
		if _, err := p.put(ConcernOne); err != nil {
			t.Errorf("ONE with one copy: %v", err)
		}
		p.goOn(here, there)
		p.ack(p.newest())
		after, err := p.put(concern)
		must(t, 0, err)
		p.ack(p.newest())
		for name, f := range map[string]Future{"before": before, "ONE": one, "after": after} {
			if done, err := f.Done(); !done || err != nil {
				t.Errorf("%v, %s: done %v, %v", concern, name, done, err)
			}
		}
		if done, err := thin.Done(); !done || !errors.Is(err, ErrUncertain) || !errors.Is(thin.Wait(t.Context()), ErrUncertain) {
			t.Errorf("%v, committed by one copy: done %v, %v", concern, done, err)
		}
		p.end()
	}
}

// ALL needs the assigned nodes, not any so many, and each of them clean.
func TestConcernAllNeedsTheAssignedNodes(t *testing.T) {
	t.Parallel()
	third := replica.Process{Node: "third", Incarnation: 1}
	p := newPair(t, false)
	defer p.end()
	for _, of := range []struct {
		name              string
		assigned, unclean []replica.Process
		ok                bool
	}{
		{"all are in the ISR", []replica.Process{here, there}, nil, true},
		{"unknown", nil, nil, true},
		{"one is not in the ISR", []replica.Process{here, third}, nil, false},
		{"one is unclean", []replica.Process{here, there}, []replica.Process{there}, false},
		{"a former process is in the ISR", []replica.Process{here, {Node: "there", Incarnation: 2}}, nil, false},
	} {
		p.row.Assigned, p.row.Unclean = of.assigned, of.unclean
		p.goOn(here, there)
		_, err := p.put(ConcernAll)
		if of.ok && err != nil || !of.ok && !errors.Is(err, ErrNoReplicas) {
			t.Errorf("%s: %v", of.name, err)
		}
		if _, err := p.put(ConcernSync); err != nil {
			t.Errorf("SYNC, %s: %v", of.name, err)
		}
		p.ack(p.newest())
	}
}

// With read-concern sync an answer waits for a heartbeat that left after the look-up, whatever the lease says.
func TestSyncReadsNeedARound(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	copies := p.sh.Copies()
	p.replicator.heard = p.Monotonic()
	if asked := copies.AskISR(); asked != 0 || !copies.Answers(asked, p.Monotonic()) || p.replicator.rounds != 0 {
		t.Error("the lease does not answer")
	}
	p.configureCopies(func(c *CopyConfig) { c.SyncReads = true })
	asked := copies.AskISR()
	if copies.Answers(asked, p.Monotonic()) || p.replicator.rounds != 1 {
		t.Errorf("answered by a heartbeat of before the look-up; %d rounds", p.replicator.rounds)
	}
	p.now += 60_000 // the lease is long over when the acknowledgement is looked at
	p.replicator.heard = asked + 1
	if !copies.Answers(asked, p.Monotonic()) {
		t.Error("not answered after the round")
	}
	p.goOn(here)
	if !copies.Answers(copies.AskISR(), p.Monotonic()) {
		t.Error("a primary that is alone needs a round")
	}
}

// A copy answers reads only while it is a member and fresh.
func TestFreshAt(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	fresh := func() bool {
		_, ok := p.sh.Copies().FreshAt(p.Monotonic())
		return ok
	}
	freshen := func() {
		t.Helper()
		p.truncate(p.newest())
		p.sh.Member().Freshen(&Source{there, p.row.Epoch, p.row.LeaderEpoch}, p.sh.commitIndex(), p.Monotonic())
		if at, ok := p.sh.Copies().FreshAt(p.Monotonic()); !ok || at != p.Monotonic() {
			t.Errorf("fresh at %d: %v", at, ok)
		}
	}
	if fresh() {
		t.Error("a primary is a fresh copy")
	}
	p.depose()
	if fresh() {
		t.Error("fresh before the primary said so")
	}
	freshen()
	p.now += time.Second.Milliseconds()
	if !fresh() {
		t.Error("stale within the bound")
	}
	p.now++
	if fresh() {
		t.Error("fresh beyond the bound")
	}
	freshen()
	p.row.Epoch++
	p.row.ISR = []replica.Process{there}
	must(t, 0, p.sh.Role().Configure(p.row))
	if fresh() {
		t.Error("fresh outside the row")
	}
}

// Copies are counted that have a change, learners too, while this process is the primary of its leader epoch.
func TestAcknowledged(t *testing.T) {
	t.Parallel()
	p := newPair(t, false)
	defer p.end()
	f, err := p.put(ConcernOne)
	must(t, 0, err)
	leader, seq := f.Change()
	check := func(want int, leads bool) {
		t.Helper()
		if n, ok := p.sh.Copies().Acknowledged(leader, seq); n != want || ok != leads {
			t.Errorf("%d copies have %d-%d, %v", n, leader, seq, ok)
		}
	}
	if seq != p.newest() {
		t.Errorf("the change is %d, the newest %d", seq, p.newest())
	}
	check(0, true)
	p.ack(seq - 1)
	check(0, true)
	p.ack(seq)
	check(1, true)
	p.row.Learners = []replica.Process{{Node: "third", Incarnation: 1}}
	p.goOn(here, there)
	check(1, true)
	p.depose()
	check(0, false)
}
