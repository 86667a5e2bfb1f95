package persistence

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"path"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// Scrub reads again what is not being written, the way it lies on the disk, and returns what is damaged. Pace is told how many bytes were
// read and says whether to go on. Damaged files go to the quarantine once a snapshot has taken their place.
func (l *Log) Scrub(pace func(n int64) bool) (damage []Damage, err error) {
	l.mu.Lock()
	snapshot := l.snapshot
	var segments []*segment
	for _, s := range l.segments {
		if s.file == nil {
			segments = append(segments, s)
		}
	}
	type blobFile struct {
		id    BlobID
		bytes int64
		crc   uint32
	}
	var blobs []blobFile
	for id, b := range l.blobs {
		if b.file == nil && b.state == live && !b.damaged && b.known {
			blobs = append(blobs, blobFile{id, b.bytes, b.crc})
		}
	}
	l.mu.Unlock()
	s := scrubber{Log: l, pace: pace, goOn: true}
	if snapshot != nil && !snapshot.damaged {
		if s.file(snapshot.name, snapshotMagic) {
			l.mu.Lock()
			snapshot.damaged = true
			l.mu.Unlock()
		}
	}
	for _, seg := range segments {
		if s.goOn && !seg.damaged && s.file(seg.name, segmentMagic) {
			l.mu.Lock()
			seg.damaged = true
			l.mu.Unlock()
		}
	}
	for _, b := range blobs {
		if s.goOn && s.blob(b.id, b.bytes, b.crc) {
			l.mu.Lock()
			if found := l.blobs[b.id]; found != nil {
				found.damaged = true
			}
			l.mu.Unlock()
		}
	}
	return s.damage, s.err
}

type scrubber struct {
	*Log
	pace   func(int64) bool
	goOn   bool
	damage []Damage
	err    error
}

// open opens a file for a cold read; nil if it has gone meanwhile, which is no damage: a snapshot has taken its place.
func (s *scrubber) open(name string, there func() bool) (vfs.File, bool) {
	f, err := s.disk.fs.Open(s.path(name))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, there()
	}
	if err != nil {
		s.err = errors.Join(s.err, err)
		return nil, false
	}
	f.DropCache()
	return f, false
}

// file reads a snapshot or a segment, and reports whether it is damaged.
func (s *scrubber) file(name, magic string) (damaged bool) {
	f, missing := s.open(name, func() bool { return s.refersTo(name) })
	if missing {
		s.damage = append(s.damage, Damage{File: s.path(name), What: "the file is missing"})
		return true
	}
	if f == nil {
		return false
	}
	defer f.Close()
	at, err := s.check(f, magic)
	d := (*damagedError)(nil)
	switch {
	case err == nil:
		return false
	case errors.As(err, &d), errors.Is(err, errNoHeader), errors.Is(err, errNoFooter):
		if !s.refersTo(name) { // it was removed while it was read
			return false
		}
		s.damage = append(s.damage, Damage{File: s.path(name), Offset: at, What: err.Error()})
		return true
	}
	s.err = errors.Join(s.err, err)
	return false
}

// check reads all records of a file and returns where the first one is damaged.
func (s *scrubber) check(f vfs.File, magic string) (at int64, err error) {
	h, err := readHeader(f, magic, s.disk.node.cluster, s.shard)
	if err != nil {
		return 0, err
	}
	end, err := f.Size()
	if err != nil {
		return 0, err
	}
	var foot *footer
	if magic == snapshotMagic {
		if foot, err = readFooter(f, end, h.seed()); err != nil {
			return end, err
		}
		end -= footerBytes
	}
	found := footer{}
	scan := newScanner(f, h.seed(), h.bytes(), end)
	for s.goOn {
		at := scan.at
		_, n, err := scan.next()
		if err == io.EOF {
			return 0, foot.compare(&found)
		}
		if err != nil {
			return scan.at, err
		}
		if foot != nil {
			found.add(scan, at)
		}
		s.goOn = s.pace(n)
	}
	return 0, nil
}

// refersTo reports whether the log still has a segment or snapshot of the name.
func (l *Log) refersTo(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.snapshot != nil && l.snapshot.name == name {
		return true
	}
	for _, s := range l.segments {
		if s.name == name {
			return true
		}
	}
	return false
}

// blob reads a blob, and reports whether it is damaged.
func (s *scrubber) blob(id BlobID, bytes int64, crc uint32) (damaged bool) {
	name := path.Join(blobsDir, id.String())
	lives := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		b := s.blobs[id]
		return b != nil && b.state == live
	}
	f, missing := s.open(name, lives)
	if f == nil && !missing {
		return false
	}
	what := "the file is missing"
	if f != nil {
		defer f.Close()
		found, n, err := s.sum(f)
		if err != nil {
			s.err = errors.Join(s.err, err)
			return false
		}
		if found == crc && n == bytes || !s.goOn {
			return false
		}
		what = fmt.Sprintf("it has %d bytes with the CRC32C %08x, not %d with %08x", n, found, bytes, crc)
	}
	if !lives() {
		return false
	}
	s.damage = append(s.damage, Damage{File: s.path(name), Bytes: bytes, What: what})
	return true
}

// sum returns the CRC32C and the length of a file.
func (s *scrubber) sum(f vfs.File) (crc uint32, size int64, err error) {
	b := make([]byte, scanChunk)
	for s.goOn {
		n, err := f.ReadAt(b, size)
		crc = crc32c.Update(crc, b[:n])
		size += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		s.goOn = s.pace(int64(n))
	}
	return crc, size, nil
}

// DamagedBlobs returns the blobs that Scrub found to be damaged.
func (l *Log) DamagedBlobs() (ids []BlobID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.blobs {
		if b.damaged {
			ids = append(ids, id)
		}
	}
	return ids
}

// RewriteBlob writes a blob again, whose payload must be what it was. The damaged file goes to the quarantine.
func (l *Log) RewriteBlob(id BlobID, payload [][]byte) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	temp := l.blobPath(id) + tempSuffix
	if err := vfs.Discard(l.disk.fs, temp); err != nil {
		return err
	}
	f, err := l.disk.fs.Create(temp)
	if err != nil {
		return err
	}
	err = f.WriteAt(payload, 0)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = l.quarantine(path.Join(blobsDir, id.String()))
	}
	if err == nil {
		err = l.disk.fs.Rename(temp, l.blobPath(id))
	}
	if err == nil {
		err = l.disk.fs.SyncDir(l.path(blobsDir))
	}
	if err != nil {
		return errors.Join(err, vfs.Discard(l.disk.fs, temp))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.blobs[id]; b != nil {
		b.damaged = false
	}
	return nil
}
