package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ndring/ndring/internal/crc32c"
)

// Type says what a record does to its key.
type Type uint8

// The types of records.
const (
	Put    Type = 1 + iota // the value of a key
	Delete                 // no value
	Expire                 // another deadline for the value that there is; 0 for none
	Flush                  // no keys at all
	Batch                  // the records that follow, all or none
)

// Reason says why a key was deleted, or all of them were. It changes nothing.
type Reason uint8

// The reasons.
const (
	Requested Reason = iota
	Expired
	Evicted
	Stale // of a Flush: the shard begins anew, what was there before was of another life
)

// Record is one change of a shard.
type Record struct {
	Type    Type
	Reason  Reason
	Epoch   uint64
	Seq     uint64
	Expiry  int64 // Unix time in ms; 0 for never
	Key     []byte
	Meta    []byte   // how Payload is to be read; opaque
	Payload [][]byte // pieces that run together
	Bytes   uint64   // of Payload, or of the blob
	CRC     uint32   // CRC32C of Payload, or of the blob
	Blob    BlobID   // where the payload lies instead; 0 if it is in the record
	Count   uint32   // records of a Batch; in those, how many are left of it
}

// BlobID names a file that holds one large payload.
type BlobID uint64

func (id BlobID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Limits of a record. A reader takes a head that claims more for damage, so that no length from a file decides how much memory is asked for.
const (
	MaxKey  = 1<<16 - 1 // bytes
	MaxMeta = 4 << 10   // bytes

	// BlobBytes is the size from which a payload lies in a file of its own.
	BlobBytes = 1 << 20
)

// MaxInline is the largest payload of a record that has no blob.
const MaxInline = BlobBytes - 1

const (
	recordMagic = "ndR\x01"
	headBytes   = 64
	crcAt       = 4 // in the head
	afterCRC    = 8

	maxRecord = headBytes + MaxKey + MaxMeta + MaxInline
)

// ErrTooLarge is returned for a record that is above the format's limits.
var ErrTooLarge = errors.New("too large for the log")

// inline returns how many bytes follow the head, key and meta.
func (r *Record) inline() uint64 {
	if r.Blob != 0 {
		return 0
	}
	return r.Bytes
}

// size returns how many bytes the record takes, a batch without the records in it.
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

// appendHead appends head, key and meta. Seed binds the record to its file: the bytes of a record that somebody stored as a value must not be
// taken for one.
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
	b = append(b, head[:]...)
	b = append(b, r.Key...)
	b = append(b, r.Meta...)
	le.PutUint32(b[at+crcAt:], crc32c.Update(seed, b[at+afterCRC:]))
	return b
}

// headCRC returns the CRC32C that an encoded head holds.
func headCRC(b []byte) uint32 { return binary.LittleEndian.Uint32(b[crcAt:]) }

// VersionMeta is the meta of an Expire record: the epoch and seq of the value whose deadline it changes.
func VersionMeta(epoch, seq uint64) []byte {
	b := make([]byte, 0, 16)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, epoch), seq)
}

// of returns what VersionMeta wrote.
func (r *Record) of() (epoch, seq uint64) {
	if len(r.Meta) != 16 {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(r.Meta), binary.LittleEndian.Uint64(r.Meta[8:])
}

var errNoRecord = errors.New("no record here")

// parseHead reads the first headBytes bytes of a record, and returns the lengths of its key and meta. The CRC is not checked yet.
func parseHead(b []byte) (r Record, key, meta int, err error) {
	if string(b[:len(recordMagic)]) != recordMagic {
		return r, 0, 0, errNoRecord
	}
	le := binary.LittleEndian
	key, meta = int(le.Uint16(b[10:])), int(le.Uint32(b[12:]))
	r = Record{
		Type: Type(b[8]), Reason: Reason(b[9]), Bytes: le.Uint64(b[16:]), CRC: le.Uint32(b[24:]), Count: le.Uint32(b[28:]),
		Epoch: le.Uint64(b[32:]), Seq: le.Uint64(b[40:]), Expiry: int64(le.Uint64(b[48:])), Blob: BlobID(le.Uint64(b[56:])),
	}
	switch {
	case r.Type < Put || r.Type > Batch, meta > MaxMeta, r.Type != Batch && r.inline() > MaxInline,
		r.Type != Put && r.Type != Batch && (r.Bytes != 0 || r.Blob != 0), r.Type == Batch && (r.Blob != 0 || key+meta != 0):
		return r, 0, 0, errNoRecord
	}
	return r, key, meta, nil
}

// appendBatch appends the heads of records that are to be written as one, behind that of their batch, and returns where each begins.
func appendBatch(b []byte, at []int, records []Record, seed uint32) ([]byte, []int) {
	batch := Record{Type: Batch, Count: uint32(len(records)), Epoch: records[0].Epoch, Seq: records[0].Seq}
	first := len(b)
	b = batch.appendHead(b, seed) // again below, when the rest is known
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
