package replication

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
)

// fakeTime is a clock that only sleeping moves.
type fakeTime struct {
	mu  sync.Mutex
	now time.Time
}

func (f *fakeTime) time() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fakeTime) sleep(_ context.Context, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// on makes a node wait by this clock.
func (f *fakeTime) on(m *moveRate) { m.now, m.sleep = f.time, f.sleep }

// The bytes that are sent keep to the rate, a second's bytes may come at once, and another rate counts at once.
func TestMoveRate(t *testing.T) {
	t.Parallel()
	clock := &fakeTime{now: time.Unix(1000, 0)}
	rate := int64(0)
	m := newMoveRate(func() int64 { return rate })
	clock.on(m)
	took := func(n, times int) time.Duration {
		before := clock.time()
		for range times {
			m.spend(t.Context(), n)
		}
		return clock.time().Sub(before)
	}
	about := func(when string, got, want time.Duration) {
		t.Helper()
		if got < want-want/50 || got > want+want/50+time.Millisecond {
			t.Errorf("%s it took %v, want %v", when, got, want)
		}
	}
	about("without a limit", took(1<<20, 1000), 0)
	rate = 1 << 20
	about("with a limit", took(64<<10, 160), 10*time.Second)
	clock.sleep(t.Context(), time.Minute)
	about("after a pause, of which a second counts", took(64<<10, 32), time.Second)
	rate = 4 << 20
	about("at a higher rate", took(1<<20, 20), 5*time.Second)
	m.charge(1 << 30)
	about("after much for which no one waited", took(0, 1), rateDebt*time.Second)
	m.charge(8 << 20)
	rate = 0
	about("when the limit is taken off", took(1<<20, 100), 0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	rate = 1
	if m.charge(1000); m.spend(ended, 1000) {
		t.Error("a transfer that has ended waits")
	}
}

// Several who send share the rate.
func TestMoveRateIsShared(t *testing.T) {
	t.Parallel()
	clock := &fakeTime{now: time.Unix(1000, 0)}
	m := newMoveRate(func() int64 { return 1 << 20 })
	clock.on(m)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 40 {
				m.spend(t.Context(), 64<<10)
			}
		})
	}
	all.Wait()
	// each that sleeps moves the clock, so the clock says only that it took no less
	if took := clock.time().Sub(time.Unix(1000, 0)); took < 9*time.Second {
		t.Errorf("10 MiB took %v", took)
	}
}

// A catch-up of a learner, by a whole copy and by the log, with large values, spends a token for each byte, and waits for them. A member
// of the ISR spends none.
func TestCatchUpsKeepToTheMoveRate(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n := newNetwork()
		a, b := startNode(t, n, "a", 1, newFolder(logged)), startNode(t, n, "b", 1, newFolder(logged))
		clock := &fakeTime{now: time.Unix(1000, 0)}
		clock.on(a.repl.moves)
		row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
		configure(t, row, a, b)
		bytes := int64(0)
		for i, size := range []int{3 << 20, 100 << 10, 600 << 10} {
			for j := range 4 {
				if err := a.set(fmt.Sprint("k-", i, "-", j), size); err != nil {
					t.Fatal(err)
				}
				bytes += int64(size)
			}
		}
		const rate = 2 << 20
		a.rate.Store(rate)
		before := a.repl.stats.BytesOut.Load()
		row.Learners = processes(b)
		configure(t, row, a, b)
		a.proposal(replica.Expand, b.self)
		sent := a.repl.stats.BytesOut.Load() - before
		spent := func() int64 {
			a.repl.moves.mu.Lock()
			defer a.repl.moves.mu.Unlock()
			return a.repl.moves.spent
		}
		tokens := spent()
		if tokens < bytes || tokens > sent {
			t.Errorf("%d bytes were spent for %d of values and %d on the wire", tokens, bytes, sent)
		}
		granted := int64(clock.time().Sub(time.Unix(1000, 0)).Seconds() * rate)
		if tokens > granted+2*rate || tokens < granted-rate/2 {
			t.Errorf("%d bytes were spent, and there were tokens for %d", tokens, granted)
		}
		row.Epoch, row.ISR, row.Learners = 2, processes(a, b), nil
		configure(t, row, a, b)
		for i := range 3 {
			if err := a.set(fmt.Sprint("isr-", i), 3<<20); err != nil {
				t.Fatal(err)
			}
		}
		if now := spent(); now != tokens {
			t.Errorf("a member of the ISR has spent %d", now-tokens)
		}
	})
}

