package shard

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// Member is a shard as a copy that follows a primary on another node. Its methods carry out what frames of the primary
// say, by the rules M1 to M5 of docs/replication.md. They may be called at any time, by any goroutine.
type Member struct{ s *Shard }

// Member returns the shard as a copy that follows a primary.
func (s *Shard) Member() Member { return Member{s} }

// Source says who has sent a frame, and of which epoch and leader epoch.
type Source struct {
	From          replica.Process
	Epoch, Leader uint64
}

// Answer is what a member says to a frame: nothing, an acknowledgement, or that it must synchronize first.
type Answer struct {
	Kind AnswerKind
	Ack  replica.Ack
	// Position is how far the log must be synced before an acknowledgement leaves; 0: it may leave at once.
	Position persistence.Position
}

// AnswerKind is the kind of an Answer.
type AnswerKind uint8

// The kinds.
const (
	Silence AnswerKind = iota
	Acknowledge
	Synchronize
)

// Uploaded returns the value that was uploaded under an id; nil if there is none. It keeps its reference.
type Uploaded func(id uint64) *Entry

// refusal answers a frame that is not taken.
func (c following) refusal(v replica.Verdict) Answer {
	cfg := c.rules.Config()
	a := Answer{Kind: Acknowledge, Ack: replica.Ack{Epoch: cfg.Epoch, Leader: cfg.LeaderEpoch}}
	switch v {
	case replica.Stale:
		a.Ack.Flags = replica.AckStale
	case replica.Later:
		a.Ack.Flags = replica.AckLater
	default:
		return Answer{}
	}
	return a
}

// accepts reports whether the copy takes a frame, and if not, what it answers. The caller holds writer.mu, so the row
// does not change before it has carried the frame out. Needs says that the frame is of no use to a copy that does not
// keep up.
func (m Member) accepts(f *Source, needs bool) (refusal Answer, ok bool) {
	c := &m.s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if !m.s.Ready() {
		return Answer{Kind: Acknowledge, Ack: replica.Ack{Epoch: f.Epoch, Leader: f.Leader, Flags: replica.AckLater}}, false
	}
	if v := c.rules.Accept(f.From, f.Epoch, f.Leader); v != replica.Take {
		return (following{c}).refusal(v), false
	}
	if needs && !c.keepsUp() {
		return Answer{Kind: Synchronize}, false
	}
	return Answer{}, true
}

// Advance carries out a frame that only has the commit index, and says what the member has.
func (m Member) Advance(f *Source, commit uint64) Answer {
	w := &m.s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if refusal, ok := m.accepts(f, true); !ok {
		return refusal
	}
	return w.received(w.last, commit, nil)
}

// Append carries out a frame with records that follow prev. Encoded has the records as Batch.Bytes has them. It returns an
// error if they are damaged.
func (m Member) Append(f *Source, prev replica.Point, commit uint64, encoded []byte, uploaded Uploaded) (Answer, error) {
	w := &m.s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if refusal, ok := m.accepts(f, true); !ok {
		return refusal, nil
	}
	in := newIncoming(w, uploaded)
	defer in.release()
	verdict, err := in.parse(prev, encoded)
	switch {
	case err != nil:
		return Answer{}, err
	case verdict == replica.Mismatch:
		return Answer{Kind: Acknowledge, Ack: replica.Ack{Epoch: f.Epoch, Leader: f.Leader, Flags: replica.AckMismatch}}, nil
	}
	if err := in.append(); err != nil {
		w.disk.log.Error("a copy cannot take what its primary sends", "shard", w.shard, "err", err)
		return Answer{Kind: Acknowledge, Ack: replica.Ack{Epoch: f.Epoch, Leader: f.Leader, Flags: replica.AckFailed}}, nil
	}
	return w.received(w.last, commit, in), nil
}

// received tells the rules what the log has now, and makes visible what is committed. Under appendfsync always each
// acknowledgement waits for all that the log has: another connection may have brought it, and not synced it yet.
func (w *writer) received(end replica.Point, commit uint64, in *incoming) Answer {
	c := w.copy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if in != nil {
		for _, end := range in.epochEnds() {
			c.rules.Received(end, 0)
		}
		in.hold(c)
	}
	e := c.rules.Received(end, commit)
	c.follow(&e)
	ack, ok := c.rules.Ack(end.Seq)
	if !ok {
		return Answer{}
	}
	a := Answer{Kind: Acknowledge, Ack: ack}
	if w.logged && w.disk.fsync() == FsyncAlways {
		a.Position = w.log.Position()
	}
	return a
}

// Truncate carries out the primary's answer to a SyncRequest: the logs share what is up to a seq.
func (m Member) Truncate(f *Source, after uint64) Answer {
	w := &m.s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if refusal, ok := m.accepts(f, false); !ok {
		return refusal
	}
	if err := w.truncate(after); err != nil {
		w.disk.log.Error("a copy cannot be truncated: it needs a whole copy of its primary's", "err", err)
		return Answer{Kind: Synchronize}
	}
	if refusal, ok := m.accepts(f, true); !ok {
		return refusal
	}
	return w.received(w.last, 0, nil)
}

