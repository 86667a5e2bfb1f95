package persistence

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	iofs "io/fs"
	"maps"
	"path"
	"slices"

	"github.com/ndring/ndring/persistence/vfs"
)

// readBlobs reads the values that lie in files of their own. After a loss of power, it returns the first one in the log that was lost with it.
func (r *replay) readBlobs() (missing *waiting, err error) {
	for _, key := range slices.Sorted(maps.Keys(r.pending)) {
		w := r.pending[key]
		err := r.readBlob(w)
		d := (*damagedError)(nil)
		switch {
		case err == nil:
		case err == ErrSkip:
			r.forget(w.Key)
		case !errors.As(err, &d):
			return nil, err
		case r.disk.powerLoss && w.fromLog:
			if missing == nil || w.unit < missing.unit {
				missing = w
			}
		default:
			r.damage(Damage{path.Join(blobsDir, w.Blob.String()), 0, int64(w.Bytes), w.Key, d.what + ", to which " + w.file + " refers"})
		}
	}
	return missing, nil
}

func (r *replay) readBlob(w *waiting) error {
	f, err := r.disk.fs.Open(r.blobPath(w.Blob))
	if errors.Is(err, iofs.ErrNotExist) {
		return &damagedError{what: "the file is missing"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	if uint64(size) != w.Bytes {
		return &damagedError{what: fmt.Sprintf("the file has %d bytes, not %d", size, w.Bytes)}
	}
	b := blobReader{f: f, size: size}
	if err := r.handler.Put(&w.Record, b.read); err != nil {
		if b.err != nil {
			return b.err
		}
		if err == ErrSkip {
			return err
		}
		return &damagedError{what: err.Error()}
	}
	if b.at != size || b.crc != w.CRC {
		r.handler.Delete(w.Key)
		return &damagedError{what: "the CRC32C of the file differs"}
	}
	r.disk.loaded.Add(size)
	return nil
}

// blobReader reads a blob from its beginning.
type blobReader struct {
	f        vfs.File
	at, size int64
	crc      uint32
	err      error // of the file system
}

func (b *blobReader) read(dst []byte) error {
	if int64(len(dst)) > b.size-b.at {
		return io.ErrUnexpectedEOF
	}
	for len(dst) > 0 {
		part := dst[:min(len(dst), scanChunk)]
		if n, err := b.f.ReadAt(part, b.at); n < len(part) {
			b.err = err
			return err
		}
		b.crc = crc32.Update(b.crc, castagnoli, part)
		b.at += int64(len(part))
		dst = dst[len(part):]
	}
	return nil
}
