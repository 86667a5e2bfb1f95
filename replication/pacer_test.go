package replication

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// While clients are busy, catch-ups together work at most an eighth of the time and send at most so many bytes. Without busy clients
// nothing limits them.
func TestCatchUpsLeaveTime(t *testing.T) {
	t.Parallel()
	var came int64
	p := pacer{requests: func() int64 { return came }}
	now := time.Now()
	one := p.begin(now)
	after := func(d time.Duration, requests, sent int64) time.Duration {
		now, came, one.sent = now.Add(d), came+requests, one.sent+sent
		return one.rest(now)
	}
	for _, step := range []struct {
		what           string
		takes          time.Duration
		requests, sent int64
		rests          time.Duration
	}{
		{"before the rate is known", rateTime - 1, 1000, 0, 0},
		{"once it is known", 1, 0, 0, 0}, // the work before has not counted
		{"after hardly any work", workLeast - 2, 0, sentLeast - 1, 0},
		{"after some work", 1, 0, 0, restFactor * workLeast},
		{"while one request comes", rateTime, 1, 0, 0},
		{"while some come", rateTime, 9, 0, 0},
		{"while many come", rateTime, 10, 0, restMost},
	} {
		if d := after(step.takes, step.requests, step.sent); d != step.rests {
			t.Errorf("%s, a catch-up rests for %v, not %v", step.what, d, step.rests)
		}
	}
	one.work(now)
	two := p.begin(now)
	if d := after(10*time.Millisecond, 0, 0); d != 2*10*restFactor*time.Millisecond {
		t.Errorf("one of two catch-ups rests for %v", d)
	}
	one.work(now)
	if d, most := after(time.Microsecond, 0, sentLeast), time.Duration(2*sentLeast*float64(time.Second)/busyBytes()); d != most-time.Microsecond {
		t.Errorf("one of two catch-ups that has sent %d bytes rests for %v, not until %v have passed", sentLeast, d, most)
	}
	one.work(now)
	one.waited(50 * time.Millisecond) // for move-rate
	if d := after(60*time.Millisecond, 100, 0); d != 2*10*restFactor*time.Millisecond {
		t.Errorf("one of two catch-ups that has waited most of the time rests for %v", d)
	}
	one.work(now)
	one.waited(50 * time.Millisecond) // for move-rate
	if d := after(60*time.Millisecond, 100, 0); d != 2*10*restFactor*time.Millisecond {
		t.Errorf("one of two catch-ups that has waited most of the time rests for %v", d)
	}
	one.safe = true // as in a move
	one.work(now)
	if d := after(5*time.Millisecond, 100, 0); d != 2*5*moveFactor*time.Millisecond {
		t.Errorf("a move beside a catch-up rests for %v", d)
	}
	one.work(now)
	if d, most := after(time.Microsecond, 100, sentLeast), time.Duration(2*sentLeast*float64(time.Second)/(busyBytes()/moveShare)); d != most-time.Microsecond {
		t.Errorf("a move that has sent %d bytes beside a catch-up rests for %v, not until %v have passed", sentLeast, d, most)
	}
	two.end()
	came = 0 // an operator resets the counters
	if d := after(rateTime, 0, sentLeast); d != 0 {
		t.Errorf("a catch-up rests for %v after a reset", d)
	}
}

// A catch-up that sends less than its shard appends is not paced until it sends more.
func TestACatchUpEnds(t *testing.T) {
	t.Parallel()
	var l lag
	now := time.Now()
	for i, step := range []struct {
		after          time.Duration
		sent, appended int64 // since the last look
		grows          bool
	}{{0, 10, 1000, false}, {lagTime / 2, 10, 100, false}, {lagTime / 2, 100, 9, false}, {lagTime, 100, 100, true}, {lagTime / 2, 500, 0, true}, {lagTime / 2, 500, 499, false}} {
		now = now.Add(step.after)
		if l.note(now, l.sent+step.sent, l.appended+step.appended); l.grows != step.grows {
			t.Errorf("step %d: grows is %v", i, l.grows)
		}
	}
}

