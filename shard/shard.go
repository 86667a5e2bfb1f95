package shard

import (
	"sync"
	"sync/atomic"
)

// Clock returns the Unix time in milliseconds.
type Clock func() int64

// Shard is one shard's state on this node.
type Shard struct {
	clock Clock
	epoch uint64

	hits, misses, expired atomic.Int64

	mu        sync.RWMutex // guards all below
	seq       uint64       // of the newest write
	entries   map[string]*Entry
	deadlines deadlines
	requests  requestLog
}

// Get returns the entry of a key, with its bytes retained: the caller must Release it. It returns nil for a missing key.
func (s *Shard) Get(key []byte) *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.get(key, s.clock())
}

// GetAll returns the entries of several keys at one moment, as Get does for one.
func (s *Shard) GetAll(keys [][]byte) []*Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.clock()
	entries := make([]*Entry, len(keys))
	for i, key := range keys {
		entries[i] = s.get(key, now)
	}
	return entries
}

func (s *Shard) get(key []byte, now int64) *Entry {
	e := s.live(key, now)
	if e == nil {
		s.misses.Add(1)
		return nil
	}
	s.hits.Add(1)
	e.retain()
	return e
}

// Delete removes keys and returns how many of them were there.
func (s *Shard) Delete(keys [][]byte) (deleted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	for _, key := range keys {
		if s.live(key, now) != nil {
			deleted++
		}
		s.remove(string(key))
	}
	return deleted
}

// Exists returns how many of the keys are there; a key that is named twice counts twice.
func (s *Shard) Exists(keys [][]byte) (found int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.clock()
	for _, key := range keys {
		if s.live(key, now) != nil {
			found++
		}
	}
	return found
}

// Results of Deadline that are no time, as Redis' TTL has them.
const (
	NoDeadline = -1
	NoKey      = -2
)

// Deadline returns the Unix time in ms at which a key expires, and the time now; or NoDeadline or NoKey.
func (s *Shard) Deadline(key []byte) (at, now int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now = s.clock()
	switch e := s.live(key, now); {
	case e == nil:
		return NoKey, now
	case e.ExpireAt == 0:
		return NoDeadline, now
	default:
		return e.ExpireAt, now
	}
}

// ExpireCondition says when Expire changes a deadline at all; zero for always. "No deadline" counts as infinitely late.
type ExpireCondition struct{ NX, XX, GT, LT bool }

// Expire makes at (Unix time in ms) the deadline of a key; a time that has passed deletes it. It reports whether it did anything.
func (s *Shard) Expire(key []byte, at int64, condition ExpireCondition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	e := s.live(key, now)
	if e == nil || !condition.holds(e.ExpireAt, at) {
		return false
	}
	if at <= now {
		s.remove(string(key))
		return true
	}
	s.setDeadline(string(key), e, at)
	return true
}

func (c ExpireCondition) holds(old, at int64) bool {
	switch {
	case c.NX && old != 0, c.XX && old == 0:
		return false
	case c.GT && (old == 0 || at <= old):
		return false
	case c.LT && old != 0 && at >= old:
		return false
	}
	return true
}

// Persist takes a key's deadline away and reports whether there was one.
func (s *Shard) Persist(key []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.live(key, s.clock())
	if e == nil || e.ExpireAt == 0 {
		return false
	}
	s.setDeadline(string(key), e, 0)
	return true
}

// Flush removes all keys.
func (s *Shard) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		e.Release()
	}
	s.entries = make(map[string]*Entry)
	s.deadlines = deadlines{}
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
		old.Release()
	}
	s.entries[key] = e
	s.deadlines.set(key, e.ExpireAt)
}

// setDeadline replaces an entry by one with the same bytes, whose references go over to it.
func (s *Shard) setDeadline(key string, e *Entry, at int64) {
	changed := *e
	changed.ExpireAt = at
	s.entries[key] = &changed
	s.deadlines.set(key, at)
}

func (s *Shard) remove(key string) {
	if e := s.entries[key]; e != nil {
		e.Release()
		delete(s.entries, key)
		s.deadlines.set(key, 0)
	}
}
