package shard

import (
	"bytes"
	"slices"

	"github.com/ndring/ndring/persistence"
)

// Tx is a transaction on a shard. It reads and writes atomically: it sees its own changes at once,
// and others see all of them together, when they are in the log.
//
// What it reads for itself is the shard once all that is appended is committed: the uncommitted suffix over the index. The
// methods of Shard that only read use a Tx that sees the index alone, like all readers.
type Tx struct {
	By int64 // the client that the transaction is for; 0 for none

	s       *Shard
	now     int64  // Unix time in ms
	writes  bool   // it sees the suffix over the index. Otherwise the caller holds index.mu
	seq     uint64 // of the last change
	changes []change
	latest  map[string]int         // index of the last change of each key; nil while there are few changes
	answers map[requestKey]Outcome // of the requests among the changes
	repeats bool                   // a request got the outcome of an earlier write, which must be durable before the reply
	looked  bool                   // it has looked at the shard, not only at its own changes
	rests   uint64                 // seq of the newest uncommitted change that it looked at; 0 for none
	alive   [][]byte               // keys with a deadline that it found
	usual   Concern                // of changes that name none
	concern Concern                // the strongest of the changes
}

// Searching this many changes is faster than making a map.
const fewChanges = 8

// add adds a change.
func (tx *Tx) add(c change) {
	tx.seq++
	c.seq, c.by = tx.seq, tx.By
	if c.concern == ConcernDefault {
		c.concern = tx.usual
	}
	tx.concern = max(tx.concern, c.concern)
	tx.changes = append(tx.changes, c)
	if c.request != (requestKey{}) {
		if tx.answers == nil {
			tx.answers = make(map[requestKey]Outcome)
		}
		tx.answers[c.request] = c.outcome(tx.s.writer.epoch.Load())
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

// entry returns the entry of a key, expired or not; nil if it is missing.
func (tx *Tx) entry(key []byte) *Entry {
	if tx.latest != nil {
		if i, found := tx.latest[string(key)]; found {
			return tx.changes[i].entry
		}
		return tx.look(key)
	}
	for i := len(tx.changes) - 1; i >= 0; i-- {
		if bytes.Equal(tx.changes[i].key, key) {
			return tx.changes[i].entry
		}
	}
	return tx.look(key)
}

// look returns the entry of a key without the transaction's own changes. Suffix and index are one look, because a
// commit may move an entry from one to the other at any time. Nothing frees the entry during the transaction: only a later change
// replaces what a key has at the end of the suffix.
func (tx *Tx) look(key []byte) *Entry {
	if !tx.writes {
		return tx.s.index.get(key)
	}
	x := &tx.s.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	e, seq := tx.s.localCopy.find(key)
	tx.looked, tx.rests = true, max(tx.rests, seq)
	if e != nil && e.expired(tx.now) { // a reader may still see the key
		tx.rests = max(tx.rests, tx.s.suffix.keepsAlive(e))
	}
	return e
}

// live returns the entry of a key unless it has expired.
func (tx *Tx) live(key []byte) *Entry {
	e := tx.entry(key)
	if e == nil || !e.expired(tx.now) {
		tx.foundAlive(key, e)
		return e
	}
	if !tx.writes && !e.expired(readTime(tx.s, key, tx.now)) {
		return e
	}
	return nil
}

// foundAlive notes that a transaction has found an entry, nil for none, which readers may soon see expire.
func (tx *Tx) foundAlive(key []byte, e *Entry) {
	if tx.writes && e != nil && e.ExpireAt() != 0 {
		tx.alive = append(tx.alive, key)
	}
}

// restsOn returns the keys with a deadline that the transaction has found and does not change.
func (tx *Tx) restsOn() (keys [][]byte) {
	for _, key := range tx.alive {
		if !slices.ContainsFunc(tx.changes, func(c change) bool { return bytes.Equal(c.key, key) }) {
			keys = append(keys, bytes.Clone(key)) // the caller may use its memory again
		}
	}
	return keys
}

// readTime returns the time at which a reader looks a key up. While a change is under way that may rest on the key's value, from the
// moment at which its conditions are checked until it is committed, that moment counts: a reader that sees the value expire in between
// would contradict the change. The caller holds index.mu.
func readTime(s *Shard, key []byte, now int64) int64 {
	return min(now, s.suffix.firstTime(key, now), s.writer.deciding.at(now))
}

// Now returns the Unix time in ms of the transaction: all of it happens at one moment.
func (tx *Tx) Now() int64 { return tx.now }

// Get returns the entry of a key, with its bytes retained: the caller must Release it. It returns
// nil for a missing key. Touch records an access.
func (tx *Tx) Get(key []byte, touch bool) *Entry {
	e := tx.live(key)
	if e == nil {
		tx.s.index.counts.misses.Add(1)
		return nil
	}
	tx.s.index.counts.hits.Add(1)
	if touch {
		tx.touch(e)
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

// touch records an access to an entry.
func (tx *Tx) touch(e *Entry) {
	a := &e.head().access
	if config := tx.s.store.memory.config.Load(); config.Policy.LFU() {
		a.count(tx.now, config.LFULogFactor, config.LFUDecay)
	}
	a.touch(tx.now)
}

// Peek is Get without a trace: it counts neither a hit nor an access.
func (tx *Tx) Peek(key []byte) *Entry {
	e := tx.live(key)
	if e != nil {
		e.retain()
	}
	return e
}

// Set performs one write. It takes over the references of w.Value, whatever the outcome.
func (tx *Tx) Set(w Write) (Outcome, error) { return tx.write(&w) }

// write is Set of a write that the caller need not copy.
func (tx *Tx) write(w *Write) (Outcome, error) {
	if w.RequestID != "" && w.request == (requestKey{}) {
		w.request = requestOf(w.Key, w.RequestID)
	}
	if earlier, found := tx.answered(w.request); found {
		tx.s.writer.discardWrite(w)
		return earlier, nil
	}
	if w.RequestID != "" && !tx.s.remembersMore(len(tx.answers)) {
		tx.s.writer.discardWrite(w)
		return Outcome{}, ErrBusy
	}
	if err := tx.s.writer.prepare(w); err != nil {
		return Outcome{}, err
	}
	outcome := tx.set(w)
	if !outcome.Done && w.RequestID != "" {
		tx.add(change{kind: persistence.Delete, refused: true, request: w.request, concern: w.Concern})
	}
	return outcome, nil
}

// answered returns the outcome of an earlier request with the same id.
func (tx *Tx) answered(request requestKey) (outcome Outcome, found bool) {
	if request == (requestKey{}) {
		return outcome, false
	}
	if outcome, found = tx.answers[request]; !found {
		var seq uint64
		outcome, seq, found = tx.s.answered(request)
		tx.rests = max(tx.rests, seq)
	}
	tx.repeats = tx.repeats || found
	return outcome, found
}

// SetAll performs unconditional writes.
func (tx *Tx) SetAll(writes []Write) error {
	if err := tx.s.writer.prepareAll(writes); err != nil {
		return err
	}
	for i := range writes {
		tx.set(&writes[i])
	}
	return nil
}

// set adds the change of a prepared write if its condition holds.
func (tx *Tx) set(w *Write) Outcome {
	var old *Entry
	if w.Condition != Always || w.Expiry.Keep {
		old = tx.live(w.Key)
	}
	if !w.conditionHolds(old) {
		tx.s.writer.discard(w.entry, true)
		return Outcome{}
	}
	at := w.Expiry.At
	if w.Expiry.Keep && old != nil {
		at = old.ExpireAt()
	}
	epoch := tx.s.writer.epoch.Load()
	if at != 0 && tx.now >= at { // EXAT in the past: Redis deletes the key
		tx.s.writer.discard(w.entry, true)
		tx.add(change{kind: persistence.Delete, key: w.Key, request: w.request, concern: w.Concern})
		return Outcome{Done: true, Version: Version{epoch, tx.seq}}
	}
	h := w.entry.head()
	h.version, h.expireAt = Version{epoch, tx.seq + 1}, at
	tx.add(change{kind: persistence.Put, key: w.entry.Key(), entry: w.entry, upload: w.upload, requestID: w.RequestID, request: w.request, concern: w.Concern})
	return Outcome{Done: true, Version: h.version}
}

// Delete removes keys and returns how many of them existed.
func (tx *Tx) Delete(keys [][]byte) (deleted int, err error) {
	for _, key := range keys {
		if e := tx.entry(key); e != nil {
			if !e.expired(tx.now) {
				deleted++
			}
			tx.add(change{kind: persistence.Delete, key: key})
		}
	}
	return deleted, nil
}

// Exists returns how many of the keys exist; a key that is named twice counts twice.
func (tx *Tx) Exists(keys [][]byte, touch bool) (found int) {
	for _, key := range keys {
		if e := tx.live(key); e != nil {
			found++
			if touch {
				tx.touch(e)
			}
		}
	}
	return found
}

// Results of Deadline that are not a time, as Redis' TTL has them.
const (
	NoDeadline = -1
	NoKey      = -2
)

// Deadline returns the Unix time in ms at which a key expires, and the time now; or NoDeadline or
// NoKey.
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

// Mark is the state of a key at a moment. Two equal marks of a key mean that it had the same value
// and deadline, or was missing, all the time in between: a shard that another node served meanwhile
// is in a later leader epoch.
//
// WATCH marks what the index has, and EXEC compares the mark with the suffix over the index: a client that marked an
// uncommitted value and read the one before it would otherwise find its mark unchanged once that value is committed.
type Mark struct {
	version  Version // of a missing key: the shard's leader epoch, and what removal or change was the last that may concern the key
	expireAt int64
}

// Mark returns the present state of a key.
//
// A key that was missing, came and went again has changed, as in Redis. So the mark of a missing key has the number of keys
// that the shard has removed so far: a removal of another key makes EXEC fail, too, and its client tries again.
func (tx *Tx) Mark(key []byte) Mark {
	e := tx.entry(key)
	if flawed("watchSuffix") && !tx.writes {
		e, _ = tx.s.localCopy.find(key)
	}
	missing := Mark{Version{Epoch: tx.s.LeaderEpoch(), Seq: tx.s.index.removals.Load()}, noKey}
	switch {
	case e == nil && tx.writes && tx.s.changing(key) != 0:
		missing.version.Seq = 1<<63 | tx.s.changing(key)
	case e == nil:
	case e.expired(tx.now) && (tx.writes || e.expired(readTime(tx.s, key, tx.now))):
		missing.version.Seq++ // once it is removed, too
	default:
		tx.foundAlive(key, e)
		return Mark{e.Version(), e.ExpireAt()}
	}
	return missing
}

// noKey is what the mark of a missing key has for a deadline.
const noKey = -1

// changing returns the seq of the newest change of a key that is not committed; 0 for none.
func (c *contents) changing(key []byte) uint64 {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	_, seq, _ := c.suffix.find(key)
	return seq
}

// ExpireCondition says when Expire changes a deadline; zero for always. "No deadline" counts as
// infinitely late.
type ExpireCondition struct{ NX, XX, GT, LT bool }

// Expire sets the deadline of a key (Unix time in ms); a time that has passed deletes the key. It
// reports whether it changed anything.
func (tx *Tx) Expire(key []byte, at int64, condition ExpireCondition) (bool, error) {
	e := tx.live(key)
	if e == nil || !condition.holds(e.ExpireAt(), at) {
		return false, nil
	}
	if at <= tx.now {
		tx.add(change{kind: persistence.Delete, key: key})
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

// Persist removes the deadline of a key and reports whether there was one.
func (tx *Tx) Persist(key []byte) (bool, error) {
	e := tx.live(key)
	if e == nil || e.ExpireAt() == 0 {
		return false, nil
	}
	tx.setDeadline(e, 0)
	return true, nil
}

// setDeadline changes when an entry expires; 0 means never.
func (tx *Tx) setDeadline(e *Entry, at int64) {
	changed := e.withDeadline(tx.s.store.pool, at)
	tx.add(change{kind: persistence.Expire, key: changed.Key(), entry: changed})
}

// begin begins a transaction that may write. Reset has ended the one before.
func (tx *Tx) begin(s *Shard, now int64, seq uint64) {
	tx.s, tx.now, tx.writes, tx.seq, tx.By = s, now, true, seq, 0
	tx.latest, tx.repeats, tx.looked, tx.rests = nil, false, false, 0
	tx.usual, tx.concern = s.store.copies.Load().Write, ConcernDefault
}

// reset forgets the changes and releases the entries of those that were not applied.
func (tx *Tx) reset() {
	for i := range tx.changes {
		if c := &tx.changes[i]; c.entry != nil {
			tx.s.writer.discard(c.entry, c.kind == persistence.Put)
		}
	}
	if len(tx.answers) > maxKept {
		tx.answers = nil
	}
	if clear(tx.alive); cap(tx.alive) > maxKept {
		tx.alive = nil
	}
	tx.alive = tx.alive[:0]
	clear(tx.answers)
	clear(tx.changes)
	if cap(tx.changes) > maxKept {
		tx.changes = nil
	}
	tx.changes = tx.changes[:0]
}
