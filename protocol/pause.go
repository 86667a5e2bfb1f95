package protocol

import (
	"sync"
	"sync/atomic"
	"time"
)

// pause is CLIENT PAUSE: commands wait until it is over, and no key expires or is evicted meanwhile.
type pause struct {
	pauseRemovals func(until time.Time) // makes the store keep all keys until then; zero ends that
	closed        <-chan struct{}       // closed when the server closes
	active        atomic.Bool           // checked before the lock, which costs more
	waiting       atomic.Int64          // commands

	mu      sync.Mutex // guards all below
	until   time.Time
	all     bool // reads wait too
	changed chan struct{}
}

// set begins a pause, or extends the current one: as in Redis, it becomes neither shorter nor weaker.
func (p *pause) set(until time.Time, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active.Load() && time.Now().Before(p.until) {
		all = all || p.all
		if until.Before(p.until) {
			until = p.until
		}
	}
	p.until, p.all = until, all
	p.pauseRemovals(until)
	p.wake()
	p.active.Store(true)
}

func (p *pause) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
	p.pauseRemovals(time.Time{})
	p.active.Store(false)
	p.wake()
}

// wake makes waiting commands check again.
func (p *pause) wake() {
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// wait waits until the pause is over for a command that writes, or only reads. Before it waits it calls
// before, and gives up if that returns false.
func (p *pause) wait(writes bool, before func() bool) {
	for {
		p.mu.Lock()
		left, all, changed := time.Until(p.until), p.all, p.changed
		if left <= 0 {
			p.active.Store(false)
		}
		p.mu.Unlock()
		if left <= 0 || !all && !writes || !before() {
			return
		}
		timer := time.NewTimer(left)
		p.waiting.Add(1)
		closing := false
		select {
		case <-changed:
		case <-timer.C:
		case <-p.closed:
			closing = true
		}
		p.waiting.Add(-1)
		timer.Stop()
		if closing {
			return
		}
	}
}
