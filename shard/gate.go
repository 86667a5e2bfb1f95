package shard

import (
	"sync"
	"sync/atomic"
)

// gate lets commands into a shard while this node serves it. Entering is on the way of every command, so it is one atomic addition to a counter that shares
// its cache line with nothing else; only who closes the gate waits.
type gate struct {
	_     [64]byte
	state atomic.Int64 // how many are inside; closedBit is added while the gate is closed
	_     [56]byte

	left chan struct{} // has a token when the last one may have left a closed gate

	waiting sync.Mutex    // guards opened
	opened  chan struct{} // closed when the gate opens; nil while nobody waits for that
}

// closedBit closes the gate.
const closedBit = 1 << 62

func (g *gate) init() {
	g.left = make(chan struct{}, 1)
	g.state.Store(closedBit)
}

func (g *gate) isOpen() bool { return g.state.Load()&closedBit == 0 }

// enter reports whether the caller is inside; then it must leave.
func (g *gate) enter() bool {
	if g.state.Load()&closedBit != 0 { // so that those who come in vain do not keep the counter from zero
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
		default: // one is enough: who closes looks again
		}
	}
}

// close returns when nobody is inside any more. Role.mu is held.
func (g *gate) close() {
	g.state.Or(closedBit)
	for g.state.Load() != closedBit {
		<-g.left
	}
}

// open lets in who comes from now on, and wakes those who wait for that. Role.mu is held.
func (g *gate) open() {
	g.state.And(^int64(closedBit))
	g.waiting.Lock()
	defer g.waiting.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// whenOpen returns a channel that is closed when the gate opens the next time.
func (g *gate) whenOpen() <-chan struct{} {
	g.waiting.Lock()
	defer g.waiting.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
	return g.opened
}
