package node

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	c := newClock()
	check := func() {
		t.Helper()
		before := time.Now().UnixMilli()
		now := c.now()
		if after := time.Now().UnixMilli(); now < before-1 || now > after+1 {
			t.Errorf("it is %d, not %d to %d", now, before, after)
		}
	}
	check()
	c.offset.Add(-5_000_000) // as if the wall clock had been set meanwhile
	c.synced.Store(-2 * clockSync)
	check()
}
