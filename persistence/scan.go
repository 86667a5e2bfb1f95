package persistence

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// scanner reads the records of a segment or a snapshot. It compares all CRCs, so what it returns is
// whole.
type scanner struct {
	f    vfs.File
	seed uint32
	at   int64 // offset of the next record
	end  int64 // where the records end

	// The last batch, all of whose records are checked.
	batchAt, batchEnd int64
	batchSeq          uint64

	window []byte // bytes of the file from at0 on
	at0    int64
}

// scanChunk is how much is read at once. It stays in the processor's cache until it is used.
const scanChunk = 256 << 10 // bytes

func newScanner(f vfs.File, seed uint32, from, end int64) *scanner {
	return &scanner{f: f, seed: seed, at: from, end: end, at0: from}
}

// damagedError is returned where there is not a whole record.
type damagedError struct {
	what string
	key  []byte // nil if unknown
	next int64  // where the next record must begin; 0 if unknown
}

func (e *damagedError) Error() string { return e.what }

var errNoneHere error = &damagedError{what: "no record begins here"}

// next returns the next record and its size in bytes, io.EOF after the last one, or a
// *damagedError, after which the scanner stays where it is. The record's slices are valid until the
// next call.
func (s *scanner) next() (*Record, int64, error) {
	for {
		r, n, err := s.record(s.at)
		if err != nil {
			return nil, 0, err
		}
		switch inBatch := s.at < s.batchEnd; {
		case r.Type == Batch:
			s.batchAt, s.batchSeq = s.at, r.Seq
			s.at += n
			s.batchEnd = s.at + int64(r.Bytes)
			continue
		case !inBatch && r.Count != 0:
			return nil, 0, &damagedError{what: "a record of a batch without the batch's head", key: bytes.Clone(r.Key), next: s.at + n}
		}
		s.at += n
		return r, n, nil
	}
}

// record reads the record at an offset, and checks all records of a Batch.
func (s *scanner) record(at int64) (*Record, int64, error) {
	if at >= s.end {
		return nil, 0, io.EOF
	}
	start, err := s.bytes(at, oldHeadBytes)
	if err != nil {
		return nil, 0, err
	}
	size := sizeOfHead(start)
	if size == 0 {
		return nil, 0, errNoneHere
	}
	head, err := s.bytes(at, size)
	if err != nil {
		return nil, 0, err
	}
	r, key, meta, err := parseHead(head)
	if err != nil {
		return nil, 0, errNoneHere
	}
	fixed := size + key + meta
	if head, err = s.bytes(at, fixed); err != nil {
		return nil, 0, err
	}
	if crc32c.Update(s.seed, head[afterCRC:]) != headCRC(head) {
		return nil, 0, &damagedError{what: "the CRC32C of the record's head differs"}
	}
	if r.Type == Batch {
		if at < s.batchEnd {
			return nil, 0, &damagedError{what: "a batch within a batch"}
		}
		return &r, int64(fixed), s.checkBatch(&r, at+int64(fixed))
	}
	n := fixed + int(r.inline())
	all, err := s.bytes(at, n)
	if err != nil {
		if d := (*damagedError)(nil); errors.As(err, &d) {
			d.key = bytes.Clone(head[size:][:key])
		}
		return nil, 0, err
	}
	r.Key = all[size:][:key:key]
	r.Meta = all[size+key:][:meta:meta]
	if payload := all[fixed:]; r.Blob == 0 {
		if crc32c.Checksum(payload) != r.CRC {
			return nil, 0, &damagedError{"the CRC32C of the payload differs", bytes.Clone(r.Key), at + int64(n)}
		}
		r.Payload = [][]byte{payload}
	}
	return &r, int64(n), nil
}

// checkBatch checks the records of a batch, which begin at an offset.
func (s *scanner) checkBatch(batch *Record, at int64) error {
	if batch.Bytes > uint64(s.end-at) {
		return &damagedError{what: "a batch is cut off", next: s.end}
	}
	end := at + int64(batch.Bytes)
	damaged := func(format string, args ...any) error {
		return &damagedError{what: "a batch is damaged: " + fmt.Sprintf(format, args...), next: end}
	}
	crc := uint32(0)
	for left := batch.Count; left > 0; left-- {
		r, n, err := s.record(at)
		d := (*damagedError)(nil)
		switch {
		case errors.As(err, &d) || err == io.EOF:
			return damaged("at %d %v", at, err)
		case err != nil:
			return err
		case r.Type == Batch || r.Count != left || at+n > end:
			return damaged("the record at %d does not belong to it", at)
		}
		head, err := s.bytes(at, afterCRC)
		if err != nil {
			return err
		}
		crc = crc32c.Update(crc, head[crcAt:])
		at += n
	}
	if at != end || crc != batch.CRC {
		return damaged("its records are not those that were written")
	}
	return nil
}

// resync moves to the first record at or after an offset, or to the end.
func (s *scanner) resync(from int64) error {
	s.batchEnd = 0
	for s.at = from; s.at < s.end; {
		b, err := s.bytes(s.at, int(min(scanChunk, s.end-s.at)))
		if err != nil {
			return err
		}
		i := bytes.Index(b, []byte(magicPrefix))
		if i < 0 {
			s.at += int64(max(len(b)-len(magicPrefix)+1, 1))
			continue
		}
		s.at += int64(i)
		_, _, err = s.record(s.at)
		if d := (*damagedError)(nil); err == nil || errors.As(err, &d) && (d.key != nil || d.next != 0) {
			return nil // its head is whole
		} else if err != io.EOF && d == nil {
			return err
		}
		s.at++
	}
	s.at = s.end
	return nil
}

// bytes returns n bytes of the file from an offset on. They are valid until the next call.
func (s *scanner) bytes(at int64, n int) ([]byte, error) {
	if at+int64(n) > s.end {
		return nil, &damagedError{what: fmt.Sprintf("the record is cut off: the file has %d more bytes", s.end-at)}
	}
	if at < s.at0 || at > s.at0+int64(len(s.window)) {
		s.window, s.at0 = s.window[:0], at
	}
	if have := s.at0 + int64(len(s.window)) - at; have < int64(n) {
		kept := copy(s.window[:cap(s.window)], s.window[at-s.at0:])
		want := int(min(int64(max(n, scanChunk)), s.end-at))
		if cap(s.window) < want {
			s.window = append(make([]byte, 0, want), s.window[:kept]...)
		}
		s.window, s.at0 = s.window[:want], at
		m, err := s.f.ReadAt(s.window[kept:], at+int64(kept))
		if m < want-kept {
			s.window = s.window[:kept+m]
			if err == io.EOF {
				err = &damagedError{what: "the file was truncated while it was read"}
			}
			return nil, err
		}
	}
	return s.window[at-s.at0:][:n], nil
}
