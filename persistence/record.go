package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ndring/ndring/internal/crc32c"
)

// Type is what a record does to its key.
type Type uint8

// The types of records.
const (
	Put    Type = 1 + iota // sets the value of a key
	Delete                 // removes the value
	Expire                 // changes the deadline of the value; 0 for none
	Flush                  // removes all values
	Batch                  // heads records that count together or not at all
	NoOp                   // changes nothing; carries the time of the copy that appended it
)

// Reason is why a key was deleted, or all were. It has no effect.
type Reason uint8

// The reasons.
const (
	Requested Reason = iota
	Expired
	Evicted
	Stale // of a Flush: the copy dates from before its shard last started empty
)

// Record is one change of a shard.
type Record struct {
	Type    Type
	Reason  Reason
	Epoch   uint64
	Seq     uint64
	Commit  uint64 // commit index of the shard when the record was appended; 0 in a snapshot
	Expiry  int64  // Unix time in ms; 0 for never
	Key     []byte
	Meta    []byte   // describes Payload; opaque to this package
	Payload [][]byte // in pieces
	Bytes   uint64   // of Payload, or of the blob
	CRC     uint32   // CRC32C of Payload, or of the blob
	Blob    BlobID   // file with the payload; 0 if it is in the record
	Count   uint32   // of a Batch: its records; of a record in one: how many are left
}

// BlobID names a file that holds one large payload.
type BlobID uint64

func (id BlobID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Limits of a record. To a reader a head that exceeds them is damage, so no length in a file can
// make it allocate much memory.
const (
	MaxKey  = 1<<16 - 1 // bytes
	MaxMeta = 4 << 10   // bytes

	// BlobBytes is the size from which a payload is stored in a blob.
	BlobBytes = 1 << 20
)

// MaxInline is the largest payload of a record without a blob.
const MaxInline = BlobBytes - 1

// The head of a record. One that begins with oldMagic is of format 1: it ends before the commit
// index.
const (
	recordMagic  = "ndR\x02"
	headBytes    = 72
	oldMagic     = "ndR\x01"
	oldHeadBytes = 64
	magicPrefix  = "ndR" // of both

	crcAt    = 4
	afterCRC = 8

	maxRecord = headBytes + MaxKey + MaxMeta + MaxInline
)

// ErrTooLarge is returned for a record that exceeds the limits of the format.
var ErrTooLarge = errors.New("too large for the log")

// inline returns how many bytes follow the head, key and meta.
func (r *Record) inline() uint64 {
	if r.Blob != 0 {
		return 0
	}
	return r.Bytes
}

// size returns the bytes of the record; of a Batch without its records.
func (r *Record) size() int64 {
	n := int64(headBytes + len(r.Key) + len(r.Meta))
	if r.Type != Batch {
		n += int64(r.inline())
	}
	return n
}

func (r *Record) check() error {
	if len(r.Key) > MaxKey || len(r.Meta) > MaxMeta || r.Type != Batch && r.inline() > MaxInline {
		return fmt.Errorf("%w: a key of %d bytes, meta of %d, a payload of %d", ErrTooLarge, len(r.Key), len(r.Meta), r.inline())
	}
	return nil
}

// appendHead appends head, key and meta. The seed binds the record to its file, so the bytes of a
// record that a user has stored as a value are never read as one.
func (r *Record) appendHead(b []byte, seed uint32) []byte {
	at := len(b)
	var head [headBytes]byte
	copy(head[:], recordMagic)
	le := binary.LittleEndian
	head[8], head[9] = byte(r.Type), byte(r.Reason)
	le.PutUint16(head[10:], uint16(len(r.Key)))
	le.PutUint32(head[12:], uint32(len(r.Meta)))
	le.PutUint64(head[16:], r.Bytes)
	le.PutUint32(head[24:], r.CRC)
	le.PutUint32(head[28:], r.Count)
	le.PutUint64(head[32:], r.Epoch)
	le.PutUint64(head[40:], r.Seq)
	le.PutUint64(head[48:], uint64(r.Expiry))
	le.PutUint64(head[56:], uint64(r.Blob))
	le.PutUint64(head[64:], r.Commit)
	b = append(b, head[:]...)
	b = append(b, r.Key...)
	b = append(b, r.Meta...)
	le.PutUint32(b[at+crcAt:], crc32c.Update(seed, b[at+afterCRC:]))
	return b
}

// headCRC returns the CRC32C in an encoded head.
func headCRC(b []byte) uint32 { return binary.LittleEndian.Uint32(b[crcAt:]) }

// VersionMeta encodes the meta of an Expire: epoch and seq of the value whose deadline it changes.
func VersionMeta(epoch, seq uint64) []byte {
	b := make([]byte, 0, 16)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, epoch), seq)
}

