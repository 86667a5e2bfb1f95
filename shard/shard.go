package shard

import (
	"sync"
	"sync/atomic"
)

// Clock returns the Unix time in milliseconds.
type Clock func() int64

// Shard is one shard's state on this node. Its methods are those of Tx, each at a moment of its own.
type Shard struct {
	clock Clock
	epoch uint64
	store *Store

	counts           counts
	expired, evicted atomic.Int64

	mu        sync.RWMutex // guards all below
	seq       uint64       // of the newest write
	entries   index
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
	s.prepare(&w) // copies, without the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx().Set(w)
}

// SetAll is Tx.SetAll.
func (s *Shard) SetAll(writes []Write) {
	for i := range writes {
		s.prepare(&writes[i])
	}
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
	s.entries.each(func(e *Entry) bool {
		s.account(e, -1)
		e.Release()
		return true
	})
	s.entries.release()
	s.deadlines = nil
	s.recount()
}

// RemoveExpired frees up to limit entries whose deadline has come and reports whether more of them are left.
func (s *Shard) RemoveExpired(limit int) (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for range limit {
		e := s.deadlines.due(now)
		if e == nil {
			return false
		}
		s.remove(e.Key())
		s.expired.Add(1)
	}
	return s.deadlines.due(now) != nil
}

// live returns the entry of a key unless it has expired.
func (s *Shard) live(key []byte, now int64) *Entry {
	e := s.entries.get(key)
	if e == nil || e.expired(now) {
		return nil
	}
	return e
}

// put makes e the entry of its key and lets the old one go.
func (s *Shard) put(e *Entry) {
	s.account(e, 1)
	if e.ExpireAt() != 0 {
		s.deadlines.add(e)
	}
	if old := s.entries.put(&s.store.tablePool, e); old != nil {
		s.drop(old)
	}
	s.recount()
}

// setDeadline changes when an entry expires, 0 for never.
func (s *Shard) setDeadline(e *Entry, at int64) {
	s.account(e, -1)
	before := e.ExpireAt()
	e.head().expireAt.Store(at)
	switch {
	case before == 0 && at != 0:
		s.deadlines.add(e)
	case before != 0 && at == 0:
		s.deadlines.remove(e)
	case before != 0:
		s.deadlines.changed(e)
	}
	s.account(e, 1)
	s.recount()
}

// remove takes a key out, if it is there.
func (s *Shard) remove(key []byte) {
	if e := s.entries.remove(&s.store.tablePool, key); e != nil {
		s.drop(e)
		s.recount()
	}
}

// drop lets an entry go that is no longer in the index.
func (s *Shard) drop(e *Entry) {
	s.account(e, -1)
	if e.ExpireAt() != 0 {
		s.deadlines.remove(e)
	}
	e.Release()
}
