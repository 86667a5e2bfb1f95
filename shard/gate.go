package shard

import (
	"sync"
	"sync/atomic"
)

// gate admits commands to a shard while this node serves it. Every command enters it, so entering is
// one atomic addition to a counter; only close waits. The counter shares its cache line only with what each
// command looks at next.
type gate struct {
	_      [64]byte
	state  atomic.Int64  // commands inside, plus closedBit while the gate is closed
	leader atomic.Uint64 // LeaderEpoch; it changes only while the gate is closed
	alone  atomic.Bool   // Alone; it changes under writer.mu and index.mu
	told   atomic.Bool   // those who keep values hear of changes: from open until close has told them that any may have changed
	_      [40]byte

	feed *Feed         // told when the gate turns
	left chan struct{} // has a token when the last command may have left a closed gate

	waiting sync.Mutex    // guards opened
	opened  chan struct{} // closed when the gate opens; nil while no one waits
}

// closedBit closes the gate.
const closedBit = 1 << 62

func (g *gate) init(feed *Feed) {
	g.feed = feed
	g.left = make(chan struct{}, 1)
	g.state.Store(closedBit)
}

// Alone reports whether what this shard appends is committed at once, because no other copy has to
// acknowledge it. Then reads need no lease.
func (g *gate) Alone() bool { return g.alone.Load() }

// LeaderEpoch returns the epoch in which this node last became the shard's primary. Like Epoch, it does not
// change between Acquire and Release; unlike Epoch, it stays when the ISR alone changes.
func (g *gate) LeaderEpoch() uint64 { return g.leader.Load() }

func (g *gate) isOpen() bool { return g.state.Load()&closedBit == 0 }

// enter reports whether the caller is inside. If so, it must leave.
func (g *gate) enter() bool {
	if g.state.Load()&closedBit != 0 { // rejected commands must not keep the counter from reaching zero
		return false
	}
	if g.state.Add(1)&closedBit != 0 {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.state.Add(-1) == closedBit {
		select {
		case g.left <- struct{}{}:
		default: // one token is enough: close looks again
		}
	}
}

// close closes the gate and returns when the last command has left. The caller holds Role.mu.
//
// Another node may soon change what these commands have read, and this one may not hear of it.
func (g *gate) close() {
	before := g.state.Or(closedBit)
	for g.state.Load() != closedBit {
		<-g.left
	}
	if before&closedBit == 0 {
		g.feed.changedAll()
		g.told.Store(false)
	}
}

// open opens the gate and wakes those who wait for that. The caller holds Role.mu.
//
// The node that served the shard before may be gone without a word to its clients; they hear of it here.
func (g *gate) open() {
	g.told.Store(true)
	g.state.And(^int64(closedBit))
	g.feed.changedAll()
	g.waiting.Lock()
	defer g.waiting.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// whenOpen returns a channel that is closed when the gate next opens.
func (g *gate) whenOpen() <-chan struct{} {
	g.waiting.Lock()
	defer g.waiting.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	return g.opened
}
