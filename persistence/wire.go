package persistence

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ndring/ndring/internal/crc32c"
)

// ErrWire is returned for bytes from another node that are not a whole record.
var ErrWire = errors.New("not a whole record")

// wireSeed makes the CRC32C of a record between nodes differ from that of a record in a file.
const wireSeed = 0x6e64_7277

// AppendWire appends the record as it travels between nodes: head, key, meta, and the payload unless
// Blob says under which id the payload travels by itself.
func (r *Record) AppendWire(b []byte) []byte {
	b = r.appendHead(b, wireSeed)
	if r.Blob == 0 {
		for _, piece := range r.Payload {
			b = append(b, piece...)
		}
	}
	return b
}

// ParseWire parses the record with which b begins, and returns its size. It compares the CRC32C of
// the head and of a payload that is in b. The record refers to b.
func ParseWire(b []byte) (r Record, n int, err error) {
	if len(b) < headBytes || !bytes.HasPrefix(b, []byte(recordMagic)) {
		return r, 0, fmt.Errorf("%w: %d bytes without a head", ErrWire, len(b))
	}
	r, key, meta, err := parseHead(b[:headBytes])
	if err != nil || r.Type == Batch {
		return r, 0, fmt.Errorf("%w: a head of type %d", ErrWire, b[8])
	}
	fixed := headBytes + key + meta
	n = fixed + int(r.inline())
	if len(b) < n {
		return r, 0, fmt.Errorf("%w: it is cut off", ErrWire)
	}
	if crc32c.Update(wireSeed, b[afterCRC:fixed]) != headCRC(b) {
		return r, 0, fmt.Errorf("%w: the CRC32C of its head differs", ErrWire)
	}
	r.Key, r.Meta = b[headBytes:][:key:key], b[headBytes+key:][:meta:meta]
	if r.Blob == 0 && r.Bytes > 0 {
		payload := b[fixed:n:n]
		if crc32c.Checksum(payload) != r.CRC {
			return r, 0, fmt.Errorf("%w: the CRC32C of its payload differs", ErrWire)
		}
		r.Payload = [][]byte{payload}
	}
	return r, n, nil
}
