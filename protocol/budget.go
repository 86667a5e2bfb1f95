package protocol

import (
	"sync"
	"time"
)

// Budget bounds the bytes of all commands that are on their way in, so that clients together cannot take more memory than is there.
type Budget struct {
	mu      sync.Mutex // guards all below
	limit   int64
	used    int64
	waiting int           // callers of Acquire
	changed chan struct{} // closed when room is given back; nil while nobody waits
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Acquire takes n bytes for a command that holds held bytes already, and waits up to patience for them. It reports whether they were
// given. A command that is alone always gets them, since waiting would change nothing.
func (b *Budget) Acquire(n, held int64, patience time.Duration) bool {
	var timeout <-chan time.Time
	for {
		b.mu.Lock()
		if b.used == held || b.used+n <= b.limit {
			b.used += n
			b.mu.Unlock()
			return true
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		if timeout == nil {
			b.waiting++
			defer b.stopWaiting()
		}
		b.mu.Unlock()
		if timeout == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-changed:
		case <-timeout:
			return false
		}
	}
}

// Release gives n bytes back.
func (b *Budget) Release(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

func (b *Budget) stopWaiting() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting--
}

// Limit returns the bytes that there are in all.
func (b *Budget) Limit() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit
}

// SetLimit changes the bytes that there are in all. What is taken already stays taken.
func (b *Budget) SetLimit(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = n
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// Wanted reports whether somebody waits for room.
func (b *Budget) Wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting > 0
}

// Used returns the bytes that are taken.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
