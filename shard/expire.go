package shard

import (
	"errors"

	"github.com/ndring/ndring/persistence"
)

// RemoveExpired frees up to limit expired entries and reports whether more are left. It logs their
// removal, so they stay gone even if the clock is set back. They go when their removal is committed.
//
// A copy that is not served keeps its expired entries: readers do not see them, and a record of its
// own would have the seq of another record that the primary writes. They are freed when the shard
// is served again or is stale.
func RemoveExpired(s *Shard, limit int) (more bool) {
	if removalsPaused(s.store) || !s.index.due(s.clock()) || !s.Acquire() {
		return false
	}
	defer s.Release()
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	now := s.clock()
	var gone []change
	for _, e := range s.expired(now, limit) {
		defer e.Release()
		gone = append(gone, change{kind: persistence.Delete, reason: persistence.Expired, key: e.Key()})
	}
	if len(gone) == 0 {
		return false
	}
	if err := w.commitNow(gone, now); err != nil {
		if !s.Alone() || errors.Is(err, ErrNoReplicas) || s.hasOthers() {
			return false
		}
		// Free the memory all the same. The log has every entry with its deadline, and the next
		// start removes it. Its blob stays: it must not be deleted before its record.
		s.index.mu.Lock()
		for i := range gone {
			s.index.forget(gone[i].key)
		}
		s.index.mu.Unlock()
	}
	s.index.counts.expired.Add(int64(len(gone)))
	return s.index.due(now)
}

// hasOthers reports whether other nodes have copies of the shard, or are to have some. They must have the same entries, also after a
// restart from a snapshot, which does not tell what was freed without a record.
func (c *localCopy) hasOthers() bool {
	row := c.row()
	return len(row.Assigned) > 1 || len(row.ISR) > 1 || len(row.Learners) > 0
}

// expired returns up to limit entries that have expired, each with a reference. It leaves out keys that the
// suffix changes: their entries go when that is committed.
func (c *contents) expired(now int64, limit int) []*Entry {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	found := c.index.deadlines.expired(now, limit, func(e *Entry) bool { return c.suffix.changes(e.Key()) })
	for _, e := range found {
		e.retain()
	}
	return found
}
