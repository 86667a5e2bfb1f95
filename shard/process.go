package shard

import (
	"sync/atomic"

	"github.com/ndring/ndring/internal/boottime"
	"github.com/ndring/ndring/replica"
)

// process is what a store knows of its process: its name in the rows of shards, and its own time.
type process struct {
	self       replica.Process
	wall       Clock                     // the system's
	mono       func() int64              // Monotonic
	ticks      atomic.Uint64             // so far
	noted      atomic.Int64              // Unix time in ms: the greatest that a copy has in its log or snapshot
	floor      atomic.Pointer[timeFloor] // nil unless the clock is behind
	replicator Replicator                // nil for none
	repairs    repairs
	uploads    atomic.Uint64 // ids given to values that travel by themselves
	copies     atomic.Pointer[CopyConfig]
	feed       Feed
}

// timeFloor is a time below which the clock of the store never falls while the system's is behind: the greatest that its
// copies have, and half of what has passed since that was noticed, so that the clock catches up.
type timeFloor struct {
	time  int64 // Unix time in ms
	since int64 // Monotonic
}

func (p *process) init(wall Clock) {
	p.self, p.wall = replica.Process{Node: "local"}, wall
	p.mono = boottime.Now
	p.copies.Store(&DefaultCopyConfig)
	p.feed.added = make(chan struct{}, 1)
}

// Feed returns what tells of the keys that change.
func (p *process) Feed() *Feed { return &p.feed }

// UseMonotonic replaces the clock of Monotonic, by default boottime's. Call it before the store is used.
func (p *process) UseMonotonic(clock func() int64) { p.mono = clock }

// Identify names this process as the rows of shards do. Call it before the first Role.Configure.
func (p *process) Identify(self replica.Process) { p.self = self }

// Monotonic returns a time in nanoseconds that never goes back. Role.Tick takes it.
func (p *process) Monotonic() int64 { return p.mono() }

// milliseconds is Monotonic in ms.
func (p *process) milliseconds() int64 {
	if flawed("requestWallClock") {
		return p.wall()
	}
	return p.mono() / 1e6
}

// now returns the Unix time in ms by which the store hides expired keys. A copy's time never falls below the
// greatest in its log and snapshot: otherwise a key that readers have seen expire would come back when the
// clock was ahead and has been set right since. And what is written after that, with a deadline that counts from the
// clock, would be hidden by the next start, which goes on from the greatest time.
func (p *process) now() int64 {
	now := p.wall()
	if flawed("localClock") {
		return now
	}
	if p.floor.Load() == nil && now >= p.noted.Load() {
		return now
	}
	return p.raise(now)
}

// raise returns the time for a clock that is, or was, behind the greatest time that a copy has.
func (p *process) raise(now int64) int64 {
	for {
		f := p.floor.Load()
		if f == nil { // the clock has just been set back
			p.floor.CompareAndSwap(nil, &timeFloor{p.noted.Load(), p.mono()})
			continue
		}
		least := max(f.time+(p.mono()-f.since)/2e6, p.noted.Load())
		if now < least {
			return least
		}
		p.floor.CompareAndSwap(f, nil) // the clock has caught up
		return now
	}
}

// note takes note of a time that a copy has in its log or snapshot.
func (p *process) note(time int64) {
	for noted := p.noted.Load(); time > noted && !p.noted.CompareAndSwap(noted, time); noted = p.noted.Load() {
	}
}

// CountTick counts a tick of 25 ms and returns its number. A process that does not run counts none.
func (p *process) CountTick() uint64 { return p.ticks.Add(1) }

// nextUpload returns the id of another upload.
func (p *process) nextUpload() uint64 { return p.uploads.Add(1) }
