package node

import (
	"sync/atomic"
	"time"
)

// clock tells the Unix time in ms. Each command asks for it, so it reads the monotonic clock alone, which takes half the time, and follows the
// time of day, which people and daemons set, ten times a second.
type clock struct {
	began  time.Time
	offset atomic.Int64 // ms to add to what has passed since began
	synced atomic.Int64 // ms since began
}

const clockSync = 100 // ms

func newClock() *clock {
	c := &clock{began: time.Now()}
	c.offset.Store(c.began.UnixMilli())
	return c
}

func (c *clock) now() int64 {
	passed := time.Since(c.began).Milliseconds()
	if synced := c.synced.Load(); passed-synced >= clockSync && c.synced.CompareAndSwap(synced, passed) {
		c.offset.Store(time.Now().UnixMilli() - passed)
	}
	return passed + c.offset.Load()
}
