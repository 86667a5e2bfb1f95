package shard

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// The write path. This file follows its order, and all changes of a shard take it:
//
//	prepare      copy the value into an entry, stage its blob                            no lock
//	update       check conditions against suffix over index, collect changes             writer.mu
//	append       give the changes their seqs, write them to the log                      writer.mu
//	hold         keep them in the suffix until the maximal ISR has acknowledged them     writer.mu, index.mu
//	apply        make them visible                                                       index.mu
//	Latch.Wait   wait for the commit and, under appendfsync always, for the disk         no lock
//
// A copy that is alone in the maximal ISR commits what it appends, so apply follows append at once, and nothing is held.
// Eviction and expiry start at commit. A recovery applies, or holds, what an earlier run appended.

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
	By        int64  // the client, for Feed; 0 for none
	Concern   Concern

	request requestKey // of Key and RequestID
	upload  uint64     // under which the value was sent ahead to other copies; 0: it was not
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
	time      int64  // of a NoOp: Unix time in ms
	upload    uint64 // under which the value of a Put was sent ahead to the other copies; 0: it was not
	requestID string
	request   requestKey
	by        int64 // the client that asked for it; 0: unknown
	concern   Concern
	restsOn   [][]byte // of a transaction's last one: the keys with a deadline that it has found and does not change
	refused   bool     // the condition of a write did not hold: the change records the outcome of its request and has no key
}

// outcome returns the outcome of the change's request.
func (c *change) outcome(epoch uint64) Outcome {
	if c.refused {
		return Outcome{}
	}
	return Outcome{true, Version{epoch, c.seq}}
}

