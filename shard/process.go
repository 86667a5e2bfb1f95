package shard

import (
	"sync/atomic"

	"github.com/ndring/ndring/internal/boottime"
	"github.com/ndring/ndring/replica"
)

// process is what a store knows of its process: its name in the rows of shards, and its own time.
type process struct {
	self       replica.Process
	wall       Clock         // the system's
	mono       func() int64  // Monotonic, unless a test replaces it
	ticks      atomic.Uint64 // so far
	floor      atomic.Pointer[timeFloor]
	replicator Replicator // nil for none
}

// timeFloor is a time below which the clock of the store never falls: the greatest that its copies on disk
// have seen, and what has passed since.
type timeFloor struct {
	time  int64 // Unix time in ms
	since int64 // Monotonic
}

func (p *process) init(wall Clock) {
	p.self, p.wall = replica.Process{Node: "local"}, wall
	p.mono = boottime.Now
}

// Identify names this process as the rows of shards do. Call it before the first Role.Configure.
func (p *process) Identify(self replica.Process) { p.self = self }

// Monotonic returns a time in nanoseconds that never goes back. Role.Tick takes it.
func (p *process) Monotonic() int64 { return p.mono() }

// milliseconds is Monotonic in ms.
func (p *process) milliseconds() int64 { return p.mono() / 1e6 }

// now returns the Unix time in ms by which the store hides expired keys. A copy's time never falls below the
// greatest in its log and snapshot: otherwise a key that readers have seen expire would come back when the
// clock was ahead and has been set right since.
func (p *process) now() int64 {
	now := p.wall()
	if f := p.floor.Load(); f != nil {
		return max(now, f.time+(p.mono()-f.since)/1e6)
	}
	return now
}

// notBefore takes note of a time that a copy on disk has seen, and returns by how many ms the clock is behind it.
func (p *process) notBefore(time int64) (behind int64) {
	for {
		behind = time - p.wall()
		f := p.floor.Load()
		if behind <= 0 || f != nil && f.time+(p.mono()-f.since)/1e6 >= time {
			return behind
		}
		if p.floor.CompareAndSwap(f, &timeFloor{time, p.mono()}) {
			return behind
		}
	}
}

// CountTick counts a tick of 25 ms and returns its number. A process that does not run counts none.
func (p *process) CountTick() uint64 { return p.ticks.Add(1) }