// What a catch-up has sent is shown while it lasts, and begins anew with the next.
func TestSends(t *testing.T) {
	t.Parallel()
	bothKinds(t, func(t *testing.T, logged bool) {
		n := newNetwork()
		a, b := startNode(t, n, "a", 1, newFolder(logged)), startNode(t, n, "b", 1, newFolder(logged))
		row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
		configure(t, row, a, b)
		for i := range 30 {
			if err := a.set(fmt.Sprint("k-", i), 200_000); err != nil {
				t.Fatal(err)
			}
		}
		a.rate.Store(minRate) // it waits after what it has sent
		row.Learners = processes(b)
		configure(t, row, a, b)
		await(t, "a part has been sent", func() bool {
			sends := a.repl.Sends()
			return len(sends) == 1 && sends[0].Shard == 0 && sends[0].To == b.self && sends[0].Done > 0
		})
		if done := a.repl.Sends()[0].Done; done > 4_000_000 {
			t.Errorf("%d bytes were sent at once", done)
		}
		a.rate.Store(0)
		a.proposal(replica.Expand, b.self)
		await(t, "nothing is on its way", func() bool { return len(a.repl.Sends()) == 0 })
		n.isolate("b", true)
		await(t, "the copy waits for the node", func() bool { return len(a.repl.Sends()) == 1 })
		n.isolate("b", false)
		await(t, "nothing is on its way", func() bool { return len(a.repl.Sends()) == 0 })
		row.Epoch, row.ISR, row.Learners = 2, processes(a, b), nil
		configure(t, row, a, b)
		n.isolate("b", true)
		await(t, "the member is not connected", func() bool { return len(a.repl.Peers()) == 1 && !a.repl.Peers()[0].Linked })
		if sends := a.repl.Sends(); len(sends) != 0 {
			t.Errorf("a member of the ISR counts as a learner: %+v", sends)
		}
		n.isolate("b", false)
	})
}

// minRate is a rate at which much takes long.
const minRate = 100_000

// Writers that are faster than move-rate lets a learner be keep no log for it: what the log removes meanwhile comes by a whole copy.
func TestASlowLearnerKeepsNoLog(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, newFolder(true))
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a, b)
	for i := range 50 {
		if err := a.set(fmt.Sprint("k-", i), 100_000); err != nil {
			t.Fatal(err)
		}
	}
	cursor, err := a.store.Shard(0).Primary().ReadFrom(1)
	if err != nil {
		t.Fatal(err)
	}
	defer cursor.Close()
	if _, err := cursor.Next(); err != nil {
		t.Fatal(err)
	}
	a.rate.Store(minRate)
	c := &catchUp{p: newPeer(a.repl, b.self), s: &stream{}}
	now := time.Now()
	if c.lag.note(now, 0, 0) || c.lag.note(now.Add(time.Second), 10, 100) {
		t.Error("a catch-up is found to lag at once")
	}
	if !c.lag.note(now.Add(lagTime), 10, 100) || c.lag.note(now.Add(lagTime+time.Second), 20, 200) || !c.lag.note(now.Add(2*lagTime), 20, 200) || c.lag.note(now.Add(3*lagTime), 200, 210) {
		t.Error("a catch-up that lags is not found every two seconds")
	}
	c.letGo(cursor)
	if !c.slow {
		t.Error("that it lags was not logged")
	}
	if _, err := cursor.Next(); err != nil {
		t.Errorf("what the log still has cannot be read: %v", err)
	}
}
