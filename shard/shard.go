package shard

import (
	"bytes"
	"cmp"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/persistence"
)

// Clock returns the Unix time in milliseconds.
type Clock func() int64

// Shard is one shard's state on this node. Its methods are those of Tx, each at a moment of its own; who calls them for a client is within Enter and Leave.
type Shard struct {
	role  Role
	id    int
	clock Clock
	store *Store
	log   *persistence.Log // nil if nothing is kept on disk
	logs  bool             // each write comes into the log

	counts           counts
	expired, evicted atomic.Int64
	live             atomic.Int64 // bytes that its values take on disk, overwritten ones not counted
	unsaved          atomic.Int64 // changes since the last snapshot

	snapshotting sync.Mutex // held by who writes a snapshot; before writing

	// writing is held by who changes the shard, from its first look to the last, across the write to the log. It comes before mu, and is never held
	// together with another shard's. Readers do not need it.
	writing  sync.Mutex
	held     Tx
	encoder  encoder
	epoch    atomic.Uint64 // of the next change; it changes only while the gate is closed
	seq      uint64        // of the newest change
	requests requestLog

	mu        sync.RWMutex // guards all below; who changes them holds writing too, and may read them with that alone
	entries   index
	deadlines deadlines
	expiries  float64 // sum of the deadlines, in ms since expiryBase: for their average
}

// read returns a Tx that changes nothing. The shard is held for reading.
func (s *Shard) read() *Tx { return &Tx{s: s, now: s.clock()} }

// Get is Tx.Get.
func (s *Shard) Get(key []byte, touch bool) *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read().Get(key, touch)
}

// GetAll is Tx.GetAll.
func (s *Shard) GetAll(keys [][]byte, touch bool) []*Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read().GetAll(keys, touch)
}

// Peek is Tx.Peek.
func (s *Shard) Peek(key []byte) *Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read().Peek(key)
}

// Exists is Tx.Exists.
func (s *Shard) Exists(keys [][]byte, touch bool) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read().Exists(keys, touch)
}

// Deadline is Tx.Deadline.
func (s *Shard) Deadline(key []byte) (at, now int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read().Deadline(key)
}

// Mark is Tx.Mark.
func (s *Shard) Mark(key []byte) Mark {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.read().Mark(key)
}

// Set is Tx.Set.
func (s *Shard) Set(w Write) (outcome Outcome, err error) {
	if w.RequestID != "" { // a repeat needs no room on the disk
		w.request = requestOf(w.Key, w.RequestID)
		known := false
		failed := s.do(func(tx *Tx) { outcome, known = tx.answered(w.request) })
		if failed != nil || known {
			w.Value.Release()
			return outcome, failed
		}
	}
	if err := s.waitForDisk(); err != nil {
		w.Value.Release()
		return outcome, err
	}
	if err := s.prepare(&w); err != nil { // copies, without the lock
		return outcome, err
	}
	if failed := s.do(func(tx *Tx) { outcome, err = tx.Set(w) }); failed != nil {
		return Outcome{}, failed
	}
	return outcome, err
}

// SetAll is Tx.SetAll.
func (s *Shard) SetAll(writes []Write) (err error) {
	if err := s.waitForDisk(); err != nil {
		for i := range writes {
			writes[i].Value.Release()
		}
		return err
	}
	if err := s.prepareAll(writes); err != nil {
		return err
	}
	return cmp.Or(s.do(func(tx *Tx) { err = tx.SetAll(writes) }), err)
}

// Delete is Tx.Delete.
func (s *Shard) Delete(keys [][]byte) (deleted int, err error) {
	failed := s.do(func(tx *Tx) { deleted, err = tx.Delete(keys) })
	return deleted, cmp.Or(failed, err)
}

// Expire is Tx.Expire.
func (s *Shard) Expire(key []byte, at int64, condition ExpireCondition) (done bool, err error) {
	failed := s.do(func(tx *Tx) { done, err = tx.Expire(key, at, condition) })
	return done, cmp.Or(failed, err)
}

// Persist is Tx.Persist.
func (s *Shard) Persist(key []byte) (done bool, err error) {
	failed := s.do(func(tx *Tx) { done, err = tx.Persist(key) })
	return done, cmp.Or(failed, err)
}

