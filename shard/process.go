package shard

import (
	"sync/atomic"

	"github.com/ndring/ndring/internal/boottime"
	"github.com/ndring/ndring/replica"
)

// process is what a store knows of its process: its name in the rows of shards, and its own time.
type process struct {
	self  replica.Process
	mono  func() int64  // Monotonic, unless a test replaces it
	ticks atomic.Uint64 // so far
}

func (p *process) init() {
	p.self = replica.Process{Node: "local"}
	p.mono = boottime.Now
}

// Identify names this process as the rows of shards do. Call it before the first Role.Configure.
func (p *process) Identify(self replica.Process) { p.self = self }

// Monotonic returns a time in nanoseconds that never goes back. Role.Tick takes it.
func (p *process) Monotonic() int64 { return p.mono() }

// CountTick counts a tick of 25 ms and returns its number. A process that does not run counts none.
func (p *process) CountTick() uint64 { return p.ticks.Add(1) }
