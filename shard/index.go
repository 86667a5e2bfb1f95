package shard

import (
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
)

// index holds the entries of a shard as readers see them: by key and by deadline, with their
// counts.
//
// Mu alone guards it: a commit takes no other lock, so it never waits for a write to the log.
//
// Invariant: every entry in the table has one reference, is in deadlines if and only if it has a
// deadline, and is counted once in counts and in the store's stats.
type index struct {
	entryPool *memory.Pool
	tablePool *memory.Pool
	log       *persistence.Log // told which blobs are superseded; nil without a data folder
	stats     *storeStats
	counts    counts
	feed      *Feed
	removals  atomic.Uint64 // of keys, since the start

	mu        sync.RWMutex // guards all below
	table     hashTable
	deadlines deadlines
	expirySum float64 // of all deadlines, in ms since expiryBase, for their average
	// Invariant: sum is that of the digests of all entries in the table.
	sum    uint64
	forgot bool // entries were dropped of whose removal no other copy knows
}

// get returns the entry of a key, expired or not; nil if it is missing.
func (x *index) get(key []byte) *Entry { return x.table.get(key) }

// put makes e the entry of its key by the change seq, and takes over the caller's reference. It
// releases the entry that it replaces.
func (x *index) put(e *Entry, seq uint64) {
	if e.ExpireAt() != 0 {
		x.deadlines.add(e)
		x.expirySum += float64(e.ExpireAt() - expiryBase)
	}
	old := x.table.put(x.tablePool, e)
	x.addDigest(e, old)
	if old != nil {
		e.head().access.inherit(&old.head().access)
		if old.blob() != e.blob() {
			x.supersedeBlob(old, seq)
		}
		x.replaceStats(old, e)
		x.unlink(old)
	} else {
		x.addStats(e, 1)
	}
	x.syncCounts()
}

// remove removes a key, if it is there, and its blob, by the change seq.
func (x *index) remove(key []byte, seq uint64) {
	if e := x.table.remove(x.tablePool, key); e != nil {
		x.supersedeBlob(e, seq)
		x.drop(e)
		x.syncCounts()
	}
}

// forget removes a key, if it is there, from memory alone: a record of it may still refer to its blob.
func (x *index) forget(key []byte) {
	if e := x.table.remove(x.tablePool, key); e != nil {
		x.feed.changed(key, 0, true)
		x.forgot = true
		x.drop(e)
		x.syncCounts()
	}
}

// clear removes all entries and their blobs, by the change seq.
func (x *index) clear(seq uint64) {
	x.table.each(func(e *Entry) bool {
		x.supersedeBlob(e, seq)
		return true
	})
	x.forgetAll()
}

// forgetAll removes all entries from memory alone.
func (x *index) forgetAll() {
	x.feed.changedAll()
	x.removals.Add(1)
	x.table.each(func(e *Entry) bool {
		x.addStats(e, -1)
		return true
	})
	x.release()
	x.syncCounts()
}

// release frees all entries at the end of the store. It updates neither counts nor blobs.
func (x *index) release() {
	x.table.each(func(e *Entry) bool {
		e.Release()
		return true
	})
	x.table.release()
	x.deadlines = nil
	x.sum, x.forgot = 0, false
}

// drop uncounts and releases an entry that has left the table.
func (x *index) drop(e *Entry) {
	x.removals.Add(1)
	x.addStats(e, -1)
	x.removeDigest(e)
	x.unlink(e)
}

// unlink releases an entry that has left the table and is not counted any longer.
func (x *index) unlink(e *Entry) {
	if e.ExpireAt() != 0 {
		x.deadlines.remove(e)
		x.expirySum -= float64(e.ExpireAt() - expiryBase)
	}
	e.Release()
}

// supersedeBlob tells the log that no entry refers to the blob of e any longer, because of the change seq. Changes
// are applied when they are committed, so no recovery can need the blob once a commit index of seq or above is synced.
func (x *index) supersedeBlob(e *Entry, seq uint64) {
	if id := e.blob(); id != 0 {
		x.log.Supersede(id, seq)
	}
}

// defragment moves entries out of slabs that are being evacuated. An entry that a reader holds
// stays: the copy takes over the references to the other buffers.
func (x *index) defragment() {
	for i, slot := range x.table.slots {
		if slot == 0 {
			continue
		}
		e := x.table.entry(uint64(i))
		if !e.buffer().Evacuating() || e.buffer().Shared() {
			continue
		}
		moved := (*Entry)(x.entryPool.Copy(e.buffer().Bytes()))
		x.addStats(e, -1)
		x.addStats(moved, 1)
		if e.ExpireAt() != 0 {
			x.deadlines.replace(e, moved)
		}
		x.table.slots[i] = slot>>addrBits<<addrBits | uint64(moved.buffer().Addr())
		e.buffer().Release()
	}
}

// eachLive calls do with every entry that has not expired until it returns false, under mu.
func (x *index) eachLive(now int64, do func(*Entry) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.table.each(func(e *Entry) bool { return e.expired(now) || do(e) })
}

// all returns all entries, without references. The caller holds mu.
func (x *index) all() []*Entry {
	entries := make([]*Entry, 0, x.table.count)
	x.table.each(func(e *Entry) bool {
		entries = append(entries, e)
		return true
	})
	return entries
}

// due reports whether an entry has expired.
func (x *index) due(now int64) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.deadlines.due(now)
}
