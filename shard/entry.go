package shard

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/ndring/ndring/array"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
)

// Entry is a stored value. It never changes, except for its access information: a write or a new
// deadline replaces it.
//
// An entry is one buffer, which Go's garbage collector does not scan:
//
//	head | blob | key | attrs | parts | before | npy | after
//
// A .npy file that arrived in a buffer of its own stays there with its frame, and the head holds
// the reference. A part is the length of its name (1 byte), the name, and the address of its data
// (8 bytes). The blob id (8 bytes) is present if the value has a blob on disk.
type Entry memory.Buffer

// head is the beginning of an entry. It must hold no Go pointers: the garbage collector does not
// see them.
type head struct {
	version  Version
	expireAt int64       // Unix time in ms from which readers hide the entry; 0 means never
	npy      memory.Addr // buffer of the .npy; 0 if it is within the entry
	access   accessInfo
	crc      uint32
	heapAt   int32 // position in the heap of deadlines
	npyBytes uint32
	attrs    uint32 // bytes
	key      uint16 // bytes
	slot     uint16
	parts    uint8
	before   uint8 // bytes
	after    uint8 // bytes
	blob     uint8 // bytes
}

const (
	headBytes = int(unsafe.Sizeof(head{}))
	blobBytes = 8
)

// newEntry makes an entry of a value, whose references it takes over. The caller sets version and
// deadline. Blob is 0 for none.
func newEntry(pool *memory.Pool, key []byte, v *Value, blob persistence.BlobID, now int64) *Entry {
	parts := 0
	for _, p := range v.Parts {
		parts += 1 + len(p.Name) + 8
	}
	inline := 0
	if v.Buffer == nil {
		inline = len(v.Before) + len(v.NPY) + len(v.After)
	}
	blobSize := 0
	if blob != 0 {
		blobSize = blobBytes
	}
	b := pool.New(headBytes + blobSize + len(key) + len(v.Attrs) + parts + inline)
	e := (*Entry)(b)
	h := e.head()
	*h = head{blob: uint8(blobSize), crc: v.CRC, key: uint16(len(key)), attrs: uint32(len(v.Attrs)), slot: uint16(topology.Slot(key)), parts: uint8(len(v.Parts))}
	h.access.init(now)
	rest := b.Bytes()[headBytes:]
	put := func(bytes []byte) { rest = rest[copy(rest, bytes):] }
	if blob != 0 {
		binary.LittleEndian.PutUint64(rest, uint64(blob))
		rest = rest[blobBytes:]
	}
	put(key)
	put(v.Attrs)
	for _, p := range v.Parts {
		rest[0] = byte(len(p.Name))
		copy(rest[1:], p.Name)
		binary.LittleEndian.PutUint64(rest[1+len(p.Name):], uint64(p.Data.Addr()))
		rest = rest[1+len(p.Name)+8:]
	}
	if v.Buffer != nil {
		h.npy = v.Buffer.Addr()
		return e
	}
	h.npyBytes, h.before, h.after = uint32(len(v.NPY)), uint8(len(v.Before)), uint8(len(v.After))
	put(v.Before)
	put(v.NPY)
	put(v.After)
	return e
}

// withDeadline returns an entry with the same value and another deadline.
func (e *Entry) withDeadline(pool *memory.Pool, at int64) *Entry {
	old := e.head()
	b := pool.New(e.buffer().Len())
	h := (*Entry)(b).head()
	*h = head{
		version: old.version, expireAt: at, npy: old.npy, crc: old.crc, npyBytes: old.npyBytes, attrs: old.attrs,
		key: old.key, slot: old.slot, parts: old.parts, before: old.before, after: old.after, blob: old.blob,
	}
	h.access.at.Store(old.access.at.Load())
	h.access.freq.Store(old.access.freq.Load())
	copy(b.Bytes()[headBytes:], e.buffer().Bytes()[headBytes:])
	if h.npy != 0 {
		h.npy.Buffer().Retain()
	}
	for _, p := range e.Parts() {
		p.Data.Retain()
	}
	return (*Entry)(b)
}

func (e *Entry) buffer() *memory.Buffer { return (*memory.Buffer)(e) }

func (e *Entry) head() *head { return (*head)(unsafe.Pointer(unsafe.SliceData(e.buffer().Bytes()))) }

// Key returns the key. Like all bytes of an entry, it is valid as long as the caller's reference.
func (e *Entry) Key() []byte { return e.section(0, int(e.head().key)) }

// Attrs returns the attrs, empty if there are none.
func (e *Entry) Attrs() []byte {
	h := e.head()
	return e.section(int(h.key), int(h.attrs))
}

func (e *Entry) section(from, n int) []byte {
	from += headBytes + int(e.head().blob)
	return e.buffer().Bytes()[from : from+n : from+n]
}

