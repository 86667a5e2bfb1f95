package cluster

import (
	"errors"
	"log/slog"
	"runtime"
	"time"

	"github.com/hashicorp/raft"
)

// stallDetectingLog is raft's log. A leader whose disk hangs would keep leading, because its
// heartbeats come from another goroutine. So the node mutes itself while a write takes longer than
// limit, and the others elect a leader whose disk works.
type stallDetectingLog struct {
	raft.LogStore
	limit   time.Duration
	closing <-chan struct{} // raft is being closed
	mute    func(bool)
	log     *slog.Logger
}

const stallLimit = 2 * time.Second

// StoreLog implements raft.LogStore.
func (s *stallDetectingLog) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (s *stallDetectingLog) StoreLogs(entries []*raft.Log) error {
	began := time.Now()
	fired := make(chan struct{})
	timer := time.AfterFunc(s.limit, func() {
		s.log.Error("raft muted: the disk hangs in a write to the log of the topology")
		s.mute(true)
		close(fired)
	})
	err := s.LogStore.StoreLogs(entries)
	if !timer.Stop() {
		<-fired
		s.log.Warn("raft unmuted: the disk works again", "seconds", time.Since(began).Seconds())
		s.mute(false)
	}
	s.muteIfDamaged(err) // raft handles the error: it fails the proposals and steps down
	return err
}

// GetLog implements raft.LogStore. Raft ends the process when it cannot read an entry that it has
// written. So this never returns from a damaged log: raft's goroutine waits until the node closes.
// The next start says what to do (LostError).
func (s *stallDetectingLog) GetLog(index uint64, entry *raft.Log) error {
	err := s.LogStore.GetLog(index, entry)
	if s.muteIfDamaged(err) {
		<-s.closing
		runtime.Goexit()
	}
	return err
}

// muteIfDamaged mutes the node if its log is damaged, and reports whether it is.
func (s *stallDetectingLog) muteIfDamaged(err error) bool {
	var damaged *damagedError
	if !errors.As(err, &damaged) {
		return false
	}
	s.log.Error("raft muted until the node stops: the log of the topology is damaged", "err", err)
	s.mute(true)
	return true
}

// retryingStableStore is raft's store of term and vote. Raft ends the process when it cannot write
// one of them, on a full disk for example, though the node could go on serving arrays. So a write
// is retried until it succeeds; meanwhile the node is muted.
type retryingStableStore struct {
	raft.StableStore
	closing <-chan struct{} // raft is being closed
	mute    func(bool)
	log     *slog.Logger
}

const stableRetry = 500 * time.Millisecond

// Set implements raft.StableStore.
func (s *retryingStableStore) Set(key, value []byte) error {
	return s.retry(func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (s *retryingStableStore) SetUint64(key []byte, value uint64) error {
	return s.retry(func() error { return s.StableStore.SetUint64(key, value) })
}

func (s *retryingStableStore) retry(write func() error) error {
	err := write()
	if err == nil {
		return nil
	}
	s.log.Error("raft muted: cannot write its term or vote", "err", err)
	s.mute(true)
	defer s.mute(false)
	for err != nil {
		select {
		case <-s.closing:
			runtime.Goexit() // raft's goroutine; an error would end the process
		case <-time.After(stableRetry):
		}
		err = write()
	}
	s.log.Warn("raft unmuted: its term and vote are written")
	return nil
}
