package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// footer is the end of a snapshot. A file without one is not a snapshot.
type footer struct {
	count   uint64 // records
	bytes   uint64 // of the file
	epoch   uint64
	seq     uint64 // of the last record that the snapshot has
	running uint32 // CRC32C of the records' CRCs
}

const (
	footerMagic = "ndF\x01"
	footerEnd   = "NDREND\r\n"
	footerBytes = 56
)

func (f *footer) encode(seed uint32) []byte {
	b := make([]byte, footerBytes)
	copy(b, footerMagic)
	le := binary.LittleEndian
	le.PutUint64(b[8:], f.count)
	le.PutUint64(b[16:], f.bytes)
	le.PutUint64(b[24:], f.epoch)
	le.PutUint64(b[32:], f.seq)
	le.PutUint32(b[40:], f.running)
	copy(b[48:], footerEnd)
	le.PutUint32(b[crcAt:], crc32c.Update(seed, b[afterCRC:]))
	return b
}

var errNoFooter = errors.New("the snapshot has no valid footer")

// readFooter reads the end of a snapshot of that size.
func readFooter(f vfs.File, size int64, seed uint32) (*footer, error) {
	b := make([]byte, footerBytes)
	if size < footerBytes {
		return nil, errNoFooter
	}
	if n, err := f.ReadAt(b, size-footerBytes); n < len(b) {
		if err == io.EOF {
			err = errNoFooter
		}
		return nil, err
	}
	le := binary.LittleEndian
	foot := &footer{le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:]), le.Uint32(b[40:])}
	if !bytes.Equal(foot.encode(seed), b) || foot.bytes != uint64(size) {
		return nil, errNoFooter
	}
	return foot, nil
}

// add counts the record that a scanner has just read at an offset.
func (f *footer) add(scan *scanner, at int64) {
	if head, err := scan.bytes(at, afterCRC); err == nil { // it is still in the window
		f.count++
		f.running = crc32c.Update(f.running, head[crcAt:])
	}
}

// compare returns an error if the records of a snapshot, counted in found, are not those of its
// footer, nil for none.
func (f *footer) compare(found *footer) error {
	if f == nil || found.count == f.count && found.running == f.running {
		return nil
	}
	return &damagedError{what: "the snapshot has other records than its footer says"}
}

// verifySnapshot reads a whole snapshot. It calls each with the bytes of every record; an error of
// each ends it.
func verifySnapshot(f vfs.File, h *fileHeader, each func(n int64) error) (*footer, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	foot, err := readFooter(f, size, h.seed())
	if err != nil {
		return nil, err
	}
	found := footer{}
	scan := newScanner(f, h.seed(), h.bytes(), size-footerBytes)
	for {
		at := scan.at
		_, n, err := scan.next()
		if err == io.EOF {
			return foot, foot.compare(&found)
		}
		if err != nil {
			return nil, fmt.Errorf("at %d: %w", at, err)
		}
		found.add(scan, at)
		if err := each(n); err != nil {
			return nil, err
		}
	}
}
