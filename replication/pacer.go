package replication

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// limiter bounds how many bytes a second the catch-ups of a node send to learners, all together.
type limiter struct {
	rate func() int64 // bytes a second; 0 for no limit

	mu   sync.Mutex // guards free
	free time.Time  // when what was sent so far is paid for
}

// limitedPiece is how many bytes a catch-up sends at once while there is a limit. The wait after it, times the number of catch-ups, must be
// shorter than bulkStall, however low the limit is: the member would take the connection for dead.
const limitedPiece = 64 << 10

// piece returns how many bytes a catch-up may send on a bulk connection before it asks how long to wait.
func (l *limiter) piece() int {
	if l.rate() > 0 {
		return limitedPiece
	}
	return bulkPiece
}

// wait returns how long a catch-up that has sent so many bytes waits, so that the rate is kept. It may send for a moment without a wait after
// none has sent anything.
func (l *limiter) wait(now time.Time, sent int) time.Duration {
	rate := l.rate()
	if rate <= 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(sent) / float64(rate) * float64(time.Second)))
	return l.free.Sub(now)
}

// pacer makes the catch-ups of a node leave time to its clients. Without it they would take as much of processors, disks and network
// as they get, and a client's write would cost several times as much until all copies are in the ISR again.
type pacer struct {
	requests func() int64 // of clients, so far
	active   atomic.Int64 // catch-ups under way

	mu   sync.Mutex // guards all below
	at   time.Time  // when requests was last looked at
	seen int64      // what it returned
	busy bool
}

// A catch-up that is paced rests so many times as long as it worked, times the number of those under way: together they work about a
// fifth of the time. Most of the work is the member's, which this node does not see. So it also rests until all of them together have sent
// about busyBytes a second. A shard that has another copy in sync, as a moving shard does, can wait:
// its catch-up works a sixteenth of the time and sends a quarter as much. Each rests for restMost at most, and after it has worked for workLeast or sent sentLeast.
const (
	restFactor = 4
	moveFactor = 15
	moveShare  = 4 // of busyBytes
	restMost   = 250 * time.Millisecond
	workLeast  = 2 * time.Millisecond
	sentLeast  = 256 << 10
)

// busyBytes is how many bytes a second the catch-ups of a node may send while clients are busy. A node with more processors, which
// are likely those of the others as well, sends more.
func busyBytes() float64 { return 16 << 20 * float64(runtime.GOMAXPROCS(0)) }

// Clients count as busy from busyRate requests a second on, which is looked at each rateTime.
const (
	busyRate = 100
	rateTime = 100 * time.Millisecond
)

// clientsBusy reports whether clients are busy.
func (p *pacer) clientsBusy(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed := now.Sub(p.at); passed >= rateTime {
		came := p.requests()
		p.busy = float64(came-p.seen) >= busyRate*passed.Seconds()
		p.at, p.seen = now, came
	}
	return p.busy
}

// reset begins to look at the rate of requests.
func (p *pacer) reset(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.seen, p.busy = now, p.requests(), false
}

// pace is one catch-up, as the pacer sees it.
type pace struct {
	pacer *pacer
	safe  bool      // its shard has another copy in sync
	since time.Time // when it began to work
	sent  int64     // bytes since then
}

// begin notes that a catch-up begins. The catch-up calls end when it is done.
func (p *pacer) begin(now time.Time) *pace {
	if p.active.Add(1) == 1 {
		p.reset(now)
	}
	a := &pace{pacer: p}
	a.work(now)
	return a
}

func (a *pace) end() { a.pacer.active.Add(-1) }

// work notes that the catch-up works from now on.
func (a *pace) work(now time.Time) {
	a.since, a.sent = now, 0
}

// rest returns how long the catch-up should rest now; 0 for not at all.
func (a *pace) rest(now time.Time) time.Duration {
	worked := now.Sub(a.since)
	if worked < workLeast && a.sent < sentLeast {
		return 0
	}
	if !a.pacer.clientsBusy(now) {
		a.work(now)
		return 0
	}
	factor, active, rate := restFactor, a.pacer.active.Load(), busyBytes()
	if a.safe {
		factor, rate = moveFactor, rate/moveShare
	}
	sending := time.Duration(float64(a.sent*active) / rate * float64(time.Second))
	return min(max(time.Duration(int64(factor)*active)*worked, sending-worked), restMost)
}

// waited notes that the catch-up has waited for something else. That was no work, but a rest.
func (a *pace) waited(d time.Duration) { a.since = a.since.Add(d) }

// yield lets the catch-up rest if it should, after it has sent so many bytes.
func (a *pace) yield(ctx context.Context, sent int) {
	a.sent += int64(sent)
	if d := a.rest(time.Now()); d > 0 {
		pause(ctx, d)
		a.work(time.Now())
	}
}

// lag watches how far a catch-up is behind.
type lag struct {
	grows          bool // a catch-up that rested would never end
	at             time.Time
	sent, appended int64
}

// lagTime is how long a catch-up has to come nearer to its end.
const lagTime = 2 * time.Second

// note notes how many bytes of records a catch-up has sent so far, and how many its shard has appended. It reports whether it has just
// found that the catch-up has come no nearer to its end.
func (l *lag) note(now time.Time, sent, appended int64) (found bool) {
	switch {
	case l.at.IsZero():
	case now.Sub(l.at) < lagTime:
		return false
	default:
		found = appended-l.appended >= sent-l.sent
		l.grows = found
	}
	l.at, l.sent, l.appended = now, sent, appended
	return found
}
