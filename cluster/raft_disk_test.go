package cluster

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// badDisk is a log and a stable store that hang or fail on request.
type badDisk struct {
	*raft.InmemStore
	hang     time.Duration
	failures atomic.Int64 // how many of the next writes to the stable store fail
}

func (d *badDisk) StoreLogs(entries []*raft.Log) error {
	time.Sleep(d.hang)
	return d.InmemStore.StoreLogs(entries)
}

func (d *badDisk) SetUint64(key []byte, value uint64) error {
	if d.failures.Add(-1) >= 0 {
		return errors.New("no space left on device")
	}
	return d.InmemStore.SetUint64(key, value)
}

// muteCalls records the calls of mute.
type muteCalls struct{ made []bool }

func (c *muteCalls) mute(yes bool) { c.made = append(c.made, yes) }

func TestNodeIsMutedWhileItsDiskHangs(t *testing.T) {
	for _, test := range []struct {
		hang time.Duration
		want []bool
	}{{stallLimit - time.Millisecond, nil}, {stallLimit + time.Millisecond, []bool{true, false}}} {
		synctest.Test(t, func(t *testing.T) {
			var s muteCalls
			w := &stallDetectingLog{LogStore: &badDisk{InmemStore: raft.NewInmemStore(), hang: test.hang}, limit: stallLimit, mute: s.mute, log: testLog(t, "a")}
			if err := w.StoreLog(&raft.Log{Index: 1}); err != nil {
				t.Error(err)
			}
			if len(s.made) != len(test.want) || len(s.made) == 2 && (!s.made[0] || s.made[1]) {
				t.Errorf("a write of %v: mute was called with %v, want %v", test.hang, s.made, test.want)
			}
		})
	}
}

func TestFailedWriteOfTheTermIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s muteCalls
		disk := &badDisk{InmemStore: raft.NewInmemStore()}
		disk.failures.Store(5)
		store := &retryingStableStore{StableStore: disk, closing: make(chan struct{}), mute: s.mute, log: testLog(t, "a")}
		began := time.Now()
		if err := store.SetUint64([]byte("term"), 7); err != nil {
			t.Error(err)
		}
		if got, _ := disk.GetUint64([]byte("term")); got != 7 || time.Since(began) != 5*stableRetry || len(s.made) != 2 {
			t.Errorf("after %v the term is %d, and mute was called with %v", time.Since(began), got, s.made)
		}
	})
}

func TestFailingWriteOfTheTermDoesNotBlockClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s muteCalls
		disk := &badDisk{InmemStore: raft.NewInmemStore()}
		disk.failures.Store(1 << 40)
		ended := make(chan struct{})
		store := &retryingStableStore{StableStore: disk, closing: ended, mute: s.mute, log: testLog(t, "a")}
		gone := make(chan bool)
		go func() {
			defer close(gone)
			store.SetUint64([]byte("term"), 7)
			gone <- true
		}()
		time.Sleep(time.Minute)
		close(ended)
		if _, returned := <-gone; returned {
			t.Error("the write returned without success")
		}
	})
}