// SyncRequest is what a member tells its primary before it may append.
type SyncRequest struct {
	Epoch, Leader uint64
	End           replica.Point
	Table         replica.EpochTable
	Install       bool // the log cannot be made a copy of the primary's
}

// SyncRequest returns what the member has.
func (m Member) SyncRequest() SyncRequest {
	c := &m.s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	cfg := c.rules.Config()
	return SyncRequest{cfg.Epoch, cfg.LeaderEpoch, c.rules.End(), append(replica.EpochTable(nil), c.rules.Table()...), c.mustInstall}
}

// Renew says whether the member grants the lease in a heartbeat (M5).
func (m Member) Renew(f *Source) bool {
	c := &m.s.localCopy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	return m.s.Ready() && c.rules.Renew(f.From, f.Epoch, f.Leader, c.process.mono(), c.process.ticks.Load())
}

// incoming is what one frame brings.
type incoming struct {
	writer   *writer
	uploaded Uploaded
	decoder  decoder
	batches  [][]persistence.Record // that the log does not have yet
	records  []persistence.Record   // of batches
	changes  []change               // one for each record
	parsed   []persistence.Record   // all records of the frame; batches are parts of it
}

// incomings have memory for the next frames.
var incomings = sync.Pool{New: func() any { return new(incoming) }}

func newIncoming(w *writer, uploaded Uploaded) *incoming {
	in := incomings.Get().(*incoming)
	in.writer, in.uploaded = w, uploaded
	in.decoder.pool, in.decoder.frame, in.decoder.now = w.pool, w.disk.frame, w.clock()
	return in
}

// maxIncomingKept is the number of records for which memory is kept.
const maxIncomingKept = 256

// release releases what hold has not taken over.
func (in *incoming) release() {
	for i := range in.changes {
		if e := in.changes[i].entry; e != nil {
			in.writer.discard(e, in.changes[i].kind == persistence.Put)
		}
	}
	if cap(in.parsed) > maxIncomingKept || cap(in.decoder.scratch) > 2*inlineNPY {
		return
	}
	clear(in.batches)
	clear(in.records)
	clear(in.changes)
	clear(in.parsed)
	*in = incoming{batches: in.batches[:0], records: in.records[:0], changes: in.changes[:0], parsed: in.parsed[:0], decoder: decoder{scratch: in.decoder.scratch}}
	incomings.Put(in)
}

// parse finds the batches that follow the log. Those that it has are skipped.
func (in *incoming) parse(prev replica.Point, b []byte) (replica.Verdict, error) {
	for len(b) > 0 {
		r, n, err := persistence.ParseWire(b)
		if err != nil {
			return 0, err
		}
		in.parsed, b = append(in.parsed, r), b[n:]
	}
	all := in.parsed
	for len(all) > 0 {
		n := int(max(all[0].Count, 1))
		if n > len(all) {
			return 0, fmt.Errorf("%w: a batch of %d records has %d", persistence.ErrWire, n, len(all))
		}
		batch := all[:n:n]
		all = all[n:]
		for i := range batch {
			if batch[i].Seq != prev.Seq+1+uint64(i) || n > 1 && batch[i].Count != uint32(n-i) || batch[i].Epoch != batch[0].Epoch {
				return 0, fmt.Errorf("%w: record %d in the place of %d", persistence.ErrWire, batch[i].Seq, prev.Seq+1+uint64(i))
			}
		}
		last := replica.Point{Epoch: batch[n-1].Epoch, Seq: batch[n-1].Seq}
		if verdict := in.follows(prev, last); verdict == replica.Mismatch {
			return verdict, nil
		} else if verdict == replica.Take {
			if found, err := in.decode(batch); err != nil {
				return 0, err
			} else if !found {
				return replica.Mismatch, nil // the primary sends the value again
			}
			in.batches, in.records = append(in.batches, batch), append(in.records, batch...)
		}
		prev = last
	}
	return replica.Take, nil
}

// follows says whether a batch follows the log together with the batches that are already taken.
func (in *incoming) follows(prev, last replica.Point) replica.Verdict {
	if n := len(in.records); n > 0 {
		if newest := in.records[n-1]; prev != (replica.Point{Epoch: newest.Epoch, Seq: newest.Seq}) {
			return replica.Mismatch
		}
		return replica.Take
	}
	c := in.writer.copy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.Follows(prev, last)
}

// decode makes the changes of a batch. It reports whether all values are here.
func (in *incoming) decode(batch []persistence.Record) (bool, error) {
	for i := range batch {
		r := &batch[i]
		if r.Blob != 0 {
			if !in.takeUpload(r) {
				return false, nil
			}
			continue
		}
		var payload []byte
		if len(r.Payload) > 0 {
			payload = r.Payload[0]
		}
		ch, err := in.decoder.change(r, func(into []byte) error {
			if len(into) > len(payload) {
				return errMeta
			}
			payload = payload[copy(into, payload):]
			return nil
		}, in.find)
		if err != nil {
			return false, fmt.Errorf("record %d-%d: %w", r.Epoch, r.Seq, err)
		}
		in.changes = append(in.changes, ch)
	}
	return true, nil
}

