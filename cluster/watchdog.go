package cluster

import (
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/hashicorp/raft"
)

// watchdog is raft's log with an eye on its disk. A leader whose write hangs would go on leading: its heartbeats come from another goroutine. So
// the node falls silent until the write is done, and the others elect one whose disk works.
type watchdog struct {
	raft.LogStore
	limit time.Duration
	ended <-chan struct{} // raft is being closed
	hangs func(bool)
	log   *slog.Logger
}

const hungDisk = 2 * time.Second

// StoreLog implements raft.LogStore.
func (w *watchdog) StoreLog(entry *raft.Log) error { return w.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (w *watchdog) StoreLogs(entries []*raft.Log) error {
	began := time.Now()
	fired := make(chan struct{})
	timer := time.AfterFunc(w.limit, func() {
		w.log.Error("the disk hangs in a write to the log of the topology: this node falls silent until it is done")
		w.hangs(true)
		close(fired)
	})
	err := w.LogStore.StoreLogs(entries)
	if !timer.Stop() {
		<-fired
		w.log.Warn("the disk works again", "seconds", time.Since(began).Seconds())
		w.hangs(false)
	}
	w.silenceIfDamaged(err) // raft takes the error: it answers the proposals and steps down
	return err
}

// GetLog implements raft.LogStore. Raft ends the process when it cannot read what it has written. So this returns nothing from a log that is damaged: raft's goroutine waits
// for the node's end. The next start says what to do (LostError).
func (w *watchdog) GetLog(index uint64, entry *raft.Log) error {
	err := w.LogStore.GetLog(index, entry)
	if w.silenceIfDamaged(err) {
		<-w.ended
		runtime.Goexit()
	}
	return err
}

// silenceIfDamaged silences the node if its log is damaged, and reports whether it is.
func (w *watchdog) silenceIfDamaged(err error) bool {
	var damaged *damagedError
	if !errors.As(err, &damaged) {
		return false
	}
	w.log.Error("the log of the topology is damaged: this node falls silent, and serves what it has until it is stopped", "err", err)
	w.hangs(true)
	return true
}

// stubborn is raft's store of term and vote. Raft ends the process when one of them cannot be written, a full disk included, and with it all that the node could still
// serve. So a write is tried until it is done; meanwhile the node is silent.
type stubborn struct {
	raft.StableStore
	ended <-chan struct{} // raft is being closed
	hangs func(bool)
	log   *slog.Logger
}

const stubbornRetry = 500 * time.Millisecond

// Set implements raft.StableStore.
func (s *stubborn) Set(key, value []byte) error {
	return s.until(func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (s *stubborn) SetUint64(key []byte, value uint64) error {
	return s.until(func() error { return s.StableStore.SetUint64(key, value) })
}

func (s *stubborn) until(write func() error) error {
	err := write()
	if err == nil {
		return nil
	}
	s.log.Error("term and vote cannot be written: this node falls silent until they can", "err", err)
	s.hangs(true)
	defer s.hangs(false)
	for err != nil {
		select {
		case <-s.ended:
			runtime.Goexit() // raft's goroutine; to come back with an error would end the process
		case <-time.After(stubbornRetry):
		}
		err = write()
	}
	s.log.Warn("term and vote can be written again")
	return nil
}
