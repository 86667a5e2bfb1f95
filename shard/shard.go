package shard

import (
	"sync"
	"sync/atomic"
)

// Clock returns the Unix time in milliseconds.
type Clock func() int64

// Shard is one shard's state on this node. Its methods are those of Tx, each at a moment of its own.
type Shard struct {
	clock  Clock
	epoch  uint64
	tables *tables // of the store

	counts  counts
	expired atomic.Int64

	mu        sync.RWMutex // guards all below
	seq       uint64       // of the newest write
	entries   map[string]*Entry
	deadlines deadlines
	requests  requestLog
}

// Hold calls do with the shard held: nobody else reads or writes it until do returns.
func (s *Shard) Hold(do func(Tx)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s.tx())
}

func (s *Shard) tx() Tx { return Tx{s, s.clock()} }

// Get is Tx.Get.
func (s *Shard) Get(key []byte, touch bool) *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tx().Get(key, touch)
}

// GetAll is Tx.GetAll.
func (s *Shard) GetAll(keys [][]byte, touch bool) []*Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tx().GetAll(keys, touch)
}

// Peek is Tx.Peek.
func (s *Shard) Peek(key []byte) *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tx().Peek(key)
}

// Exists is Tx.Exists.
func (s *Shard) Exists(keys [][]byte, touch bool) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tx().Exists(keys, touch)
}

// Deadline is Tx.Deadline.
func (s *Shard) Deadline(key []byte) (at, now int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tx().Deadline(key)
}

// Mark is Tx.Mark.
func (s *Shard) Mark(key []byte) Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tx().Mark(key)
}

// Set is Tx.Set.
func (s *Shard) Set(w Write) Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx().Set(w)
}

// SetAll is Tx.SetAll.
func (s *Shard) SetAll(writes []Write) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx().SetAll(writes)
}

// Delete is Tx.Delete.
func (s *Shard) Delete(keys [][]byte) (deleted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx().Delete(keys)
}

// Expire is Tx.Expire.
func (s *Shard) Expire(key []byte, at int64, condition ExpireCondition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx().Expire(key, at, condition)
}

// Persist is Tx.Persist.
func (s *Shard) Persist(key []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx().Persist(key)
}

// Flush removes all keys.
func (s *Shard) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, e := range s.entries {
		s.account(key, e, -1)
		e.Release()
	}
	s.entries = make(map[string]*Entry)
	s.deadlines = deadlines{}
	s.recount()
}

// RemoveExpired frees up to limit entries whose deadline has come and reports whether more of them are left.
func (s *Shard) RemoveExpired(limit int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for range limit {
		key, due := s.deadlines.due(now)
		if !due {
			return false
		}
		s.remove(key)
		s.expired.Add(1)
	}
	_, more = s.deadlines.due(now)
	return more
}

// live returns the entry of a key unless it has expired.
func (s *Shard) live(key []byte, now int64) *Entry {
	e := s.entries[string(key)]
	if e == nil || e.expired(now) {
		return nil
	}
	return e
}

// put makes e the entry of key and lets the old one go.
func (s *Shard) put(key string, e *Entry) {
	if old := s.entries[key]; old != nil {
		s.account(key, old, -1)
		old.Release()
	}
	s.account(key, e, 1)
	s.entries[key] = e
	s.deadlines.set(key, e.ExpireAt)
	s.recount()
}

// setDeadline replaces an entry by one with the same bytes, whose references go over to it.
func (s *Shard) setDeadline(key string, e *Entry, at int64) {
	changed := *e
	changed.ExpireAt = at
	s.account(key, e, -1)
	s.account(key, &changed, 1)
	s.entries[key] = &changed
	s.deadlines.set(key, at)
	s.recount()
}

func (s *Shard) remove(key string) {
	if e := s.entries[key]; e != nil {
		s.account(key, e, -1)
		e.Release()
		delete(s.entries, key)
		s.deadlines.set(key, 0)
		s.recount()
	}
}
