package shard

import (
	"fmt"
	"testing"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// A clock that was ahead and is set right must not bring back a key that readers have seen expire, whatever ended the
// process in between. The time goes on from there, at half the rate of the monotonic clock, until the clock has caught up.
func TestTimeNeverFalls(t *testing.T) {
	t.Parallel()
	for stop, end := range requestStops {
		for _, logged := range []bool{true, false} {
			if saved := stop == "stopped" || stop == "killed after a snapshot"; !logged && !saved {
				continue
			}
			name := fmt.Sprintf("%s, logged %v", stop, logged)
			mem := vfs.NewMem()
			start := func(now int64) *lab {
				l, err := openLabAt(t, mem, "a", FsyncEverysec, logged, now)
				must(t, l, err)
				l.context = t.Context()
				return l
			}
			l := start(1_000_000)
			l.put(asked, 10, 1_002_500)
			l.now = 1_003_000 // the clock is 3 seconds fast
			if l.has(asked) {
				t.Fatal("the key has not expired")
			}
			l.put(asked+"other", 10, 0) // the write after which the log knows this time
			end(l)
			l = start(1_000_100)
			if l.has(asked) || l.Now() < 1_003_000 {
				t.Errorf("%s: the time is %d, the expired key is there: %v", name, l.Now(), l.has(asked))
			}
			before := l.Now()
			l.now += 700
			if passed := l.Now() - before; passed != 350 {
				t.Errorf("%s: %d ms have passed, want 350", name, passed)
			}
			l.now += 10_000 // the clock overtakes
			if l.Now() != l.now || l.floor.Load() != nil {
				t.Errorf("%s: the time is %d by a clock that shows %d", name, l.Now(), l.now)
			}
			l.kill()
		}
	}
}

// The time does not fall within a process either. Otherwise the next start, which goes on from the greatest time, would hide
// what was written since the clock was set right.
func TestTimeNeverFallsInAProcess(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]func(*lab){
		"written": func(l *lab) { l.put(asked+"other", 10, 0) },
		"saved":   func(l *lab) { must(t, 0, l.of(asked).snapshots.write(true)) },
	} {
		mem := vfs.NewMem()
		l := mustLab(t, mem, FsyncEverysec)
		const ahead = 3_600_000
		l.put(asked, 10, l.now+ahead/2)
		l.put(asked+"kept", 10, 0)
		l.now += ahead
		if l.has(asked) {
			t.Fatal("the key has not expired")
		}
		jump(l)
		l.now -= ahead
		if l.has(asked) {
			t.Errorf("%s: an expired key is there again when the clock is set back", name)
		}
		l.now += noOpInterval
		l.put(asked+"later", 10, l.Now()+ahead/2)
		now := l.now
		l.kill()
		l, err := openLabAt(t, mem, "a", FsyncEverysec, true, now)
		must(t, l, err)
		if l.has(asked) || !l.has(asked+"kept") || !l.has(asked+"later") {
			t.Errorf("%s: after a start: expired %v, kept %v, written after the clock was set back %v", name, l.has(asked), l.has(asked+"kept"), l.has(asked+"later"))
		}
		l.kill()
	}
}

// A request lives by the monotonic clock: a wall clock that is set forward does not end it, and one that is set back does not
// prolong it.
func TestRequestsAgeByMonotonicTime(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]int64{"forward": 10 * requestLifetime, "back": -10 * requestLifetime} {
		f := newFixture(t)
		mono := int64(5e15)
		f.store.mono = func() int64 { return mono }
		f.now = 100 * requestLifetime
		first := f.set("k", "v", nx, requestID("1"))
		f.now += jump
		mono += (requestLifetime - 1) * 1e6
		expireRequests(f.store)
		if again := f.set("k", "v", nx, requestID("1")); again != first {
			t.Errorf("%s: a repeat just before its end got %v, the first attempt %v", name, again, first)
		}
		mono += 1e6
		expireRequests(f.store)
		if again := f.set("k", "v", nx, requestID("1")); again == first {
			t.Errorf("%s: the request outlives its age", name)
		}
	}
}

// The first change of a leader epoch takes a no-op along in the same write to the log, and then one follows each second while
// the shard is written to. Memory alone needs none.
func TestNoOps(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	sh := l.of(asked)
	if _, seq := sh.Newest(); seq != 0 {
		t.Errorf("a start has written %d records", seq)
	}
	for _, step := range []struct {
		passed int64
		seq    uint64
	}{{0, 2}, {0, 3}, {noOpInterval - 1, 4}, {1, 6}, {1, 7}, {5 * noOpInterval, 9}} {
		l.now += step.passed
		if v := l.put(asked, 10, 0); v.Seq != step.seq {
			t.Errorf("at %d the write has the seq %d, want %d", l.now, v.Seq, step.seq)
		}
	}
	at := sh.Epoch() + 1
	must(t, 0, sh.Role().Open(at, 0))
	if v := l.put(asked, 10, 0); v != (Version{at, 11}) {
		t.Errorf("the first write of a leader epoch is %v", v)
	}
	l.kill()
	d, err := persistence.Inspect(mem, "data", "a")
	must(t, 0, err)
	defer d.Close(false)
	report, err := d.Reader(sh.id).Read(NewInspection(l.now))
	if must(t, report, err); report.Time != l.now || report.Commit != 11 || report.HeldBack != 0 {
		t.Errorf("the log has the time %d and the commit index %d, %d records are held back", report.Time, report.Commit, report.HeldBack)
	}
	f := newFixture(t)
	f.set("k", "v")
	if _, seq := f.Newest(); seq != 1 {
		t.Errorf("without a log, the first write has the seq %d", seq)
	}
}
