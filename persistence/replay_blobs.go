package persistence

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"slices"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// readBlobs reads the values in blobs. It returns the first one in the log, if any, that a loss of
// power took.
func (r *replay) readBlobs() (missing *foundRecord, err error) {
	for _, key := range slices.Sorted(maps.Keys(r.pending)) {
		w := r.pending[key]
		err := r.readBlob(w, r.handler.Put)
		d := (*damagedError)(nil)
		switch {
		case err == nil:
		case err == ErrSkip:
			r.remove(w.Key)
		case !errors.As(err, &d):
			return nil, err
		case w.fromLog && r.policy.mayLack(w.Seq):
			if missing == nil || w.unit < missing.unit {
				missing = w
			}
		default:
			r.lost(w, w.damagedBlob(d))
		}
	}
	return missing, nil
}

// damagedBlob describes damage to the blob of the record.
func (f *foundRecord) damagedBlob(d *damagedError) Damage {
	return Damage{blobName(f.Blob), 0, int64(f.Bytes), f.Key, d.what + ", to which " + f.file + " refers"}
}

// readBlob gives a record with a blob to the handler. The file need not exist if the handler skips
// the value.
func (r *replay) readBlob(w *foundRecord, give func(*Record, func([]byte) error) error) error {
	b := blobReader{fs: r.fs, path: r.path(blobName(w.Blob)), size: int64(w.Bytes), want: w.CRC}
	defer b.close()
	err := give(&w.Record, b.read)
	switch {
	case err == ErrSkip:
		return err
	case b.err != nil:
		return b.err
	case err != nil:
		return &damagedError{what: err.Error()}
	case b.at != b.size: // without all of it, the CRC32C says nothing
		return &damagedError{what: "its length differs from what the record says"}
	}
	r.recovered.Add(b.size)
	return nil
}

// giveSuffix gives the records that were held back to the end of the log to the handler. It returns
// the first one, if any, of which a loss of power took the blob.
func (r *replay) giveSuffix() (missing *foundRecord, err error) {
	left, lost := r.suffix.rest()
	for _, key := range lost {
		r.remove(key)
	}
	for _, f := range left {
		err := r.giveHeld(f)
		d := (*damagedError)(nil)
		switch {
		case err == nil:
		case err == ErrSkip:
		case !errors.As(err, &d):
			return nil, err
		case f.Blob == 0:
			r.lost(f, f.damage(d))
			continue
		case r.policy.mayLack(f.Seq):
			return f, nil
		default:
			r.lost(f, f.damagedBlob(d))
			continue
		}
		r.left = append(r.left, f)
		r.report.HeldBack++
	}
	return nil, nil
}

// giveHeld gives a record that was held back to the handler, which has the payload in its own memory
// from then on: both together take little more than one of them.
func (r *replay) giveHeld(f *foundRecord) error {
	if f.Blob != 0 {
		return r.readBlob(f, r.handler.Suffix)
	}
	err := r.handler.Suffix(&f.Record, readInline(&f.Record))
	f.Payload = nil
	if err != nil && err != ErrSkip {
		return &damagedError{what: err.Error()}
	}
	return nil
}

// blobReader reads a blob from the start. The first read opens the file, and the one that reaches the
// end compares the CRC32C.
type blobReader struct {
	fs       vfs.FS
	path     string
	f        vfs.File
	at, size int64
	crc      uint32
	want     uint32
	err      error // of the file system, or a *damagedError
}

func (b *blobReader) open() error {
	f, err := b.fs.Open(b.path)
	if errors.Is(err, iofs.ErrNotExist) {
		return ErrNoBlob
	}
	if err != nil {
		return err
	}
	b.f = f
	size, err := f.Size()
	if err == nil && size != b.size {
		err = &damagedError{what: fmt.Sprintf("the file has %d bytes, not %d", size, b.size)}
	}
	return err
}

func (b *blobReader) close() {
	if b.f != nil {
		_ = b.f.Close() // it was only read
	}
}

func (b *blobReader) read(dst []byte) error {
	if b.f == nil && b.err == nil {
		b.err = b.open()
	}
	if b.err != nil {
		return b.err
	}
	if int64(len(dst)) > b.size-b.at {
		return io.ErrUnexpectedEOF
	}
	for len(dst) > 0 {
		part := dst[:min(len(dst), scanChunk)]
		if n, err := b.f.ReadAt(part, b.at); n < len(part) {
			b.err = err
			return err
		}
		b.crc = crc32c.Update(b.crc, part)
		b.at += int64(len(part))
		dst = dst[len(part):]
	}
	if b.at == b.size && b.crc != b.want {
		b.err = &damagedError{what: "the CRC32C of the file differs"}
	}
	return b.err
}
