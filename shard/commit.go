package shard

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/ndring/ndring/persistence"
)

// Update calls do with the shard held: no other writer comes in between, and readers see all that do changes, or nothing. After an error nothing of it was
// done, unless the error is ErrUncertain. Stores says that do may store values: then the disk must have room first.
func (s *Shard) Update(stores bool, do func(*Tx)) error {
	if stores {
		if err := s.waitForDisk(); err != nil {
			return err
		}
	}
	return s.do(do)
}

func (s *Shard) do(do func(*Tx)) error {
	position, err := s.hold(do)
	if err != nil {
		return err
	}
	return s.settle(position)
}

// settle waits until what was written up to a position survives the end of the machine, if it has to before the reply. No shard is held.
func (s *Shard) settle(position persistence.Position) error {
	if position == 0 || s.store.disk.fsync() != FsyncAlways {
		return nil
	}
	if err := s.log.Sync(position); err != nil {
		return fmt.Errorf("%w: the write is done, but a restart may lose it: %w", ErrUncertain, err)
	}
	return nil
}

func (s *Shard) hold(do func(*Tx)) (persistence.Position, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	tx := &s.held
	*tx = Tx{s: s, now: s.clock(), seq: s.seq, changes: tx.changes[:0], answers: tx.answers}
	defer tx.end() // after a panic of do, too
	do(tx)
	return tx.commit()
}

// end forgets the changes; those that were not done go.
func (tx *Tx) end() {
	for i := range tx.changes {
		if c := &tx.changes[i]; c.entry != nil {
			tx.s.discard(c.entry, c.kind == persistence.Put)
		}
	}
	if len(tx.answers) > maxKeptChanges {
		tx.answers = nil
	}
	clear(tx.answers)
	clear(tx.changes)
	if cap(tx.changes) > maxKeptChanges {
		tx.changes = nil
	}
	tx.changes = tx.changes[:0]
}

// maxKeptChanges is how much memory a shard keeps for its next writes.
const maxKeptChanges = 64

// commit writes the changes to the log, then does them.
func (tx *Tx) commit() (position persistence.Position, err error) {
	s := tx.s
	if len(tx.changes) == 0 {
		if tx.repeats && s.logs {
			return s.log.Position(), nil
		}
		return 0, nil
	}
	if s.logs {
		records := s.encoder.records(s.epoch.Load(), tx.changes)
		position, err = s.log.Append(records)
		s.encoder.reset()
		if err = s.store.noteWrite(err, err != nil && tx.stores()); err != nil {
			return 0, err
		}
	}
	s.seq = tx.seq
	s.unsaved.Add(int64(len(tx.changes)))
	s.store.disk.unsaved.Add(int64(len(tx.changes)))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range tx.changes {
		c := &tx.changes[i]
		if c.request != (requestKey{}) {
			s.requests.remember(answer{c.request, c.outcome(s.epoch.Load())}, tx.now)
		}
		if c.answers {
			continue
		}
		if c.entry == nil {
			s.remove(c.key)
			continue
		}
		s.put(c.entry)
		c.entry = nil // it is the index' now
	}
	return position, nil
}

// stores reports whether there is a value among the changes.
func (tx *Tx) stores() bool {
	return slices.ContainsFunc(tx.changes, func(c change) bool { return c.kind == persistence.Put })
}

// encoder makes records of changes, in memory that it uses again. The shard's writer has it.
type encoder struct {
	list   []persistence.Record
	pieces [][]byte
	meta   []byte
}

func (x *encoder) records(epoch uint64, changes []change) []persistence.Record {
	for i := range changes {
		c := &changes[i]
		r := persistence.Record{Type: c.kind, Reason: c.reason, Epoch: epoch, Seq: c.seq, Key: c.key}
		switch c.kind {
		case persistence.Put:
			x.value(&r, c.entry, c.requestID)
		case persistence.Expire:
			r.Expiry = c.entry.ExpireAt()
			of := c.entry.Version()
			r.Meta = persistence.VersionMeta(of.Epoch, of.Seq)
		case persistence.Delete:
			if c.request != (requestKey{}) {
				r.Meta = x.answers(answer{c.request, c.outcome(epoch)})
			}
		}
		x.list = append(x.list, r)
	}
	return x.list
}

func (x *encoder) reset() {
	clear(x.list)
	clear(x.pieces)
	if cap(x.list) > maxKeptChanges {
		*x = encoder{}
	}
	x.list, x.pieces, x.meta = x.list[:0], x.pieces[:0], x.meta[:0]
}

// value completes the record of an entry.
func (x *encoder) value(r *persistence.Record, e *Entry, requestID string) {
	parts := e.Parts()
	v := Value{NPY: e.NPY(), Attrs: e.Attrs(), Parts: parts}
	r.Expiry, r.CRC, r.Blob, r.Bytes = e.ExpireAt(), e.CRC(), e.blob(), uint64(v.payloadBytes())
	from := len(x.pieces)
	x.pieces = v.payload(x.pieces)
	r.Payload = x.pieces[from:len(x.pieces):len(x.pieces)]
	at := len(x.meta)
	x.meta = appendMeta(x.meta, &v, requestID)
	r.Meta = x.meta[at:len(x.meta):len(x.meta)]
}

// answers makes the meta of a record without a value.
func (x *encoder) answers(list ...answer) []byte {
	at := len(x.meta)
	x.meta = appendAnswers(x.meta, list)
	return x.meta[at:len(x.meta):len(x.meta)]
}

// appendMeta appends how a payload is to be read: the lengths of the .npy file, the attrs and each part's name and data, then the request's id.
func appendMeta(b []byte, v *Value, requestID string) []byte {
	b = binary.AppendUvarint(b, uint64(len(v.NPY)))
	b = binary.AppendUvarint(b, uint64(len(v.Attrs)))
	b = append(b, byte(len(v.Parts)))
	for _, p := range v.Parts {
		b = append(b, byte(len(p.Name)))
		b = binary.AppendUvarint(b, uint64(p.Data.Len()))
	}
	return append(b, requestID...)
}

// payload appends the bytes of a value to pieces, in the order of its checksum.
func (v *Value) payload(pieces [][]byte) [][]byte {
	pieces = append(pieces, v.NPY)
	if len(v.Attrs) > 0 {
		pieces = append(pieces, v.Attrs)
	}
	for _, p := range v.Parts {
		pieces = append(pieces, []byte(p.Name), p.Data.Bytes())
	}
	return pieces
}

func (v *Value) payloadBytes() int {
	n := len(v.NPY) + len(v.Attrs)
	for _, p := range v.Parts {
		n += len(p.Name) + p.Data.Len()
	}
	return n
}
