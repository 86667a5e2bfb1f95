package waitlock

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// One goroutine at a time has the lock, and the clock of a bubble goes on while its owner sleeps and others wait for it.
func TestOwnerMaySleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, owners, began := New(), 0, time.Now()
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				l.Lock()
				defer l.Unlock()
				if owners++; owners != 1 || l.TryLock() {
					t.Error("two goroutines have the lock")
				}
				time.Sleep(time.Second)
				owners--
			})
		}
		all.Wait()
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("ten owners took %v", took)
		}
		if !l.TryLock() {
			t.Error("no one has the lock, and it cannot be taken")
		}
	})
}