// takeUpload makes the change of a Put whose value has come before it.
func (in *incoming) takeUpload(r *persistence.Record) bool {
	e := in.uploaded(uint64(r.Blob))
	if e == nil {
		return false
	}
	if !bytes.Equal(e.Key(), r.Key) || e.CRC() != r.CRC {
		in.writer.discard(e, true)
		return false
	}
	h := e.head()
	h.version, h.expireAt = Version{r.Epoch, r.Seq}, r.Expiry
	ch := change{kind: persistence.Put, reason: r.Reason, seq: r.Seq, key: e.Key(), entry: e}
	in.decoder.answers(r, func(a answer) { ch.request = a.request })
	ch.requestID = requestIDOf(r)
	in.changes = append(in.changes, ch)
	v := Value{NPY: e.NPY(), Attrs: e.Attrs(), Parts: e.Parts()}
	if r.Blob = e.blob(); r.Blob == 0 {
		r.Payload = v.payload(nil)
	}
	return true
}

// find returns what a key has before the next record of the frame.
func (in *incoming) find(key []byte) (*Entry, uint64) {
	for i := len(in.changes) - 1; i >= 0; i-- {
		if ch := &in.changes[i]; ch.kind == persistence.Flush || bytes.Equal(ch.key, key) && ch.kind != persistence.NoOp {
			return ch.entry, ch.seq
		}
	}
	c := in.writer.copy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.find(key)
}

// epochEnds returns the last records of epochs that others follow in the frame. The rules learn of one epoch at a time, and a catch-up
// may have several in one frame.
func (in *incoming) epochEnds() (ends []replica.Point) {
	for i := 1; i < len(in.records); i++ {
		if last := &in.records[i-1]; last.Epoch != in.records[i].Epoch {
			ends = append(ends, replica.Point{Epoch: last.Epoch, Seq: last.Seq})
		}
	}
	return ends
}

// append writes the batches to the log.
func (in *incoming) append() error {
	w := in.writer
	if len(in.batches) == 0 {
		return nil
	}
	if w.logged && !flawed("ackUnwritten") {
		_, err := w.log.Append(in.batches...)
		if err = w.disk.countWrite(err, err != nil); err != nil {
			return err
		}
	}
	newest := in.records[len(in.records)-1]
	w.seq, w.last = newest.Seq, replica.Point{Epoch: newest.Epoch, Seq: newest.Seq}
	changed := int64(0)
	for i := range in.changes {
		if ch := &in.changes[i]; ch.kind != persistence.NoOp {
			changed++
		} else {
			w.copy.process.note(ch.time)
		}
	}
	w.unsaved.Add(changed)
	w.disk.unsaved.Add(changed)
	return nil
}

// hold puts the changes into the suffix. The caller holds index.mu.
func (in *incoming) hold(c *localCopy) {
	at := 0
	for _, batch := range in.batches {
		last := batch[len(batch)-1]
		for range batch {
			c.hold(&in.changes[at], last.Epoch, last.Seq, in.decoder.now)
			at++
		}
	}
	clear(in.changes)
	in.changes = in.changes[:0]
}

// ReceiveUpload makes the entry of a large value that its primary sends ahead of its record. Read fills a buffer with the next bytes of
// the payload. Discard gives it back if its record does not come.
func (m Member) ReceiveUpload(r *persistence.Record, read func([]byte) error) (*Entry, error) {
	w := &m.s.writer
	d := decoder{pool: w.pool, frame: w.disk.frame, now: w.clock()}
	if err := w.disk.guard.checkFull(); err != nil {
		return nil, err
	}
	v, err := d.checked(r, read)
	var blob persistence.BlobID
	if err == nil && w.logged && r.Bytes >= persistence.BlobBytes {
		blob, err = w.log.Stage(v.payload(nil))
		err = w.disk.countWrite(err, true)
	}
	if err != nil {
		v.Release()
		return nil, err
	}
	return newEntry(w.pool, r.Key, &v, blob, d.now), nil
}

// Discard gives back an entry that ReceiveUpload made.
func (m Member) Discard(e *Entry) { m.s.writer.discard(e, true) }

// SyncLog returns when the log is on stable storage up to a position.
func (m Member) SyncLog(to persistence.Position) error { return m.s.writer.log.Sync(to) }

// Freshen notes that the member had all that was committed at a time, by Store.Monotonic, once it has made visible what the commit index
// covers; 0: it does not know a time.
func (m Member) Freshen(f *Source, commit uint64, at int64) {
	c := &m.s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	if at > c.fresh.Load() && c.applied >= commit && c.rules.Accept(f.From, f.Epoch, f.Leader) == replica.Take {
		c.fresh.Store(at)
	}
}