// NewNoOp returns a record without a change. The time is that of the copy, in Unix ms. A copy that
// has the record never takes an earlier time for its own.
func NewNoOp(epoch, seq uint64, time int64) Record {
	return Record{Type: NoOp, Epoch: epoch, Seq: seq, Meta: AppendTime(nil, time)}
}

// AppendTime appends the meta of a NoOp with that time.
func AppendTime(b []byte, time int64) []byte {
	return binary.LittleEndian.AppendUint64(b, uint64(time))
}

// timeBytes is how many bytes of a NoOp's meta are its time. A reader ignores what follows.
const timeBytes = 8

// Time returns the time in a NoOp, in Unix ms; 0 if the record has none.
func (r *Record) Time() int64 {
	if r.Type != NoOp || len(r.Meta) < timeBytes {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(r.Meta))
}

// Of decodes what VersionMeta encodes.
func (r *Record) Of() (epoch, seq uint64) {
	if len(r.Meta) != 16 {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(r.Meta), binary.LittleEndian.Uint64(r.Meta[8:])
}

var errNoRecord = errors.New("not a record")

// sizeOfHead returns the bytes of the head that begins with b; 0 if none does.
func sizeOfHead(b []byte) int {
	switch string(b[:len(recordMagic)]) {
	case recordMagic:
		return headBytes
	case oldMagic:
		return oldHeadBytes
	}
	return 0
}

// parseHead decodes the head of a record, and returns the lengths of its key and meta. It does not
// check the CRC.
//
// A record of format 1 has no commit index. The shards of that program had one copy, so each record
// was committed when it was appended, and those of a batch together.
func parseHead(b []byte) (r Record, key, meta int, err error) {
	le := binary.LittleEndian
	key, meta = int(le.Uint16(b[10:])), int(le.Uint32(b[12:]))
	r = Record{
		Type: Type(b[8]), Reason: Reason(b[9]), Bytes: le.Uint64(b[16:]), CRC: le.Uint32(b[24:]), Count: le.Uint32(b[28:]),
		Epoch: le.Uint64(b[32:]), Seq: le.Uint64(b[40:]), Expiry: int64(le.Uint64(b[48:])), Blob: BlobID(le.Uint64(b[56:])),
	}
	newest := NoOp
	if len(b) < headBytes {
		newest = Batch
		r.Commit = r.Seq + uint64(max(r.Count, 1)) - 1
	} else {
		r.Commit = le.Uint64(b[64:])
	}
	switch {
	case r.Type < Put || r.Type > newest, meta > MaxMeta, r.Type != Batch && r.inline() > MaxInline,
		r.Type != Put && r.Type != Batch && (r.Bytes != 0 || r.Blob != 0), r.Type == Batch && (r.Blob != 0 || key+meta != 0),
		r.Type == NoOp && (key != 0 || meta < timeBytes):
		return r, 0, 0, errNoRecord
	}
	return r, key, meta, nil
}

// appendBatch appends the head of a Batch and those of its records, and returns where each of these
// begins.
func appendBatch(b []byte, at []int, records []Record, seed uint32) ([]byte, []int) {
	batch := Record{Type: Batch, Count: uint32(len(records)), Epoch: records[0].Epoch, Seq: records[0].Seq, Commit: records[len(records)-1].Commit}
	first := len(b)
	b = batch.appendHead(b, seed) // rewritten below with the rest of its fields
	for i := range records {
		records[i].Count = uint32(len(records) - i)
		at = append(at, len(b))
		b = records[i].appendHead(b, seed)
		batch.Bytes += uint64(records[i].size())
		batch.CRC = crc32c.Update(batch.CRC, b[at[len(at)-1]+crcAt:][:4])
	}
	batch.appendHead(b[:first], seed)
	return b, at
}
