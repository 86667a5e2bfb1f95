package protocol

import (
	"sync"
	"sync/atomic"
	"time"
)

// pause is CLIENT PAUSE: commands wait until it is over, and no key expires or is evicted meanwhile.
type pause struct {
	keep    func(until time.Time) // has the store keep all keys until then; zero for no longer
	active  atomic.Bool           // so that a command need not take the lock when there is none
	waiting atomic.Int64          // commands

	mu      sync.Mutex // guards all below
	until   time.Time
	all     bool // reads wait too
	changed chan struct{}
}

// set begins a pause, or prolongs the one that there is, as Redis does: it gets neither shorter nor weaker.
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
	p.keep(until)
	p.wake()
	p.active.Store(true)
}

func (p *pause) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = time.Time{}
	p.keep(time.Time{})
	p.active.Store(false)
	p.wake()
}

// wake lets those who wait look again.
func (p *pause) wake() {
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// wait returns when a command may go on. What was answered before is sent first.
func (p *pause) wait(c *conn, row *Command) {
	if !p.active.Load() || row.Flags&Unpaused != 0 {
		return
	}
	for {
		p.mu.Lock()
		left, all, changed := time.Until(p.until), p.all, p.changed
		if left <= 0 {
			p.active.Store(false)
		}
		p.mu.Unlock()
		writes := row.Flags&Write != 0 || row.Name == "exec" && c.tx.writes
		if left <= 0 || !all && !writes {
			return
		}
		if c.flush() != nil {
			return
		}
		c.publish()
		timer := time.NewTimer(left)
		p.waiting.Add(1)
		select {
		case <-changed:
		case <-timer.C:
		case <-c.server.closed:
			left = 0
		}
		p.waiting.Add(-1)
		timer.Stop()
		c.now = time.Time{}
		if left == 0 {
			return
		}
	}
}
