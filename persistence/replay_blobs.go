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
func (r *replay) readBlobs() (missing *blobRecord, err error) {
	for _, key := range slices.Sorted(maps.Keys(r.pending)) {
		w := r.pending[key]
		err := r.readBlob(w)
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
			r.damage(Damage{blobName(w.Blob), 0, int64(w.Bytes), w.Key, d.what + ", to which " + w.file + " refers"})
		}
	}
	return missing, nil
}

// readBlob gives a value in a blob to the handler. The file need not exist if the handler skips the
// value.
func (r *replay) readBlob(w *blobRecord) error {
	b := blobReader{fs: r.fs, path: r.path(blobName(w.Blob)), size: int64(w.Bytes)}
	defer b.close()
	err := r.handler.Put(&w.Record, b.read)
	switch {
	case err == ErrSkip:
		return err
	case b.err != nil:
		return b.err
	case err != nil:
		return &damagedError{what: err.Error()}
	case b.at != b.size || b.crc != w.CRC:
		r.handler.Delete(w.Key)
		return &damagedError{what: "the CRC32C of the file differs"}
	}
	r.recovered.Add(b.size)
	return nil
}

// blobReader reads a blob from the start. The first read opens the file.
type blobReader struct {
	fs       vfs.FS
	path     string
	f        vfs.File
	at, size int64
	crc      uint32
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
	return nil
}
