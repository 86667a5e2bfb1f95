package persistence

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// Scrubber finds damage in the files of a shard that are complete, and repairs blobs. It may run
// beside everything else.
type Scrubber struct{ log *Log }

// Scrubber returns what scrubs the shard's files.
func (l *Log) Scrubber() Scrubber { return Scrubber{l} }

// Scrub reads all files that are complete from the disk, not from the system's cache, and returns
// the damage. It calls throttle with the bytes that it has read; throttle returns whether to go on.
// Damaged files go to the quarantine once a snapshot has replaced them.
func (r Scrubber) Scrub(throttle func(n int64) bool) (damage []Damage, err error) {
	l := r.log
	l.mu.Lock()
	snapshot, changes := l.files.snapshot, l.changes
	var segments []*segment
	for _, s := range l.files.segments {
		if s.file == nil {
			segments = append(segments, s)
		}
	}
	l.mu.Unlock()
	blobs := l.blobs.checkable()
	s := scrubRun{log: l, changes: changes, throttle: throttle, goOn: true}
	if snapshot != nil && !snapshot.damaged && s.checkFile(snapshot.name, snapshotMagic) {
		l.mu.Lock()
		snapshot.damaged = true
		l.mu.Unlock()
	}
	for _, seg := range segments {
		if s.goOn && !seg.damaged && s.checkFile(seg.name, segmentMagic) {
			l.mu.Lock()
			seg.damaged = true
			l.mu.Unlock()
		}
	}
	for i := range blobs {
		if s.goOn && s.checkBlob(&blobs[i]) {
			l.blobs.setDamaged(blobs[i].id, true)
		}
	}
	return s.damage, s.err
}

// DamagedBlobs returns the blobs that Scrub found to be damaged.
func (r Scrubber) DamagedBlobs() []BlobID { return r.log.blobs.damaged() }

// RewriteBlob writes a blob again; the payload must be what it was. It quarantines the damaged
// file.
func (r Scrubber) RewriteBlob(id BlobID, payload [][]byte) error {
	r.log.syncing.Lock()
	defer r.log.syncing.Unlock()
	return r.log.blobs.rewrite(id, payload)
}

// scrubRun is one reading of a shard's files. A file that is removed meanwhile, because a snapshot
// has replaced it, is not damaged. Nor does what is wrong with a file mean anything once the log was
// truncated or replaced.
type scrubRun struct {
	log      *Log
	changes  int // of the log when it began
	throttle func(int64) bool
	goOn     bool
	damage   []Damage
	err      error // of the file system
}

// open opens a file and drops it from the system's cache. It returns no file after an error, or if
// there is none; missing says that the log still needs it.
func (s *scrubRun) open(name string, needed func() bool) (f vfs.File, missing bool) {
	f, err := s.log.folder.fs.Open(s.log.folder.path(name))
	if errors.Is(err, iofs.ErrNotExist) {
		return nil, needed()
	}
	if err != nil {
		s.err = errors.Join(s.err, err)
		return nil, false
	}
	f.DropCache()
	return f, false
}

// needs reports whether the log still has a segment or snapshot of the name, as it was.
func (s *scrubRun) needs(name string) bool {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.changes == s.changes && s.log.files.has(name)
}

// checkFile reads a snapshot or a segment, and reports whether it is damaged.
func (s *scrubRun) checkFile(name, magic string) (damaged bool) {
	file := s.log.folder.path(name)
	f, missing := s.open(name, func() bool { return s.needs(name) })
	if missing {
		s.damage = append(s.damage, Damage{File: file, What: "the file is missing"})
		return true
	}
	if f == nil {
		return false
	}
	defer f.Close()
	at, err := s.checkRecords(f, magic)
	d := (*damagedError)(nil)
	switch {
	case err == nil:
		return false
	case errors.As(err, &d), errors.Is(err, errNoHeader), errors.Is(err, errNoFooter):
		if !s.needs(name) {
			return false
		}
		s.damage = append(s.damage, Damage{File: file, Offset: at, What: err.Error()})
		return true
	}
	s.err = errors.Join(s.err, err)
	return false
}

// checkRecords reads all records of a file and returns where the first damage is.
func (s *scrubRun) checkRecords(f vfs.File, magic string) (at int64, err error) {
	h, err := readHeader(f, magic, s.log.disk.identity.Cluster(), s.log.shard)
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
		s.goOn = s.throttle(n)
	}
	return 0, nil
}

// checkBlob reads a blob, and reports whether it is damaged.
func (s *scrubRun) checkBlob(b *blob) (damaged bool) {
	f, missing := s.open(blobName(b.id), func() bool { return s.log.blobs.isLive(b.id) })
	if f == nil && !missing {
		return false
	}
	what := "the file is missing"
	if f != nil {
		defer f.Close()
		crc, n, err := s.sum(f)
		if err != nil {
			s.err = errors.Join(s.err, err)
			return false
		}
		if crc == b.crc && n == b.bytes || !s.goOn {
			return false
		}
		what = fmt.Sprintf("it has %d bytes with the CRC32C %08x, not %d with %08x", n, crc, b.bytes, b.crc)
	}
	if !s.log.blobs.isLive(b.id) {
		return false
	}
	s.damage = append(s.damage, Damage{File: s.log.blobs.path(b.id), Bytes: b.bytes, What: what})
	return true
}

// sum returns the CRC32C and the length of a file.
func (s *scrubRun) sum(f vfs.File) (crc uint32, size int64, err error) {
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
		s.goOn = s.throttle(int64(n))
	}
	return crc, size, nil
}
