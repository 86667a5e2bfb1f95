package shard

import (
	"sync"
	"sync/atomic"
)

// Feed tells one reader which keys change, so that it can tell clients that keep copies of values.
//
// A change is in the feed before readers of the store see it. Until Start, a change costs one atomic load.
type Feed struct {
	on    atomic.Bool
	added chan struct{} // has a token when something was added to a feed that was empty

	mu      sync.Mutex // a leaf, taken under index.mu; guards all below
	changes []KeyChange
	bytes   int  // of their keys
	rest    bool // more may have changed than changes tells
}

// KeyChange says that a key has another value or deadline, or is gone.
type KeyChange struct {
	Key    string
	By     int64 // the client that made the change, as Write.By or Tx.By names it; 0 if that is unknown
	Served bool  // this node served the shard; otherwise it applied the change of another node
}

// Bounds of what a feed holds. A reader that falls behind learns that anything may have changed.
const (
	maxFeed      = 64 << 10 // changes
	maxFeedBytes = 16 << 20 // of keys
)

// Start makes the feed collect changes.
func (f *Feed) Start() { f.on.Store(true) }

// Stop ends Start and drops what the feed holds.
func (f *Feed) Stop() {
	f.on.Store(false)
	f.Take(nil)
}

// Added returns a channel that has a token when there may be something to take.
func (f *Feed) Added() <-chan struct{} { return f.added }

// Take empties the feed and returns its changes, the oldest first. With rest any other key may have changed, too. Next is an
// empty slice, or nil, in which the feed collects further changes.
func (f *Feed) Take(next []KeyChange) (changes []KeyChange, rest bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes, rest = f.changes, f.rest
	f.changes, f.bytes, f.rest = next[:0], 0, false
	return changes, rest
}

// changed adds the change of a key. The caller holds index.mu, and changes the key before it releases that.
func (f *Feed) changed(key []byte, by int64, served bool) {
	if f.on.Load() {
		f.add(KeyChange{string(key), by, served})
	}
}

func (f *Feed) add(c KeyChange) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.rest: // which says all
		return
	case len(f.changes) >= maxFeed || f.bytes+len(c.Key) > maxFeedBytes:
		f.changes, f.bytes, f.rest = nil, 0, true
	default:
		f.changes = append(f.changes, c)
		f.bytes += len(c.Key)
	}
	f.tell()
}

// changedAll says that any key may have changed.
func (f *Feed) changedAll() {
	if !f.on.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changes, f.bytes, f.rest = nil, 0, true
	f.tell()
}

func (f *Feed) tell() {
	select {
	case f.added <- struct{}{}:
	default: // the reader has not taken the last token yet
	}
}
