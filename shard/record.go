package shard

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/ndring/ndring/persistence"
)

// A record of package persistence says which change happened to which key; this file encodes and
// decodes what is in it:
//
//	Put     Payload: .npy | attrs | name and data of each part.  Meta: appendMeta
//	Expire  Expiry.  Meta: the version of the value whose deadline it changes
//	Delete  Meta: outcomes of requests (appendAnswers), or empty.  An empty key means that the record only carries outcomes
//	Flush   nothing
//	NoOp    Meta: the time of the copy

// encoder makes records of changes in memory that it reuses. It belongs to one goroutine.
type encoder struct {
	list   []persistence.Record
	split  [][]persistence.Record
	pieces [][]byte
	meta   []byte
}

// maxKept is how many changes and records a shard keeps memory for between its writes.
const maxKept = 64

// batches returns the records of a no-op and of changes, each a batch of its own unless it is empty. They are valid until
// reset.
func (x *encoder) batches(epoch uint64, c *localCopy, noOp, changes []change) [][]persistence.Record {
	x.add(epoch, c, noOp)
	n := len(x.list)
	x.add(epoch, c, changes)
	for _, batch := range [...][]persistence.Record{x.list[:n], x.list[n:]} {
		if len(batch) > 0 {
			x.split = append(x.split, batch)
		}
	}
	return x.split
}

// add adds the records of a batch. A copy that is alone commits the batch with the append, and its records say so.
func (x *encoder) add(epoch uint64, copy *localCopy, changes []change) {
	if len(changes) == 0 {
		return
	}
	commit := changes[len(changes)-1].seq
	if !copy.gate.Alone() {
		commit = copy.commitIndex()
	}
	for i := range changes {
		r := x.record(epoch, &changes[i])
		r.Commit = commit
		if len(changes) > 1 {
			r.Count = uint32(len(changes) - i)
		}
		x.list = append(x.list, r)
	}
}

// record returns the record of a change, without a commit index. It is valid until reset.
func (x *encoder) record(epoch uint64, c *change) persistence.Record {
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
	case persistence.NoOp:
		at := len(x.meta)
		x.meta = persistence.AppendTime(x.meta, c.time)
		r.Meta = x.meta[at:len(x.meta):len(x.meta)]
	}
	return r
}

// reset ends the use of what the encoder has returned.
func (x *encoder) reset() {
	clear(x.list)
	clear(x.split)
	clear(x.pieces)
	if cap(x.list) > maxKept {
		*x = encoder{}
	}
	x.list, x.split, x.pieces, x.meta = x.list[:0], x.split[:0], x.pieces[:0], x.meta[:0]
}

// value completes the record of an entry.
func (x *encoder) value(r *persistence.Record, e *Entry, requestID string) {
	v := Value{NPY: e.NPY(), Attrs: e.Attrs(), Parts: e.Parts()}
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

// valueMeta is the meta of a Put: the lengths of what follows one another in the payload, and the
// request's id.
type valueMeta struct {
	npy, attrs int
	parts      []partMeta
	requestID  string
}

// partMeta is the lengths of a part's name and data.
type partMeta struct{ name, data int }

// extras returns how many bytes of the payload follow the .npy file.
func (m *valueMeta) extras() int {
	n := m.attrs
	for _, p := range m.parts {
		n += p.name + p.data
	}
	return n
}

var errMeta = errors.New("the lengths in the record do not match its payload")

// appendMeta appends the meta of a value: uvarint length of the .npy file | uvarint length of the
// attrs | u8 number of parts | for each part u8 length of the name and uvarint length of the data |
// request id.
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

// parseMeta parses what appendMeta wrote. The lengths must add up to that of the payload.
func parseMeta(b []byte, payload uint64) (valueMeta, error) {
	var m valueMeta
	bad := false
	left := payload
	length := func() int {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > left {
			bad = true
			return 0
		}
		b, left = b[size:], left-n
		return int(n)
	}
	octet := func() int {
		if len(b) == 0 {
			bad = true
			return 0
		}
		n := b[0]
		b = b[1:]
		return int(n)
	}
	m.npy, m.attrs = length(), length()
	for range min(octet(), MaxParts+1) {
		p := partMeta{name: octet()}
		if uint64(p.name) > left {
			bad = true
			break
		}
		left -= uint64(p.name)
		p.data = length()
		m.parts = append(m.parts, p)
	}
	if bad || left != 0 || m.attrs > MaxAttrs || len(m.parts) > MaxParts {
		return valueMeta{}, errMeta
	}
	m.requestID = string(b)
	return m, nil
}

// An answer on disk: the request, then epoch and seq of the write, both 0 if its condition did not
// hold.
const (
	answerBytes   = len(requestKey{}) + 16
	answersRecord = persistence.MaxMeta / answerBytes // per record
)

func appendAnswers(b []byte, answers []answer) []byte {
	b = slices.Grow(b, len(answers)*answerBytes)
	for _, a := range answers {
		b = append(b, a.request[:]...)
		b = binary.LittleEndian.AppendUint64(b, a.outcome.Version.Epoch)
		b = binary.LittleEndian.AppendUint64(b, a.outcome.Version.Seq)
	}
	return b
}

// parseAnswers parses what appendAnswers wrote. It ignores an incomplete answer at the end.
func parseAnswers(b []byte, each func(answer)) {
	for ; len(b) >= answerBytes; b = b[answerBytes:] {
		a := answer{request: requestKey(b)}
		rest := b[len(a.request):]
		a.outcome.Version = Version{binary.LittleEndian.Uint64(rest), binary.LittleEndian.Uint64(rest[8:])}
		a.outcome.Done = a.outcome.Version != Version{}
		each(a)
	}
}

// skipExpired returns what a persistence.Handler answers to an error with which a value could not
// be read. Programs before this one removed the blob of a value that expired while no program ran,
// and left its record: that is not damage.
func skipExpired(err error, rec *persistence.Record, now int64) error {
	if errors.Is(err, persistence.ErrNoBlob) && rec.Expiry != 0 && now >= rec.Expiry {
		return persistence.ErrSkip
	}
	return err
}
