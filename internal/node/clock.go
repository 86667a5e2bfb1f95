package node

import (
	"sync/atomic"
	"time"
)

// clock tells the Unix time in ms. Every command reads it, so it reads only the monotonic clock, which takes half the
// time. Ten times a second it follows the wall clock, which people and daemons set.
type clock struct {
	began  time.Time
	offset atomic.Int64 // ms to add to the time since began
	synced atomic.Int64 // when offset was last set, in ms since began
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
		t := time.Now() // both clocks at one moment, so that a pause of this goroutine is not counted as time
		c.offset.Store((t.UnixNano() - int64(t.Sub(c.began))) / int64(time.Millisecond))
	}
	return passed + c.offset.Load()
}