// writer orders the changes of a shard and logs them.
//
// Invariant: the index, the suffix over it, and the requests of both are the result of all changes up to seq, in the
// order of the log, without what time alone removes: requests that are too old to be repeated, and expired
// entries whose removal the log has refused (RemoveExpired).
type writer struct {
	clock  Clock
	pool   *memory.Pool // for entries
	index  *index
	copy   *localCopy
	disk   *Disk
	shard  int
	log    *persistence.Log // nil without a data folder
	logged bool             // every change goes to the log

	epoch    atomic.Uint64 // of the next change; it changes under mu
	unsaved  atomic.Int64  // changes since the last snapshot
	deciding deciding
	underway underway
	writing  atomic.Uint64 // seq up to which a write to the log is under way; 0 for none

	// mu is held from the first look at the shard to the last change, across the write to the log.
	// It comes before index.mu. No goroutine holds it for two shards. It guards all below.
	mu      sync.Mutex
	seq     uint64 // of the newest record
	last    replica.Point
	noOps   noOps
	send    []replica.Process // receivers of what is appended
	tx      Tx                // reused by runTx
	encoder encoder
	batch   Batch // reused by batchOf

	backlogs []*backlog // of cursors
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

// deciding is when the transaction that is under way began, Unix time in ms; 0 for none, readsClock while that is not known.
type deciding struct{ atomic.Int64 }

const readsClock = -1

// at returns when the transaction that is under way began; otherwise, if there is none.
func (d *deciding) at(otherwise int64) int64 {
	for {
		switch at := d.Load(); at {
		case 0:
			return otherwise
		case readsClock:
			runtime.Gosched()
		default:
			return at
		}
	}
}

// update runs a transaction and commits its changes, or leaves that to the other copies' acknowledgements.
func (w *writer) update(s *Shard, do func(*Tx)) (Future, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tx := &w.tx
	w.deciding.Store(readsClock) // before that: a reader that has not seen it has an earlier time
	now := w.clock()
	w.deciding.Store(now)
	defer w.deciding.Store(0)
	tx.begin(s, now, w.seq+uint64(len(w.noOpFor(now))))
	defer tx.reset() // after a panic of do, too
	do(tx)
	if len(tx.changes) > 0 {
		tx.changes[len(tx.changes)-1].restsOn = tx.restsOn()
		end, err := w.commit(tx.changes, now, w.copy.process.needsOf(tx.concern))
		if err != nil {
			return Future{}, err
		}
		if w.copy.gate.Alone() && (end == 0 || w.disk.fsync() != FsyncAlways) { // future would return this, too
			w.sendNow()
			return Future{}, nil
		}
		return w.sendUnlessAwaited(w.future(s, w.seq, end).with(tx.concern)), nil
	}
	if tx.rests != 0 {
		w.copy.rest(resting{tx.rests, tx.now, tx.restsOn()})
	}
	f := Future{}
	if tx.repeats && w.logged {
		f = w.future(s, tx.rests, w.log.Position())
	} else if !w.copy.gate.Alone() {
		f = w.future(s, tx.rests, 0)
	}
	if tx.looked && !w.copy.gate.Alone() && !flawed("conditionNoLease") {
		f.shard, f.leader, f.lease = s, w.copy.gate.LeaderEpoch(), true
	}
	return f, nil
}

// future returns the future of a change, 0 for none, and of a position in the log. A copy that is alone has committed
// the change, and only appendfsync always makes a reply wait for the disk.
func (w *writer) future(s *Shard, seq uint64, end persistence.Position) Future {
	f := Future{shard: s}
	if seq != 0 && !w.copy.gate.Alone() {
		f.leader, f.seq = w.copy.gate.LeaderEpoch(), seq
	}
	if end != 0 && w.disk.fsync() == FsyncAlways {
		f.end = end
	}
	if f.seq == 0 && f.end == 0 {
		return Future{}
	}
	return f
}

// commitNow is commit for a caller that does not wait for a future: the changes leave for the other copies at once.
func (w *writer) commitNow(changes []change, now int64) error {
	_, err := w.commit(changes, now, needs{})
	w.sendNow()
	return err
}

// sendUnlessAwaited returns the future of a change. The change is sent at once unless its writer waits for the commit.
func (w *writer) sendUnlessAwaited(f Future) Future {
	if !f.AwaitsCommit() {
		w.sendNow()
	}
	return f
}

// sendNow makes what is appended leave for the other copies, if there are some.
func (w *writer) sendNow() {
	if w.sends() {
		w.copy.process.sendNow(w.shard)
	}
}

// commit logs changes and takes them to the other copies, if the ISR is what they need. They leave when someone waits for them
// (Latch), so that one message carries all changes of a pipeline. They are visible once the copies have acknowledged them; a copy
// that is alone makes them visible at once. The caller holds writer.mu.
func (w *writer) commit(changes []change, now int64, n needs) (persistence.Position, error) {
	if !w.copy.enough(n) {
		return 0, ErrNoReplicas
	}
	epoch := w.epoch.Load()
	noOp := w.noOpFor(now)
	defer w.encoder.reset()
	end, records, err := w.append(noOp, changes)
	if err != nil {
		return 0, err
	}
	if len(noOp) > 0 {
		w.noOps.leader, w.noOps.time, w.noOps.asked = w.copy.gate.LeaderEpoch(), now, false
		w.copy.process.note(now)
		records = w.replicate(noOp, epoch, now, records)
	}
	if len(changes) > 0 {
		w.replicate(changes, epoch, now, records)
	}
	return end, nil
}

// replicate hands a batch that is in the log to the other copies and to this one. No other copy gets what the own log has
// refused. The records begin with those of the batch, if other copies need them; it returns the rest.
func (w *writer) replicate(batch []change, epoch uint64, now int64, records [][]persistence.Record) [][]persistence.Record {
	before := w.last
	w.last = replica.Point{Epoch: epoch, Seq: batch[len(batch)-1].seq}
	if w.sends() { // without a replicator the change stays uncommitted
		encoded := w.batchOf(before, batch, records[0])
		w.enqueue(encoded)
		for _, b := range w.backlogs {
			b.add(encoded)
		}
	}
	w.copy.appended(batch, epoch, now)
	if len(records) > 0 {
		records = records[1:]
	}
	return records
}

// enqueue hands a batch to the replicator for each other copy.
func (w *writer) enqueue(encoded *Batch) {
	for _, to := range w.send {
		w.copy.process.replicator.Enqueue(to, w.shard, encoded)
	}
}

// sends reports whether what is appended goes to other copies.
func (w *writer) sends() bool { return w.copy.process.replicator != nil && len(w.send) > 0 }

// append gives changes their seqs, writes them to the log behind a no-op, if there is one, and counts them. No other
// function appends to a shard's log. The caller holds writer.mu.
//
// It returns the records, valid until encoder.reset; nil if neither the log nor another copy needs them.
func (w *writer) append(noOp, changes []change) (end persistence.Position, records [][]persistence.Record, err error) {
	seq := number(noOp, w.seq)
	seq = number(changes, seq)
	if w.logged || w.sends() {
		records = w.encoder.batches(w.epoch.Load(), w.copy, noOp, changes)
	}
	if flawed("appendLast") && w.sends() {
		w.enqueue(w.batchOf(w.last, changes, records[len(records)-1]))
	}
	if w.logged {
		w.writing.Store(seq)
		end, err = w.log.Append(records...)
		w.writing.Store(0)
		if err = w.disk.countWrite(err, err != nil && storesValue(changes)); err != nil {
			return 0, nil, err
		}
	}
	w.seq = seq
	w.unsaved.Add(int64(len(changes)))
	w.disk.unsaved.Add(int64(len(changes)))
	return end, records, nil
}

// number gives changes the seqs that follow one, and returns the last.
func number(changes []change, seq uint64) uint64 {
	for i := range changes {
		seq++
		changes[i].seq = seq
	}
	return seq
}

func storesValue(changes []change) bool {
	return slices.ContainsFunc(changes, func(c change) bool { return c.kind == persistence.Put })
}

// flush removes all keys.
func (w *writer) flush(s *Shard) (Future, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	config := w.copy.process.copies.Load()
	if w.copy.idle() {
		if w.copy.gate.Alone() {
			return Future{}, nil
		}
		if !config.SyncReads { // otherwise a commit is the simplest round
			return Future{shard: s, leader: w.copy.gate.LeaderEpoch(), lease: true}, nil // another primary may have keys
		}
	}
	end, err := w.commit([]change{{kind: persistence.Flush}}, w.clock(), w.copy.process.needsOf(config.Write))
	if err != nil {
		return Future{}, err
	}
	return w.sendUnlessAwaited(w.future(s, w.seq, end).with(config.Write)), nil
}
