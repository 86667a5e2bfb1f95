package cluster

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// badDisk is a log and a stable store that hang or fail as they are told.
type badDisk struct {
	*raft.InmemStore
	hang     time.Duration
	failures atomic.Int64 // of the next writes of the stable store
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

// silence notes what a node was told: true to fall silent.
type silence struct{ told []bool }

func (s *silence) mute(yes bool) { s.told = append(s.told, yes) }

func TestANodeIsSilentWhileItsDiskHangs(t *testing.T) {
	for _, test := range []struct {
		hang time.Duration
		want []bool
	}{{stallLimit - time.Millisecond, nil}, {stallLimit + time.Millisecond, []bool{true, false}}} {
		synctest.Test(t, func(t *testing.T) {
			var s silence
			w := &stallDetectingLog{LogStore: &badDisk{InmemStore: raft.NewInmemStore(), hang: test.hang}, limit: stallLimit, mute: s.mute, log: testLog(t, "a")}
			if err := w.StoreLog(&raft.Log{Index: 1}); err != nil {
				t.Error(err)
			}
			if len(s.told) != len(test.want) || len(s.told) == 2 && (!s.told[0] || s.told[1]) {
				t.Errorf("a write of %v: the node was told %v, want %v", test.hang, s.told, test.want)
			}
		})
	}
}

func TestATermThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s silence
		disk := &badDisk{InmemStore: raft.NewInmemStore()}
		disk.failures.Store(5)
		store := &retryingStableStore{StableStore: disk, closing: make(chan struct{}), mute: s.mute, log: testLog(t, "a")}
		began := time.Now()
		if err := store.SetUint64([]byte("term"), 7); err != nil {
			t.Error(err)
		}
		if got, _ := disk.GetUint64([]byte("term")); got != 7 || time.Since(began) != 5*stableRetry || len(s.told) != 2 {
			t.Errorf("after %v the term is %d, and the node was told %v", time.Since(began), got, s.told)
		}
	})
}

func TestATermThatCannotBeWrittenKeepsNobodyFromClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s silence
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
			t.Error("the write came back, and it was not done")
		}
	})
}