// Catch-ups together keep to the rate, whatever each of them sends at once, and save up nothing while none sends.
func TestLimiter(t *testing.T) {
	rate := int64(0)
	l := limiter{rate: func() int64 { return rate }}
	at := time.Unix(1000, 0)
	if d := l.wait(at, 1<<30); d != 0 {
		t.Errorf("without a limit a catch-up waits %v", d)
	}
	rate = 1 << 20
	for i, sent := range []int{1 << 19, 1 << 19, 1 << 20} { // of several catch-ups at one time
		if d, want := l.wait(at, sent), []time.Duration{time.Second / 2, time.Second, 2 * time.Second}[i]; d != want {
			t.Errorf("the %dth waits %v, want %v", i, d, want)
		}
	}
	if d := l.wait(at.Add(time.Hour), 1<<20); d != time.Second {
		t.Errorf("after an hour's rest it waits %v", d)
	}
}

// Writers that are faster than move-rate lets a learner be keep no log for it: what the log removes meanwhile comes by a whole copy.
func TestASlowLearnerKeepsNoLog(t *testing.T) {
	t.Parallel()
	a := startNode(t, newNetwork(), "a", 1, newFolder(true))
	a.store.Open(t.Context())
	configure(t, replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}, a)
	for i := range 50 {
		if err := a.set(fmt.Sprint("k-", i), 100_000); err != nil {
			t.Fatal(err)
		}
	}
	rate := int64(0)
	a.repl.limiter.rate = func() int64 { return rate }
	s := &stream{}
	c := &catchUp{p: newPeer(a.repl, replica.Process{Node: "b", Incarnation: 1}), s: s}
	defer c.p.cancel()
	for i, step := range []struct {
		rate         int64
		inISR, bound bool
	}{{0, false, false}, {1 << 20, true, false}, {1 << 20, false, true}} {
		rate = step.rate
		if s.inISR.Store(step.inISR); c.bounded() != step.bound {
			t.Errorf("step %d: the catch-up is bounded: %v", i, !step.bound)
		}
	}
	now := time.Now()
	if c.lag.note(now, 0, 0) || c.lag.note(now.Add(time.Second), 10, 100) {
		t.Error("a catch-up is found to lag at once")
	}
	if !c.lag.note(now.Add(lagTime), 10, 100) || c.lag.note(now.Add(lagTime+time.Second), 20, 200) || !c.lag.note(now.Add(2*lagTime), 20, 200) || c.lag.note(now.Add(3*lagTime), 200, 210) {
		t.Error("a catch-up that lags is not found every two seconds")
	}
	for _, removed := range []bool{false, true} {
		cursor, err := a.store.Shard(0).Primary().ReadFrom(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cursor.Next(); err != nil {
			t.Fatal(err)
		}
		if c.letGo(cursor); !c.slow {
			t.Error("that it lags was not logged")
		}
		if removed {
			for range 2 { // the log keeps what follows the snapshot before the newest
				if err := a.store.Disk().Save(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := cursor.Next(); removed != errors.Is(err, shard.ErrNoHistory) {
			t.Errorf("the log has removed it: %v; the next read: %v", removed, err)
		}
		cursor.Close()
	}
}

// A catch-up notices by itself that its shard is written to faster than move-rate allows.
func TestACatchUpNoticesThatItIsTooSlow(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, newFolder(true))
	log := &syncBuffer{}
	a.repl.config.Log = slog.New(slog.NewTextHandler(log, nil))
	a.repl.limiter.rate = func() int64 { return 1 << 20 }
	row := replica.Config{Epoch: 1, LeaderEpoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a, b)
	write := func() {
		for i := range 20 {
			if err := a.set(fmt.Sprint("k-", i), 100_000); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	row.Learners = processes(b)
	configure(t, row, a, b)
	await(t, "the catch-up is found too slow", func() bool {
		write() // 2 MB, twice as fast at least
		time.Sleep(100 * time.Millisecond)
		return strings.Contains(log.String(), "faster than move-rate allows")
	})
}

// syncBuffer is a buffer that several goroutines use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// However low move-rate is, no catch-up waits between two pieces for so long that the member takes the connection for dead.
func TestLimitedPiecesAreShort(t *testing.T) {
	t.Parallel()
	rate := int64(0)
	l := limiter{rate: func() int64 { return rate }}
	if n := l.piece(); n != bulkPiece {
		t.Errorf("without a limit, a piece has %d bytes", n)
	}
	rate = 64 << 10 // the least that the setting takes
	longest, now := time.Duration(0), time.Unix(1000, 0)
	for range maxCatchUps {
		longest = max(longest, l.wait(now, l.piece()))
	}
	if longest > bulkStall/2 {
		t.Errorf("one of %d catch-ups waits %v, and the member %v for the next piece", maxCatchUps, longest, bulkStall)
	}
}
