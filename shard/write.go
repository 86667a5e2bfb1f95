package shard

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
)

// The write path. This file follows its order, and all changes of a shard take it:
//
//	prepare      copy the value into an entry, stage its blob        no lock
//	runTx        check conditions, collect changes                   writer.mu
//	append       give the changes their seqs, write them to the log  writer.mu
//	apply        make them visible                                   writer.mu, index.mu
//	Future.Wait  under appendfsync always, sync the log              no lock
//
// Eviction and expiry start at commit, which appends and then applies. Recovery applies what an
// earlier run appended.

// Condition says whether a write happens at all.
type Condition int

// The conditions that Redis' SET has, and IfVersion.
const (
	Always    Condition = iota
	IfMissing           // NX
	IfPresent           // XX
	IfVersion           // the stored version is exactly Write.IfVersion
)

// Expiry says which deadline a write leaves the key with.
type Expiry struct {
	Keep bool  // keep the old value's deadline
	At   int64 // Unix time in ms; 0 means never
}

// Write is one value on its way into a shard.
type Write struct {
	Key       []byte
	Value     Value
	Condition Condition
	IfVersion Version
	Expiry    Expiry
	RequestID string // names the request, so that a repeat is recognized; "" for none

	request requestKey // of Key and RequestID
	entry   *Entry     // made of Key and Value, which it has taken over; nil before prepare
}

// Outcome is what became of a Write.
type Outcome struct {
	Done    bool // false: the condition did not hold
	Version Version
}

func (w *Write) conditionHolds(old *Entry) bool {
	switch w.Condition {
	case IfMissing:
		return old == nil
	case IfPresent:
		return old != nil
	case IfVersion:
		return old != nil && old.Version() == w.IfVersion
	}
	return true
}

// change is one effect of a write on a shard.
type change struct {
	kind      persistence.Type
	reason    persistence.Reason
	seq       uint64
	key       []byte
	entry     *Entry // that the key gets, of a Put or Expire; else nil
	requestID string
	request   requestKey
	refused   bool // the condition of a write did not hold: the change records the outcome of its request and has no key
}

// outcome returns the outcome of the change's request.
func (c *change) outcome(epoch uint64) Outcome {
	if c.refused {
		return Outcome{}
	}
	return Outcome{true, Version{epoch, c.seq}}
}

// writer orders the changes of a shard, logs them and applies them to the index.
//
// Invariant: the index and the requests are the result of all changes up to seq, in the order of
// the log, without what time alone removes: requests that are too old to be repeated, and expired
// entries whose removal the log has refused (RemoveExpired).
type writer struct {
	clock  Clock
	pool   *memory.Pool // for entries
	index  *index
	disk   *Disk
	log    *persistence.Log // nil without a data folder
	logged bool             // every change goes to the log

	epoch   atomic.Uint64 // of the next change; it changes only while the gate is closed
	unsaved atomic.Int64  // changes since the last snapshot

	// mu is held from the first look at the shard to the last change, across the write to the log.
	// It comes before index.mu. No goroutine holds it for two shards. It guards all below.
	mu       sync.Mutex
	seq      uint64 // of the newest change
	requests requestLog
	tx       Tx // reused by runTx
	encoder  encoder
}

// prepare makes the entry that a write is to store. It writes the blob of a large value before any
// lock is taken. On an error it releases the value.
func (w *writer) prepare(write *Write) error {
	if write.entry != nil {
		return nil
	}
	var blob persistence.BlobID
	err := w.disk.guard.checkFull()
	if payload := write.Value.payloadBytes(); err == nil && w.logged && payload >= persistence.BlobBytes {
		blob, err = w.log.Stage(write.Value.payload(nil))
		err = w.disk.countWrite(err, true)
	}
	if err != nil {
		write.Value.Release()
		return err
	}
	write.entry = newEntry(w.pool, write.Key, &write.Value, blob, w.clock())
	return nil
}

// prepareAll prepares all writes or, on an error, releases the values of all of them.
func (w *writer) prepareAll(writes []Write) error {
	for i := range writes {
		if err := w.prepare(&writes[i]); err != nil {
			for j := range writes {
				if j < i {
					w.discard(writes[j].entry, true)
				} else if j > i {
					writes[j].Value.Release()
				}
			}
			return err
		}
	}
	return nil
}

// discard releases an entry that is not going to be stored. Staged says that its blob was written
// for it.
func (w *writer) discard(e *Entry, staged bool) {
	if staged && e.blob() != 0 {
		w.log.Abandon(e.blob())
	}
	e.Release()
}

