package shard

import (
	"fmt"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
)

// decoder makes changes of records. It belongs to one goroutine.
type decoder struct {
	pool    *memory.Pool // for entries and values
	frame   func(n int) (before, after []byte)
	now     int64 // Unix time in ms at which new entries count as accessed
	scratch []byte
}

// inlineNPY is the largest .npy file that is stored within its entry.
const inlineNPY = 16 << 10 // bytes

// change makes the change of a record whose effect is still to come. Read copies the payload of a Put, and find returns what
// the key has before the record. The change borrows the record's key.
func (d *decoder) change(rec *persistence.Record, read func([]byte) error, find func(key []byte) (*Entry, uint64)) (ch change, err error) {
	switch rec.Type {
	case persistence.Put:
		ch, err = d.put(rec, read)
	case persistence.Expire:
		ch = change{kind: persistence.Delete} // of a value that is not there: damage has taken it
		if e, _ := find(rec.Key); e != nil {
			epoch, seq := rec.Of()
			ch = d.expire(rec.Key, e, Version{epoch, seq}, rec.Expiry)
		}
	case persistence.NoOp:
		ch = change{kind: rec.Type, time: rec.Time()}
	default:
		ch = change{kind: rec.Type, key: rec.Key}
	}
	ch.reason, ch.seq = rec.Reason, rec.Seq
	d.answers(rec, func(a answer) {
		ch.request, ch.refused = a.request, !a.outcome.Done && len(rec.Key) == 0
	})
	ch.requestID = requestIDOf(rec)
	return ch, err
}

// requestIDOf returns the id of the request of a Put; "" for none. The copy that sends the record on needs it.
func requestIDOf(rec *persistence.Record) string {
	if rec.Type != persistence.Put {
		return ""
	}
	meta, _ := parseMeta(rec.Meta, rec.Bytes)
	return meta.requestID
}

// put makes the change of a Put, with a new entry.
func (d *decoder) put(rec *persistence.Record, read func([]byte) error) (change, error) {
	v, err := d.value(rec, read)
	if err != nil {
		v.Release()
		return change{}, skipExpired(err, rec, d.now)
	}
	e := newEntry(d.pool, rec.Key, &v, rec.Blob, d.now)
	h := e.head()
	h.version, h.expireAt = Version{rec.Epoch, rec.Seq}, rec.Expiry
	return change{kind: persistence.Put, seq: rec.Seq, key: e.Key(), entry: e}, nil
}

// expire makes the change of an Expire of the value with a version. If the key has another value, the change removes it:
// damage has taken the right one.
func (d *decoder) expire(key []byte, e *Entry, of Version, at int64) change {
	if e.Version() != of {
		return change{kind: persistence.Delete, key: key}
	}
	changed := e.withDeadline(d.pool, at)
	return change{kind: persistence.Expire, key: changed.Key(), entry: changed}
}

// answers calls each with the outcomes of requests that a record has.
func (d *decoder) answers(rec *persistence.Record, each func(answer)) {
	switch rec.Type {
	case persistence.Put:
		if meta, err := parseMeta(rec.Meta, rec.Bytes); err == nil && meta.requestID != "" {
			each(answer{requestOf(rec.Key, meta.requestID), Outcome{true, Version{rec.Epoch, rec.Seq}}})
		}
	case persistence.Delete:
		parseAnswers(rec.Meta, each)
	}
}

// value reads a payload. The caller releases the value even after an error.
func (d *decoder) value(rec *persistence.Record, read func([]byte) error) (v Value, err error) {
	meta, err := parseMeta(rec.Meta, rec.Bytes)
	if err != nil {
		return v, err
	}
	v.CRC = rec.CRC
	v.Before, v.After = d.frame(meta.npy)
	if cap(d.scratch) < inlineNPY+meta.attrs {
		d.scratch = make([]byte, inlineNPY+meta.attrs)
	}
	if meta.npy > inlineNPY {
		v.Buffer = d.pool.NewFramed(len(v.Before), meta.npy, len(v.After))
		framed := v.Buffer.Framed()
		copy(framed, v.Before)
		copy(framed[len(v.Before)+meta.npy:], v.After)
		v.NPY = v.Buffer.Bytes()
	} else {
		v.NPY = d.scratch[:meta.npy]
	}
	v.Attrs = d.scratch[inlineNPY:][:meta.attrs]
	if err := read(v.NPY); err != nil {
		return v, err
	}
	if err := read(v.Attrs); err != nil {
		return v, err
	}
	for _, p := range meta.parts {
		name := make([]byte, p.name)
		if err := read(name); err != nil {
			return v, err
		}
		data := d.pool.New(p.data)
		v.Parts = append(v.Parts, Part{string(name), data})
		if err := read(data.Bytes()); err != nil {
			return v, err
		}
	}
	return v, nil
}

// checked is value for a payload that another node sends: it compares the CRC32C of what is read.
func (d *decoder) checked(rec *persistence.Record, read func([]byte) error) (Value, error) {
	crc := uint32(0)
	v, err := d.value(rec, func(b []byte) error {
		err := read(b)
		crc = crc32c.Update(crc, b)
		return err
	})
	if err == nil && crc != rec.CRC {
		err = fmt.Errorf("%w: the CRC32C of a value differs", persistence.ErrWire)
	}
	return v, err
}
