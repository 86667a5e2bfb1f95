package replication

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// pacer makes the catch-ups of a node leave time to its clients. Without it they would take as much of processors, disks and network
// as they get, and a client's write would cost several times as much until all copies are in the ISR again.
type pacer struct {
	requests func() int64 // of clients, so far
	active   atomic.Int64 // catch-ups under way
}

// A catch-up that is paced rests so many times as long as it worked, times the number of those under way: together they work at most a
// fifth of the time. Most of the work is the member's, which this node does not see. So it also rests until all of them together have sent
// no more than busyBytes a second. It rests for restMost at most, and after it has worked for workLeast or sent sentLeast.
const (
	restFactor = 4
	restMost   = 250 * time.Millisecond
	workLeast  = 2 * time.Millisecond
	sentLeast  = 256 << 10
)

// busyBytes is how many bytes a second the catch-ups of a node may send while clients are busy. A node with more processors, which
// are likely those of the others as well, sends more.
func busyBytes() float64 { return 16 << 20 * float64(runtime.GOMAXPROCS(0)) }

// busyRate is the number of requests a second from which on clients count as busy.
const busyRate = 100

// pace is one catch-up, as the pacer sees it.
type pace struct {
	pacer    *pacer
	since    time.Time // when it began to work
	requests int64     // so many had come then
	sent     int64     // bytes since then
}

// begin notes that a catch-up begins. It calls end when it has ended.
func (p *pacer) begin(now time.Time) *pace {
	p.active.Add(1)
	a := &pace{pacer: p}
	a.work(now)
	return a
}

func (a *pace) end() { a.pacer.active.Add(-1) }

// work notes that the catch-up works from now on.
func (a *pace) work(now time.Time) {
	a.since, a.requests, a.sent = now, a.pacer.requests(), 0
}

// rest returns how long the catch-up should rest now; 0 for not at all.
func (a *pace) rest(now time.Time) time.Duration {
	worked := now.Sub(a.since)
	if worked < workLeast && a.sent < sentLeast {
		return 0
	}
	if came := a.pacer.requests() - a.requests; float64(came) < busyRate*worked.Seconds()+1 {
		a.work(now)
		return 0
	}
	active := a.pacer.active.Load()
	sending := time.Duration(float64(a.sent*active) / busyBytes() * float64(time.Second))
	return min(max(restFactor*time.Duration(active)*worked, sending-worked), restMost)
}

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

// note notes how many bytes of records a catch-up has sent so far, and how many its shard has appended.
func (l *lag) note(now time.Time, sent, appended int64) {
	switch {
	case l.at.IsZero():
	case now.Sub(l.at) < lagTime:
		return
	default:
		l.grows = appended-l.appended >= sent-l.sent
	}
	l.at, l.sent, l.appended = now, sent, appended
}
