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
	left    atomic.Int32  // futures whose commits are awaited, and one more until Wait has begun
	opened  chan struct{} // has a token when left has fallen to zero; capacity 1
	copies  []*localCopy  // that know of the latch
	unsaved []Future      // that need a sync besides
	timer   *time.Timer
}

// Add makes the next Wait wait for a future as well.
func (l *Latch) Add(f Future) {
	if f.shard == nil {
		return
	}
	if f.awaitsCommit() {
		l.addCommit(&f.shard.localCopy, f.leader, f.seq)
	}
	if f.end != 0 {
		l.unsaved = append(l.unsaved, f)
	}
}

// addCommit makes the next Wait wait until it is known what became of a change of a copy. What the copy has appended leaves for
// the others.
func (l *Latch) addCommit(c *localCopy, leader, seq uint64) {
	if len(l.copies) == 0 {
		l.left.Store(1)
	}
	if l.opened == nil {
		l.opened = make(chan struct{}, 1)
	}
	if l.join(c, leader, seq) {
		l.copies = append(l.copies, c)
		c.process.sendNow(c.shard)
	}
}

// Wait returns when it is known what became of all futures that were added, or when ctx is done or a time has passed; 0 for no
// limit. It leaves the syncs undone then. It does not wait for leases. Future.Done tells the outcomes.
func (l *Latch) Wait(ctx context.Context, limit time.Duration) {
	defer l.reset()
	if len(l.copies) > 0 && l.left.Add(-1) > 0 && !l.await(ctx, limit) {
		l.withdraw()
		return
	}
	for i := range l.unsaved {
		f := &l.unsaved[i]
		_ = f.shard.writer.log.Sync(f.end) // Done tells
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
	for _, c := range l.copies {
		l.leave(c)
	}
	select {
	case <-l.opened:
	default:
	}
}

// maxLatchKept is the number of futures for which a latch keeps memory.
const maxLatchKept = 64

func (l *Latch) reset() {
	clear(l.copies)
	clear(l.unsaved)
	l.copies, l.unsaved = l.copies[:0], l.unsaved[:0]
	if cap(l.copies) > maxLatchKept {
		l.copies = nil
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

// join makes the latch wait until it is known what became of a change that a copy appended in a leader epoch. It returns false if
// that is known.
func (l *Latch) join(c *localCopy, leader, seq uint64) bool {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if done, _ := c.outcome(leader, seq); done {
		return false
	}
	l.left.Add(1)
	c.waiters.add(seq, l)
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
	l.addCommit(c, leader, seq)
	l.Wait(ctx, 0)
}
