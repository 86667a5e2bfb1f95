package shard

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// Latch waits for several futures at once: the goroutine that waits is woken once, and not for each of them. The zero Latch
// is ready, and is ready again after Wait. One goroutine uses it.
type Latch struct {
	left    atomic.Int32  // commits that are awaited, and one more until Wait has begun
	opened  chan struct{} // has a token when left has fallen to zero; capacity 1
	commits []commitWait
	unsaved []Future // that need a sync besides
	timer   *time.Timer
}

// commitWait is a change whose commit a latch awaits. Those before it of the same leader epoch are committed with it.
type commitWait struct {
	copy        *localCopy
	leader, seq uint64
}

// Add makes the next Wait wait for a future as well. It costs least when the newest future of a shard is added first.
func (l *Latch) Add(f Future) {
	if f.shard == nil {
		return
	}
	if f.AwaitsCommit() {
		l.addCommit(commitWait{&f.shard.localCopy, f.leader, f.seq})
	}
	if f.end != 0 {
		l.unsaved = append(l.unsaved, f)
	}
}

// addCommit makes the next Wait wait until it is known what became of a change of a copy. What the copy has appended leaves for
// the others.
func (l *Latch) addCommit(added commitWait) {
	for i := range l.commits {
		if c := &l.commits[i]; c.copy == added.copy && c.leader == added.leader && c.seq >= added.seq {
			return
		}
	}
	if len(l.commits) == 0 {
		l.left.Store(1)
	}
	if l.opened == nil {
		l.opened = make(chan struct{}, 1)
	}
	if l.join(&added) {
		l.commits = append(l.commits, added)
		added.copy.process.sendNow(added.copy.shard)
	}
}

// Wait returns when it is known what became of all futures that were added, or when ctx is done or a time has passed; 0 for no
// limit. It syncs what is committed by then and needs that. It does not wait for leases. Future.Done tells the outcomes.
func (l *Latch) Wait(ctx context.Context, limit time.Duration) {
	defer l.reset()
	if len(l.commits) > 0 && l.left.Add(-1) > 0 && !l.await(ctx, limit) {
		l.withdraw()
	}
	for i := range l.unsaved {
		l.unsaved[i].sync()
	}
}

// sync syncs the log up to a change, unless its commit is still awaited. Done tells of an error.
func (f *Future) sync() {
	if f.AwaitsCommit() {
		if known, _ := f.shard.committed(f.leader, f.seq); !known {
			return
		}
	}
	log := f.shard.writer.log
	if synced, _ := log.Synced(f.end); !synced {
		_ = log.Sync(f.end)
	}
}

// await waits for the token, and reports whether it came.
func (l *Latch) await(ctx context.Context, limit time.Duration) bool {
	var late <-chan time.Time
	if limit > 0 {
		if l.timer == nil {
			l.timer = time.NewTimer(limit)
		} else {
			l.timer.Reset(limit)
		}
		defer l.timer.Stop()
		late = l.timer.C
	}
	select {
	case <-l.opened:
		return true
	case <-ctx.Done():
	case <-late:
	}
	return false
}

// withdraw makes the copies forget the latch: none opens it afterwards.
func (l *Latch) withdraw() {
	for i := range l.commits {
		l.leave(l.commits[i].copy)
	}
	select {
	case <-l.opened:
	default:
	}
}

// maxLatchKept is the number of commits, and of futures, for which a latch keeps memory.
const maxLatchKept = 64

func (l *Latch) reset() {
	clear(l.commits)
	clear(l.unsaved)
	l.commits, l.unsaved = l.commits[:0], l.unsaved[:0]
	if cap(l.commits) > maxLatchKept {
		l.commits = nil
	}
	if cap(l.unsaved) > maxLatchKept {
		l.unsaved = nil
	}
}

// count counts a commit that the latch has waited for.
func (l *Latch) count() {
	if l.left.Add(-1) == 0 {
		l.opened <- struct{}{} // there is room: left falls to zero once between two resets
	}
}

// waiters wait for commits of one shard, by seq. The zero value is empty.
type waiters struct{ queue []waiter }

type waiter struct {
	seq   uint64
	latch *Latch
}

// add adds a waiter behind those that wait for an earlier or the same seq.
func (w *waiters) add(seq uint64, l *Latch) {
	i := len(w.queue)
	for i > 0 && w.queue[i-1].seq > seq {
		i--
	}
	w.queue = slices.Insert(w.queue, i, waiter{seq, l})
}

// wake ends the wait of all for whom applied is enough.
func (w *waiters) wake(applied uint64) {
	n := 0
	for n < len(w.queue) && w.queue[n].seq <= applied {
		w.queue[n].latch.count()
		n++
	}
	switch {
	case n == 0:
	case n == len(w.queue) && n > maxWaitersKept:
		w.queue = nil
	default:
		w.queue = slices.Delete(w.queue, 0, n)
	}
}

// maxWaitersKept is the number of waiters for which a shard keeps memory while there is none.
const maxWaitersKept = 64

// fail ends the wait of all: what they wait for may never be committed.
func (w *waiters) fail() { w.wake(math.MaxUint64) }

// join makes the latch wait until it is known what became of a change. It returns false if that is known.
func (l *Latch) join(w *commitWait) bool {
	c := w.copy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if done, _ := c.outcome(w.leader, w.seq); done {
		return false
	}
	l.left.Add(1)
	c.waiters.add(w.seq, l)
	return true
}

// leave makes a copy forget the latch.
func (l *Latch) leave(c *localCopy) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.waiters.queue = slices.DeleteFunc(c.waiters.queue, func(w waiter) bool { return w.latch == l })
}

// awaitChange returns when it is known what became of a change of a copy, or when ctx is done.
func awaitChange(ctx context.Context, c *localCopy, leader, seq uint64) {
	var l Latch
	l.addCommit(commitWait{c, leader, seq})
	l.Wait(ctx, 0)
}
