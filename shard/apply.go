package shard

import (
	"sync/atomic"

	"github.com/ndring/ndring/persistence"
)

// contents is what a copy of a shard has: what is visible, and over it what is appended and not committed. A change
// becomes visible only when it is committed, on a primary as on any other copy, so no copy ever takes back what a
// reader saw.
type contents struct {
	process *process
	index   *index
	gate    *gate         // of the shard; it has Alone and LeaderEpoch
	going   *atomic.Int64 // bytes of the node's entries that are about to be freed

	// index.mu guards all below.
	suffix   suffix
	held     atomic.Int64 // about the bytes of the suffix
	requests requestLog   // of the changes that are applied
	digests  digests
}

// hold puts a change into the suffix and takes over its entry.
func (c *contents) hold(ch *change, epoch, batch uint64, time int64) {
	p := pending{change: *ch, epoch: epoch, batch: batch, time: time}
	if ch.reason == persistence.Evicted || ch.reason == persistence.Expired {
		if e := c.index.get(ch.key); e != nil {
			p.frees = e.Footprint()
			c.going.Add(p.frees)
		}
	}
	p.bytes = pendingBytes
	if ch.entry != nil {
		p.bytes += ch.entry.Footprint()
	}
	c.held.Add(p.bytes)
	c.suffix.push(p)
	ch.entry = nil
}

// pendingBytes is about what a change in the suffix takes besides its entry.
const pendingBytes = 300

// maxHeld is how many bytes of changes that are not committed a shard takes on. While raft cannot remove a copy that is
// gone, nothing is committed.
const maxHeld = 64 << 20

// crowded reports whether the suffix is so long that further changes have to wait.
func (c *contents) crowded() bool { return c.held.Load() >= maxHeld }

// apply makes a committed change visible, takes over its entry and remembers the outcome of its request. No
// other function changes what readers see, on a primary, on another copy, or in a recovery. The caller holds
// index.mu.
func (c *contents) apply(ch *change, epoch uint64) {
	if ch.request != (requestKey{}) {
		c.requests.remember(answer{ch.request, ch.outcome(epoch)}, c.process.milliseconds())
	}
	switch {
	case ch.refused:
	case ch.kind == persistence.NoOp:
		c.noteDigest(ch.seq)
	case ch.kind == persistence.Flush:
		c.index.clear(ch.seq)
		if ch.reason == persistence.Stale {
			c.requests = requestLog{}
		}
	case ch.entry == nil:
		c.process.feed.changed(ch.key, ch.by, c.gate.told.Load())
		c.index.remove(ch.key, ch.seq)
	default:
		c.process.feed.changed(ch.key, ch.by, c.gate.told.Load())
		c.index.put(ch.entry, ch.seq)
		ch.entry = nil
	}
}

// truncate drops the suffix behind a seq. The log has removed these records and their blobs already.
func (c *contents) truncate(after uint64) {
	for p := c.suffix.newest(); p != nil && p.seq > after; p = c.suffix.newest() {
		gone := c.suffix.cut()
		c.going.Add(-gone.frees)
		c.held.Add(-gone.bytes)
		if gone.entry != nil {
			gone.entry.Release()
		}
	}
}

// find returns the entry that a key has once all that is appended is committed, nil for none. Seq is that of the
// uncommitted change on which this rests; 0 if it rests on the index.
func (c *contents) find(key []byte) (e *Entry, seq uint64) {
	if e, seq, found := c.suffix.find(key); found {
		return e, seq
	}
	return c.index.get(key), 0
}

// rest makes readers see what a transaction without changes has found, until what it has seen is committed: that is the earliest moment
// at which all of it may be true.
func (c *contents) rest(r resting) {
	if len(r.keys) == 0 {
		return
	}
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.suffix.rest(r)
}

// answered returns the outcome of a request that is appended, and the seq of its change if that is not committed.
func (c *contents) answered(request requestKey) (o Outcome, seq uint64, found bool) {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if o, seq, found = c.suffix.answered(request); found {
		return o, seq, true
	}
	o, found = c.requests.find(request, c.process.milliseconds())
	return o, 0, found
}

// remembersMore reports whether one more request can be remembered besides so many.
func (c *contents) remembersMore(besides int) bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.requests.hasRoom(len(c.suffix.requests)+besides+1, c.process.milliseconds())
}

// idle reports whether nothing is visible or on its way to be.
func (c *contents) idle() bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.index.table.count == 0 && c.suffix.empty()
}

// cut drops the suffix behind a seq.
func (c *contents) cut(after uint64) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.truncate(after)
}

// clear empties a copy that has no record.
func (c *contents) clear() {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.apply(&change{kind: persistence.Flush, reason: persistence.Stale}, 0)
}