// record writes one change to the log that is no Tx'. The shard is held for writing.
func (s *Shard) record(changes ...change) (position persistence.Position, err error) {
	if s.logs {
		for i := range changes {
			changes[i].seq = s.seq + 1 + uint64(i)
		}
		position, err = s.log.Append(s.encoder.records(s.epoch.Load(), changes))
		s.encoder.reset()
		if err = s.store.noteWrite(err, false); err != nil {
			return 0, err
		}
	}
	s.seq += uint64(len(changes))
	s.unsaved.Add(int64(len(changes)))
	s.store.disk.unsaved.Add(int64(len(changes)))
	return position, nil
}

// Flush removes all keys.
func (s *Shard) Flush() error {
	position, err := s.flush()
	if err != nil {
		return err
	}
	return s.settle(position)
}

func (s *Shard) flush() (persistence.Position, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.entries.count == 0 {
		return 0, nil
	}
	position, err := s.record(change{kind: persistence.Flush})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	return position, nil
}

// clear takes all entries out. The shard is held.
func (s *Shard) clear() {
	s.entries.each(func(e *Entry) bool {
		s.account(e, -1)
		s.dropBlob(e)
		e.Release()
		return true
	})
	s.entries.release()
	s.deadlines = nil
	s.recount()
}

// RemoveExpired frees up to limit entries whose deadline has come and reports whether more of them are left. The log is told, so that they stay gone
// even if the clock goes back.
//
// A copy that is not served keeps them: nobody sees it, and a record that it gives itself would have the seq of another one that whoever serves the shard writes.
// They go when the shard is served again, or is void.
func (s *Shard) RemoveExpired(limit int) (more bool) {
	if s.store.removalsPaused() || !s.due() || !s.Acquire() {
		return false
	}
	defer s.Release()
	s.writing.Lock()
	defer s.writing.Unlock()
	now := s.clock()
	var gone []change
	var blobs []persistence.BlobID
	s.mu.Lock()
	for len(gone) < limit {
		e := s.deadlines.due(now)
		if e == nil {
			break
		}
		key := bytes.Clone(e.Key())
		gone = append(gone, change{kind: persistence.Delete, reason: persistence.Expired, key: key})
		if id := e.blob(); id != 0 {
			blobs = append(blobs, id)
		}
		s.forget(key)
	}
	s.recount()
	more = s.deadlines.due(now) != nil
	s.mu.Unlock()
	s.expired.Add(int64(len(gone)))
	if len(gone) == 0 {
		return more
	}
	if _, err := s.record(gone...); err != nil {
		return more // each is in the log with its deadline, and is found to have expired again
	}
	for _, id := range blobs { // only now: their records must not outlive them
		s.log.Supersede(id)
	}
	return more
}

// due reports whether an entry has expired.
func (s *Shard) due() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.deadlines.due(s.clock()) != nil
}

// put makes e the entry of its key and lets the old one go. The shard is held.
func (s *Shard) put(e *Entry) {
	s.account(e, 1)
	if e.ExpireAt() != 0 {
		s.deadlines.add(e)
		s.expiries += float64(e.ExpireAt() - expiryBase)
	}
	if old := s.entries.put(&s.store.tablePool, e); old != nil {
		e.head().use.inherit(&old.head().use)
		if old.blob() != e.blob() {
			s.dropBlob(old)
		}
		s.drop(old)
	}
	s.recount()
}

// forget takes a key out without a word to the log. The shard is held.
func (s *Shard) forget(key []byte) {
	if e := s.entries.remove(&s.store.tablePool, key); e != nil {
		s.drop(e)
	}
}

// remove takes a key out, if it is there. The shard is held.
func (s *Shard) remove(key []byte) {
	if e := s.entries.remove(&s.store.tablePool, key); e != nil {
		s.dropBlob(e)
		s.drop(e)
		s.recount()
	}
}

// drop lets an entry go that is no longer in the index.
func (s *Shard) drop(e *Entry) {
	s.account(e, -1)
	if e.ExpireAt() != 0 {
		s.deadlines.remove(e)
		s.expiries -= float64(e.ExpireAt() - expiryBase)
	}
	e.Release()
}

// dropBlob says that nothing in memory refers to an entry's file any more.
func (s *Shard) dropBlob(e *Entry) {
	if id := e.blob(); id != 0 {
		s.log.Supersede(id)
	}
}