// Parts returns the parts. Their data is valid as long as the caller's reference to the entry.
func (e *Entry) Parts() []Part {
	h := e.head()
	if h.parts == 0 {
		return nil
	}
	parts := make([]Part, h.parts)
	rest := e.buffer().Bytes()[headBytes+int(h.blob)+int(h.key)+int(h.attrs):]
	for i := range parts {
		n := 1 + int(rest[0])
		parts[i] = Part{string(rest[1:n]), memory.Addr(binary.LittleEndian.Uint64(rest[n:])).Buffer()}
		rest = rest[n+8:]
	}
	return parts
}

// NPY returns the .npy file.
func (e *Entry) NPY() []byte {
	h := e.head()
	if h.npy != 0 {
		return h.npy.Buffer().Bytes()
	}
	b := e.buffer().Bytes()
	to := len(b) - int(h.after)
	from := to - int(h.npyBytes)
	return b[from:to:to]
}

// NPYBytes returns the length of the .npy file.
func (e *Entry) NPYBytes() int {
	h := e.head()
	if h.npy != 0 {
		return h.npy.Buffer().Len()
	}
	return int(h.npyBytes)
}

// Ref is a counted reference to bytes.
type Ref interface{ Release() }

// RetainFramed returns the .npy file with its frame, if it has one, and a reference that the caller
// must Release.
func (e *Entry) RetainFramed() (framed []byte, ref Ref) {
	h := e.head()
	if h.npy != 0 { // the rest of the entry may be freed
		b := h.npy.Buffer().Retain()
		return b.Framed(), b
	}
	e.retain()
	b := e.buffer().Bytes()
	return b[len(b)-int(h.after)-int(h.npyBytes)-int(h.before):], e
}

// Header returns the parsed header of the .npy file.
func (e *Entry) Header() (*array.Header, error) { return array.Parse(e.NPY()) }

// Version returns the version of the value.
func (e *Entry) Version() Version { return e.head().version }

// ExpireAt returns the Unix time in ms from which readers hide the entry; 0 means never.
func (e *Entry) ExpireAt() int64 { return e.head().expireAt }

// CRC returns the CRC32C of the value.
func (e *Entry) CRC() uint32 { return e.head().crc }

// blob returns the id of the value's blob on disk; 0 if there is none.
func (e *Entry) blob() persistence.BlobID {
	if e.head().blob == 0 {
		return 0
	}
	return persistence.BlobID(binary.LittleEndian.Uint64(e.buffer().Bytes()[headBytes:]))
}

// Slot returns the slot of the key.
func (e *Entry) Slot() int { return int(e.head().slot) }

func (e *Entry) expired(now int64) bool {
	at := e.ExpireAt()
	return at != 0 && now >= at
}

// Verify recomputes the CRC32C from the bytes and returns ErrCorrupt if it differs.
func (e *Entry) Verify() error {
	v := Value{Attrs: e.Attrs(), Parts: e.Parts()}
	if got := v.Checksum(crc32c.Checksum(e.NPY())); got != e.CRC() {
		return fmt.Errorf("%w: expected %d, the bytes have %d", ErrCorrupt, e.CRC(), got)
	}
	return nil
}

// indexBytes is about what an entry takes in the index.
const indexBytes = 12

// Footprint returns how many bytes of memory the entry takes, its key included.
func (e *Entry) Footprint() int64 {
	n := indexBytes + e.buffer().Cost()
	h := e.head()
	if h.npy != 0 {
		n += h.npy.Buffer().Cost()
	}
	for _, p := range e.Parts() {
		n += p.Data.Cost()
	}
	if h.expireAt != 0 {
		n += deadlineBytes
	}
	return n
}

// recordBytes returns about how many bytes the entry takes on disk.
func (e *Entry) recordBytes() int64 { return recordHead + int64(e.head().key) + payloadBytes(e) }

// payloadBytes returns the length of the payload of an entry's record.
func payloadBytes(e *Entry) int64 {
	n := int64(e.head().attrs) + int64(e.NPYBytes())
	for _, p := range e.Parts() {
		n += int64(len(p.Name) + p.Data.Len())
	}
	return n
}

// recordHead is about what a record has besides key and value.
const recordHead = 72 // bytes

// retain adds a reference for a reader.
func (e *Entry) retain() { e.buffer().Retain() }

// Release gives back one reference. The last one also releases the buffers that the entry holds.
func (e *Entry) Release() {
	e.buffer().ReleaseThen(func(b *memory.Buffer) {
		h := (*Entry)(b).head()
		if h.npy != 0 {
			h.npy.Buffer().Release()
		}
		for _, p := range (*Entry)(b).Parts() {
			p.Data.Release()
		}
	})
}

// RecordOf returns the record of the value as other copies get it. It refers to the bytes of the entry.
func RecordOf(e *Entry) persistence.Record {
	var x encoder
	version := e.Version()
	r := persistence.Record{Type: persistence.Put, Epoch: version.Epoch, Seq: version.Seq, Key: e.Key()}
	x.value(&r, e, "")
	r.Blob = 0
	return r
}
