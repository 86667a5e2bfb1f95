package shard

import (
	"bytes"

	"github.com/ndring/ndring/persistence"
)

// Tx is a shard that is held: all that is done through it is done at one moment, with nothing of others in between. What it changes is seen by
// itself at once, and by others when it is done and in the log.
type Tx struct {
	s       *Shard
	now     int64  // Unix time in ms
	seq     uint64 // of the last change
	changes []change
	latest  map[string]int         // the last change of each key; nil while there are few
	answers map[requestKey]Outcome // to the requests among the changes
	repeats bool                   // a request was answered with what an earlier write has in the log
}

// change is what a Tx will do to a key.
type change struct {
	kind      persistence.Type
	reason    persistence.Reason
	seq       uint64
	key       []byte
	entry     *Entry // that the key will have; nil for none
	requestID string
	request   requestKey
	answers   bool // it has no key and takes nothing away: the condition of a write did not hold, which the answer to its request says
}

// outcome is the answer to the request of a change.
func (c *change) outcome(epoch uint64) Outcome {
	if c.answers {
		return Outcome{}
	}
	return Outcome{true, Version{epoch, c.seq}}
}

// fewChanges are looked through faster than a map is made.
const fewChanges = 8

func (tx *Tx) change(c change) {
	tx.seq++
	c.seq = tx.seq
	tx.changes = append(tx.changes, c)
	if c.request != (requestKey{}) {
		if tx.answers == nil {
			tx.answers = make(map[requestKey]Outcome)
		}
		tx.answers[c.request] = c.outcome(tx.s.epoch.Load())
	}
	switch n := len(tx.changes); {
	case n == fewChanges+1:
		tx.latest = make(map[string]int)
		for i := range tx.changes {
			tx.latest[string(tx.changes[i].key)] = i
		}
	case n > fewChanges:
		tx.latest[string(c.key)] = n - 1
	}
}

// entry returns what a key has, expired or not; nil for nothing.
func (tx *Tx) entry(key []byte) *Entry {
	if tx.latest != nil {
		if i, found := tx.latest[string(key)]; found {
			return tx.changes[i].entry
		}
		return tx.s.entries.get(key)
	}
	for i := len(tx.changes) - 1; i >= 0; i-- {
		if bytes.Equal(tx.changes[i].key, key) {
			return tx.changes[i].entry
		}
	}
	return tx.s.entries.get(key)
}

// live returns what a key has unless it has expired.
func (tx *Tx) live(key []byte) *Entry {
	if e := tx.entry(key); e != nil && !e.expired(tx.now) {
		return e
	}
	return nil
}

// Get returns the entry of a key, with its bytes retained: the caller must Release it. It returns nil for a missing key.
// Touch makes the key count as used now.
func (tx *Tx) Get(key []byte, touch bool) *Entry {
	e := tx.live(key)
	if e == nil {
		tx.s.counts.misses.Add(1)
		return nil
	}
	tx.s.counts.hits.Add(1)
	if touch {
		tx.s.touch(e, tx.now)
	}
	e.retain()
	return e
}

// GetAll returns the entries of several keys, as Get does for one.
func (tx *Tx) GetAll(keys [][]byte, touch bool) []*Entry {
	entries := make([]*Entry, len(keys))
	for i, key := range keys {
		entries[i] = tx.Get(key, touch)
	}
	return entries
}

// Peek returns the entry of a key as Get does, but leaves no trace: it is neither a hit nor a use.
func (tx *Tx) Peek(key []byte) *Entry {
	e := tx.live(key)
	if e != nil {
		e.retain()
	}
	return e
}

// Delete removes keys and returns how many of them were there.
func (tx *Tx) Delete(keys [][]byte) (deleted int, err error) {
	for _, key := range keys {
		if e := tx.entry(key); e != nil {
			if !e.expired(tx.now) {
				deleted++
			}
			tx.change(change{kind: persistence.Delete, key: key})
		}
	}
	return deleted, nil
}

// Exists returns how many of the keys are there; a key that is named twice counts twice.
func (tx *Tx) Exists(keys [][]byte, touch bool) (found int) {
	for _, key := range keys {
		if e := tx.live(key); e != nil {
			found++
			if touch {
				tx.s.touch(e, tx.now)
			}
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
func (tx *Tx) Deadline(key []byte) (at, now int64) {
	switch e := tx.live(key); {
	case e == nil:
		return NoKey, tx.now
	case e.ExpireAt() == 0:
		return NoDeadline, tx.now
	default:
		return e.ExpireAt(), tx.now
	}
}

// Mark is what a key was like at a moment. Two equal marks of a key mean that it has the same value and deadline, or none since: a shard that was
// served elsewhere in between is in a later epoch.
type Mark struct {
	version  Version // of a missing key: the shard's epoch, and 0
	expireAt int64
}

// Mark returns what a key is like now.
func (tx *Tx) Mark(key []byte) Mark {
	e := tx.live(key)
	if e == nil {
		return Mark{version: Version{Epoch: tx.s.epoch.Load()}}
	}
	return Mark{e.Version(), e.ExpireAt()}
}

// ExpireCondition says when Expire changes a deadline at all; zero for always. "No deadline" counts as infinitely late.
type ExpireCondition struct{ NX, XX, GT, LT bool }

// Expire makes at (Unix time in ms) the deadline of a key; a time that has passed deletes it. It reports whether it did anything.
func (tx *Tx) Expire(key []byte, at int64, condition ExpireCondition) (bool, error) {
	e := tx.live(key)
	if e == nil || !condition.holds(e.ExpireAt(), at) {
		return false, nil
	}
	if at <= tx.now {
		tx.change(change{kind: persistence.Delete, key: key})
		return true, nil
	}
	tx.setDeadline(e, at)
	return true, nil
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
func (tx *Tx) Persist(key []byte) (bool, error) {
	e := tx.live(key)
	if e == nil || e.ExpireAt() == 0 {
		return false, nil
	}
	tx.setDeadline(e, 0)
	return true, nil
}

// setDeadline changes when an entry expires, 0 for never.
func (tx *Tx) setDeadline(e *Entry, at int64) {
	changed := e.withDeadline(tx.s.store.pool, at)
	tx.change(change{kind: persistence.Expire, key: changed.Key(), entry: changed})
}
