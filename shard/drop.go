package shard

import (
	"fmt"
	"runtime"

	"github.com/ndring/ndring/persistence"
)

// MayDrop reports whether this copy has anything, and its row lets the node drop it (M8 of docs/replication.md). The caller makes sure
// that the row is of a topology that knows this process.
func (c Copies) MayDrop() bool {
	own := &c.s.localCopy
	if !c.s.Ready() {
		return false
	}
	own.index.mu.RLock()
	defer own.index.mu.RUnlock()
	return (own.rules.End().Seq > 0 || own.applied > 0 || own.index.table.count > 0) && following{own}.mayDrop()
}

// mayDrop is MayDrop for a copy that has something. The caller holds index.mu.
func (c following) mayDrop() bool { return c.rules.MayDrop(c.process.mono()) && !c.installing }

// Drop empties this copy in memory and on disk, if MayDrop says so, and returns how many bytes of memory that frees. After the end of the
// process in the middle of it, a start finds the whole copy or none. On an error the copy stays.
func (c Copies) Drop() (bytes int64, err error) {
	w, own := &c.s.writer, following{&c.s.localCopy}
	if !c.MayDrop() || !own.claim() {
		return 0, nil
	}
	defer own.unclaim()
	var empty *persistence.Installation
	if w.log != nil { // which may take a while, and a new row must not wait for it
		if empty, err = w.log.Install(persistence.Point{}, nil); err == nil {
			if err = empty.Sync(); err != nil {
				empty.Abort()
			}
		}
		if err = w.disk.countWrite(err, false); err != nil {
			return 0, fmt.Errorf("shard %d: %w", w.shard, err)
		}
	}
	entries, err := own.swap(w, empty)
	return w.index.freeAll(&entries), err
}

// claim reports whether the copy may be dropped and no whole copy is on its way, and lets none come until unclaim.
func (c following) claim() bool {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if !c.mayDrop() {
		return false
	}
	c.installing = true
	return true
}

func (c following) unclaim() {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.installing = false
}

// swap puts an empty log in the place of the own one, if there is one, unless the row has changed so that the copy must stay. It returns
// the entries, which are visible no longer.
func (c following) swap(w *writer, empty *persistence.Installation) (entries hashTable, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !c.droppable() {
		if empty != nil {
			empty.Abort()
		}
		return entries, nil
	}
	if empty != nil {
		if err := w.disk.countWrite(empty.Commit(), false); err != nil { // it has aborted, or stopped the log
			return entries, fmt.Errorf("shard %d: %w", w.shard, err)
		}
	}
	w.seq, w.last.Epoch, w.last.Seq = 0, 0, 0
	w.disk.unsaved.Add(-w.unsaved.Swap(0))
	return c.drop(), nil
}

// droppable reports whether the row still lets the copy be dropped that claim has claimed.
func (c following) droppable() bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.MayDrop(c.process.mono())
}

// drop empties the copy, whose log is empty now. Its process may be a copy again in the same leader epoch, so the rules remember what it had.
func (c following) drop() (entries hashTable) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.truncate(0)
	entries = c.index.takeAll()
	c.fresh.Store(0)
	c.requests, c.digests, c.comparedAt, c.doubtful = requestLog{}, digests{}, 0, false
	c.applied, c.mustInstall = 0, true
	c.rules.Dropped()
	return entries
}

// takeAll takes all entries out of the index, from memory alone, and leaves them counted until freeAll. The caller holds mu.
func (x *index) takeAll() hashTable {
	x.removals.Add(1)
	table := x.table
	x.table, x.deadlines, x.sum, x.forgot = hashTable{}, nil, 0, false
	x.syncCounts()
	return table
}

// freeAll releases the entries that takeAll has returned, and returns how many bytes of memory they took. It needs no lock, and makes room for
// other goroutines: there may be millions.
func (x *index) freeAll(t *hashTable) (bytes int64) {
	n := 0
	t.each(func(e *Entry) bool {
		if n++; n%1024 == 0 {
			runtime.Gosched()
		}
		bytes += e.Footprint()
		x.addStats(e, -1)
		e.Release()
		return true
	})
	t.release()
	return bytes
}
