package shard

import (
	"cmp"
	"time"
)

// Clock returns the Unix time in milliseconds.
type Clock func() int64

// Shard is one shard on this node. Its methods are those of Tx, each a transaction of its own.
// Calls for a client happen between Acquire and Release.
type Shard struct {
	id    int
	clock Clock
	store *Store

	gate                  // admits commands
	localCopy             // what is committed, and who waits for that
	role      Role        // whether this node serves it
	writer    writer      // orders changes
	index     index       // what readers see
	snapshots snapshotter // writes its snapshots
	stuck     stuck
}

func newShard(id int, store *Store) *Shard {
	s := &Shard{id: id, clock: store.clock, store: store}
	s.index = index{entryPool: store.pool, tablePool: &store.tablePool, stats: &store.stats, feed: &store.process.feed}
	c := &s.localCopy
	c.contents = contents{process: &store.process, index: &s.index, gate: &s.gate, going: &store.memory.going}
	c.shard = id
	s.localCopy.begin(nil, 0, 0)
	s.writer = writer{clock: store.clock, pool: store.pool, index: &s.index, copy: &s.localCopy, disk: &store.disk, shard: id, underway: newUnderway(&s.localCopy)}
	s.snapshots = snapshotter{shard: id, writer: &s.writer, disk: &store.disk, patience: time.Second}
	s.role.init(id, store, &s.writer, &s.gate)
	return s
}

// viewOf returns a Tx for reads. The caller holds index.mu for reading.
func viewOf(s *Shard) *Tx { return &Tx{s: s, now: s.clock()} }

// Now returns the Unix time in ms by which the shard hides expired keys.
func (s *Shard) Now() int64 { return s.clock() }

// Get is Tx.Get.
func (s *Shard) Get(key []byte, touch bool) *Entry {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return viewOf(s).Get(key, touch)
}

// GetAll is Tx.GetAll.
func (s *Shard) GetAll(keys [][]byte, touch bool) []*Entry {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return viewOf(s).GetAll(keys, touch)
}

// Peek is Tx.Peek.
func (s *Shard) Peek(key []byte) *Entry {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return viewOf(s).Peek(key)
}

// Exists is Tx.Exists.
func (s *Shard) Exists(keys [][]byte, touch bool) int {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return viewOf(s).Exists(keys, touch)
}

// Deadline is Tx.Deadline.
func (s *Shard) Deadline(key []byte) (at, now int64) {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return viewOf(s).Deadline(key)
}

// Mark is Tx.Mark.
func (s *Shard) Mark(key []byte) Mark {
	s.index.mu.RLock()
	defer s.index.mu.RUnlock()
	return viewOf(s).Mark(key)
}

// Update runs a transaction: no other change comes in between, and readers see all that do changes
// or nothing. An error means that nothing changed. Stores says that do may store values, for which
// the disk must have room.
func (s *Shard) Update(stores bool, do func(*Tx)) (Future, error) {
	if err := awaitSpace(s, stores, 0); err != nil {
		return Future{}, err
	}
	return s.writer.update(s, do)
}

// awaitSpace returns when a change may be appended: the disk keeps up with values, the members of the ISR have room for them, and the
// replicator has room. Added is about how many bytes the values take; 0 if that is unknown.
func awaitSpace(s *Shard, stores bool, added int64) error {
	if stores {
		if err := s.role.roomAtCopies(added); err != nil {
			return err
		}
		if err := s.store.disk.guard.wait(&s.role); err != nil {
			return err
		}
	}
	return s.role.awaitRoom()
}

// Set is Tx.Set.
func (s *Shard) Set(w Write) (outcome Outcome, f Future, err error) {
	if w.RequestID != "" { // a repeat is answered even if the disk has no room
		w.request = requestOf(w.Key, w.RequestID)
		known := false
		f, failed := s.writer.update(s, func(tx *Tx) { outcome, known = tx.answered(w.request) })
		if failed != nil || known {
			w.Value.Release()
			return outcome, f, failed
		}
	}
	added := addedBytes(w)
	if err := awaitSpace(s, true, added); err != nil {
		w.Value.Release()
		return outcome, f, err
	}
	if added > UploadBytes {
		defer s.writer.underway.begin(added)()
	}
	if err := s.writer.prepare(&w); err != nil { // copies, without the lock
		return outcome, f, err
	}
	if err := upload(s, &w); err != nil {
		return outcome, f, err
	}
	f, failed := s.writer.update(s, func(tx *Tx) {
		tx.By = w.By
		outcome, err = tx.write(&w)
	})
	if failed != nil {
		return Outcome{}, f, failed
	}
	return outcome, f, err
}

// SetAll is Tx.SetAll.
func (s *Shard) SetAll(writes []Write) (f Future, err error) {
	added := addedBytes(writes...)
	if err := awaitSpace(s, true, added); err != nil {
		for i := range writes {
			writes[i].Value.Release()
		}
		return f, err
	}
	if added > UploadBytes {
		defer s.writer.underway.begin(added)()
	}
	if err := s.writer.prepareAll(writes); err != nil {
		return f, err
	}
	if err := uploadAll(s, writes); err != nil {
		return f, err
	}
	f, failed := s.writer.update(s, func(tx *Tx) {
		if len(writes) > 0 {
			tx.By = writes[0].By
		}
		err = tx.SetAll(writes)
	})
	return f, cmp.Or(failed, err)
}

// Delete is Tx.Delete.
func (s *Shard) Delete(keys [][]byte) (deleted int, f Future, err error) {
	f, failed := s.Update(false, func(tx *Tx) { deleted, err = tx.Delete(keys) })
	return deleted, f, cmp.Or(failed, err)
}

// Expire is Tx.Expire.
func (s *Shard) Expire(key []byte, at int64, condition ExpireCondition) (done bool, f Future, err error) {
	f, failed := s.Update(false, func(tx *Tx) { done, err = tx.Expire(key, at, condition) })
	return done, f, cmp.Or(failed, err)
}

// Persist is Tx.Persist.
func (s *Shard) Persist(key []byte) (done bool, f Future, err error) {
	f, failed := s.Update(false, func(tx *Tx) { done, err = tx.Persist(key) })
	return done, f, cmp.Or(failed, err)
}

// Flush removes all keys.
func (s *Shard) Flush() (Future, error) {
	if err := awaitSpace(s, false, 0); err != nil {
		return Future{}, err
	}
	return s.writer.flush(s)
}

// Keys returns how many keys the shard has, served or not, including expired ones that are not
// freed yet. It takes no lock.
func (s *Shard) Keys() int { return int(s.index.counts.keys.Load()) }

// Epoch returns the newest epoch that this node knows of the shard: the one in which it serves it
// or last served it, or the one on disk.
func (s *Shard) Epoch() uint64 { return s.writer.epoch.Load() }

// Newest returns the epoch of the local copy and the seq of its newest change. The shard must be
// Ready.
func (s *Shard) Newest() (epoch, seq uint64) {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.epoch.Load(), s.writer.seq
}
