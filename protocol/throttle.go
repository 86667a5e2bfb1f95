package protocol

import (
	"sync"
	"time"
)

// warnInterval is the time between two logged warnings of a throttle.
const warnInterval = 10 * time.Second

// throttle limits how often a warning is logged.
type throttle struct {
	mu      sync.Mutex // guards all below
	next    time.Time
	dropped int
}

// pass reports whether to log the warning, and how many were suppressed since the last one.
func (t *throttle) pass(now time.Time) (dropped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.dropped++
		return 0, false
	}
	dropped, t.dropped, t.next = t.dropped, 0, now.Add(warnInterval)
	return dropped, true
}