// discardWrite releases what a write holds that is not going to happen.
func (w *writer) discardWrite(write *Write) {
	if write.entry != nil {
		w.discard(write.entry, true)
	} else {
		write.Value.Release()
	}
}

// update runs a transaction and commits its changes.
func (w *writer) update(s *Shard, do func(*Tx)) (Future, error) {
	end, err := w.runTx(s, do)
	if err != nil {
		return Future{}, err
	}
	return w.future(s, end), nil
}

// runTx runs a transaction and commits its changes. It returns the position in the log that must be
// durable before the reply; 0 for none.
func (w *writer) runTx(s *Shard, do func(*Tx)) (persistence.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tx := &w.tx
	*tx = Tx{s: s, now: w.clock(), seq: w.seq, changes: tx.changes[:0], answers: tx.answers}
	defer tx.reset() // after a panic of do, too
	do(tx)
	if len(tx.changes) > 0 {
		return w.commit(tx.changes, tx.now)
	}
	if tx.repeats && w.logged {
		return w.log.Position(), nil
	}
	return 0, nil
}

// commit logs changes and makes them visible. The caller holds writer.mu.
//
// With one copy of a shard, a change is committed once it is appended. Replication will put its
// wait between the two calls: append and send under the lock, apply when the ISR has acknowledged.
func (w *writer) commit(changes []change, now int64) (persistence.Position, error) {
	end, err := w.append(changes)
	if err != nil {
		return 0, err
	}
	w.apply(changes, now)
	return end, nil
}

// append gives changes their seqs, writes them to the log and counts them. No other function
// appends to a shard's log. The caller holds writer.mu.
func (w *writer) append(changes []change) (end persistence.Position, err error) {
	for i := range changes {
		changes[i].seq = w.seq + 1 + uint64(i)
	}
	if w.logged {
		end, err = w.log.Append(w.encoder.changes(w.epoch.Load(), changes))
		w.encoder.reset()
		if err = w.disk.countWrite(err, err != nil && storesValue(changes)); err != nil {
			return 0, err
		}
	}
	w.seq += uint64(len(changes))
	w.unsaved.Add(int64(len(changes)))
	w.disk.unsaved.Add(int64(len(changes)))
	return end, nil
}

func storesValue(changes []change) bool {
	return slices.ContainsFunc(changes, func(c change) bool { return c.kind == persistence.Put })
}

// apply makes appended changes visible, all at one moment, and takes over their entries. The caller
// holds writer.mu.
func (w *writer) apply(changes []change, now int64) {
	epoch := w.epoch.Load()
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		w.index.applied = c.seq
		if c.request != (requestKey{}) {
			w.requests.remember(answer{c.request, c.outcome(epoch)}, now)
		}
		switch {
		case c.refused:
		case c.kind == persistence.Flush:
			w.index.clear()
			if c.reason == persistence.Stale {
				w.requests = requestLog{}
			}
		case c.entry == nil:
			w.index.remove(c.key)
		default:
			w.index.put(c.entry)
			c.entry = nil // owned by the index now
		}
	}
}

// future returns the future of changes that are in the log up to a position. Only appendfsync always makes a
// reply wait for the disk.
func (w *writer) future(s *Shard, end persistence.Position) Future {
	if end == 0 || w.disk.fsync() != FsyncAlways {
		return Future{}
	}
	return Future{shard: s, end: end}
}

// flush removes all keys.
func (w *writer) flush() (persistence.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index.table.count == 0 {
		return 0, nil
	}
	return w.commit([]change{{kind: persistence.Flush}}, w.clock())
}

// beginEpoch moves the shard to an epoch, and clears the copy if it is older than emptySince. The
// gate is closed.
func (w *writer) beginEpoch(epoch, emptySince uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.epoch.Swap(epoch)
	if before >= emptySince {
		return nil
	}
	if err := w.clearStale(); err != nil {
		w.epoch.Store(before)
		return err
	}
	return nil
}

// clearStale removes everything the shard has, in its present epoch. The gate is closed, and
// writer.mu is held.
//
// The Flush survives the end of the process. A loss of power may lose it, but then also everything
// that follows it in the log: what comes back is of the old epoch and stale again.
func (w *writer) clearStale() error {
	all := []change{{kind: persistence.Flush, reason: persistence.Stale}}
	if w.seq == 0 { // the log has no record, of entries or of requests
		w.apply(all, 0)
		return nil
	}
	_, err := w.commit(all, 0)
	return err
}
