package resp

import (
	"sync"
	"time"
)

// Budget bounds the bytes of all commands that are being read, so that clients together cannot exhaust
// the memory.
type Budget struct {
	mu      sync.Mutex // guards all below
	limit   int64
	used    int64
	waiting int           // callers of Acquire
	changed chan struct{} // closed when bytes are released or the limit changes; nil while no caller waits
}

// NewBudget returns a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Acquire acquires n bytes for a command that already holds held bytes, and waits up to wait for them. It
// reports whether it succeeded. A command that is alone always succeeds: waiting would free nothing.
func (b *Budget) Acquire(n, held int64, wait time.Duration) bool {
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
			timer := time.NewTimer(wait)
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

// Release returns n bytes to the budget.
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

// Limit returns the size of the budget.
func (b *Budget) Limit() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit
}

// SetLimit changes the size of the budget. Acquired bytes stay acquired.
func (b *Budget) SetLimit(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = n
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// Wanted reports whether a command waits for bytes.
func (b *Budget) Wanted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiting > 0
}

// Used returns the acquired bytes.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
