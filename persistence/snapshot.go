package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// footer is the end of a snapshot. Without one, there is no snapshot.
type footer struct {
	count   uint64 // records
	bytes   uint64 // of the file
	epoch   uint64
	seq     uint64 // of the last record that the snapshot holds
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

var errNoFooter = errors.New("the snapshot has no whole footer")

// readFooter reads the end of a snapshot of so many bytes.
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

// Snapshot is a snapshot that is being written.
type Snapshot struct {
	log      *Log
	header   *fileHeader
	begin    Position // of the log at its moment
	obsolete []*segment
	pinned   []BlobID

	file    vfs.File
	name    string // that it will have
	size    int64
	seed    uint32
	buffer  []byte
	foot    footer
	renamed bool
	errors  int64 // flushErrors of the disk when it was begun

	Throttle func() error // is called between two pieces of work that take the processor, and may end them; nil for no pause
}

// snapshotBuffer is how much is written at once; payloads of a quarter of it or more are written from where they are.
const snapshotBuffer = 512 << 10 // bytes

// BeginSnapshot begins a snapshot of the shard as it is after the record seq, with those blobs. The log goes on in another file. It does nothing
// that takes time; what follows is Write for each value, and Commit or Abort.
func (l *Log) BeginSnapshot(epoch, seq uint64, blobs []BlobID) (*Snapshot, error) {
	if err := l.cut(); err != nil {
		return nil, err
	}
	if err := l.disk.begin(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs = noteEpoch(l.epochs, epoch, seq+1)
	obsolete := l.segments[:len(l.segments):len(l.segments)]
	if n := len(obsolete); n > 0 && obsolete[n-1].first > seq { // it has no record yet
		obsolete = obsolete[: n-1 : n-1]
	} else {
		l.file = nil
	}
	l.pin(blobs)
	return &Snapshot{
		log: l, header: l.header(snapshotMagic, epoch, seq), begin: l.written, obsolete: obsolete,
		pinned: blobs, name: snapshotName(epoch, seq), foot: footer{epoch: epoch, seq: seq}, errors: l.disk.flushErrors.Load(),
	}, nil
}

// Bytes returns how many bytes have been written so far, or wait for that.
func (s *Snapshot) Bytes() int64 { return s.size + int64(len(s.buffer)) }

// Stage writes a large payload to a file of its own, for a record of this snapshot alone to refer to.
func (s *Snapshot) Stage(payload [][]byte) (BlobID, error) {
	id, err := s.log.stage(payload, dead, 1)
	if err == nil {
		s.pinned = append(s.pinned, id)
	}
	return id, err
}

// Write adds a value. The payload is not needed afterwards.
func (s *Snapshot) Write(r *Record) error {
	if err := r.check(); err != nil {
		return err
	}
	if s.file == nil {
		if err := s.create(); err != nil {
			return err
		}
	}
	from := len(s.buffer)
	s.buffer = r.appendHead(s.buffer, s.seed)
	s.foot.count++
	s.foot.running = crc32c.Update(s.foot.running, s.buffer[from+crcAt:][:4])
	if r.inline() >= snapshotBuffer/4 {
		return s.flush(r.Payload)
	}
	if r.Blob == 0 {
		for _, p := range r.Payload {
			s.buffer = append(s.buffer, p...)
		}
	}
	if len(s.buffer) >= snapshotBuffer {
		return s.flush(nil)
	}
	return nil
}

func (s *Snapshot) create() error {
	if err := s.log.makeDir(); err != nil {
		return err
	}
	temp := s.log.path(s.name + tempSuffix)
	if err := vfs.Discard(s.log.disk.fs, temp); err != nil {
		return err
	}
	f, err := s.log.disk.fs.Create(temp)
	if err != nil {
		return err
	}
	s.file, s.seed, s.buffer = f, s.header.seed(), append(s.buffer, s.header.encode()...)
	return nil
}

// flush writes the buffer, and behind it a payload.
func (s *Snapshot) flush(payload [][]byte) error {
	pieces := append([][]byte{s.buffer}, payload...)
	if err := s.file.WriteAt(pieces, s.size); err != nil {
		return err
	}
	n := int64(0)
	for _, p := range pieces {
		n += int64(len(p))
	}
	s.size += n
	s.buffer = s.buffer[:0]
	s.log.disk.written.Add(n)
	s.log.mu.Lock()
	s.log.count(&s.log.bytes.snapshots, n)
	s.log.mu.Unlock()
	return s.pause()
}

// Commit publishes the snapshot and removes what it makes obsolete. After an error nothing of what was there before is gone.
func (s *Snapshot) Commit() error {
	l := s.log
	err := s.finish()
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil && len(s.pinned) > 0 {
		err = s.syncBlobs()
	}
	if err == nil {
		err = s.verify()
	}
	if err == nil {
		err = s.rename()
	}
	if err == nil {
		err = vfs.ReplaceFile(l.disk.fs, l.path(manifestName), l.encodeManifest(s.name, s.header.seq))
	}
	if err == nil {
		err = s.syncNames()
	}
	if err != nil {
		s.Abort()
		return err
	}
	return s.publish()
}

// rename gives the file its name.
func (s *Snapshot) rename() error {
	s.renamed = true
	return s.log.disk.fs.Rename(s.log.path(s.name+tempSuffix), s.log.path(s.name))
}

// finish writes the footer.
func (s *Snapshot) finish() error {
	if s.file == nil { // there was no value
		if err := s.create(); err != nil {
			return err
		}
	}
	s.foot.bytes = uint64(s.size) + uint64(len(s.buffer)) + footerBytes
	s.buffer = append(s.buffer, s.foot.encode(s.seed)...)
	return s.flush(nil)
}

// syncNames makes the snapshot's name survive, and those that the log waits for: the error of a sync is told once, so it stops the log, too.
func (s *Snapshot) syncNames() error {
	l := s.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	parent := l.dirs.parent
	l.mu.Unlock()
	if err := l.syncFiles(nil, nil, dirState{names: true, parent: parent}); err != nil {
		return l.stop(err)
	}
	return nil
}

// syncBlobs syncs the files that the snapshot refers to. The log may refer to them, too, and wait for the same sync.
func (s *Snapshot) syncBlobs() error {
	l := s.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	blobs := s.unsyncedBlobs()
	dirs := dirState{blobs: true, names: l.dirs.names, parent: l.dirs.parent}
	l.mu.Unlock()
	if len(blobs) == 0 {
		return nil
	}
	if err := l.syncFiles(blobs, nil, dirs); err != nil {
		return l.stop(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range blobs {
		b.close()
	}
	return nil
}

// unsyncedBlobs returns what syncBlobs is about. The lock is held.
func (s *Snapshot) unsyncedBlobs() (blobs []*blob) {
	for _, id := range s.pinned {
		if b := s.log.blobs[id]; b != nil && b.file != nil {
			blobs = append(blobs, b)
		}
	}
	return blobs
}

func (s *Snapshot) pause() error {
	if s.Throttle == nil {
		return nil
	}
	return s.Throttle()
}

// verify reads the snapshot back.
func (s *Snapshot) verify() error {
	read := int64(0)
	_, err := verifySnapshot(s.file, s.header, func(n int64) error {
		if read += n; read < snapshotBuffer {
			return nil
		}
		read = 0
		return s.pause()
	})
	if err != nil {
		return fmt.Errorf("the snapshot that was just written cannot be read: %w", err)
	}
	return nil
}

// verifySnapshot reads a whole snapshot. Each is told how many bytes each record has, and may end that.
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
			break
		}
		if err != nil {
			return nil, fmt.Errorf("at %d: %w", at, err)
		}
		found.add(scan, at)
		if err := each(n); err != nil {
			return nil, err
		}
	}
	return foot, foot.compare(&found)
}

// compare returns an error if the records of a snapshot, which were counted in found, are not those of its footer. A file without a footer has none to compare.
func (f *footer) compare(found *footer) error {
	if f == nil || found.count == f.count && found.running == f.running {
		return nil
	}
	return &damagedError{what: "the snapshot has other records than its footer says"}
}

// add counts the record that a scanner has just read at a place.
func (f *footer) add(scan *scanner, at int64) {
	if head, err := scan.bytes(at, headBytes); err == nil { // it lies in the window
		f.count++
		f.running = crc32c.Update(f.running, head[crcAt:][:4])
	}
}

// publish makes the snapshot the one that counts.
func (s *Snapshot) publish() error {
	l := s.log
	l.syncing.Lock()
	l.manifest = s.header.seq
	l.mu.Lock()
	old := l.snapshot
	l.snapshot = &snapshotFile{name: s.name, epoch: s.header.epoch, seq: s.header.seq, bytes: s.size, blobs: s.pinned}
	l.synced = max(l.synced, s.begin) // the log up to there is not needed any more
	held := recordID{s.header.epoch, s.header.seq}
	l.last, l.durable = l.last.later(held), l.durable.later(held)
	l.mu.Unlock()
	err := s.file.Close()
	for _, seg := range s.obsolete {
		l.removeSegment(seg)
	}
	l.bury()
	l.syncing.Unlock()
	if old != nil {
		if old.name != s.name { // otherwise it was replaced
			l.retire(old.name, old.damaged)
		}
		l.mu.Lock()
		l.count(&l.bytes.snapshots, -old.bytes)
		l.mu.Unlock()
		l.unpin(old.blobs)
	}
	return err
}

// removeSegment removes an obsolete segment. What cannot be removed is found again at the next start. Syncing is held.
func (l *Log) removeSegment(s *segment) {
	l.mu.Lock()
	i := slices.Index(l.segments, s)
	if i >= 0 {
		l.segments = append(l.segments[:i:i], l.segments[i+1:]...)
		l.count(&l.bytes.segments, -s.bytes)
	}
	l.mu.Unlock()
	if i < 0 { // a later one has taken its name
		return
	}
	s.close()
	l.retire(s.name, s.damaged)
}

// retire removes a file; a damaged one goes to the quarantine.
func (l *Log) retire(name string, damaged bool) {
	var err error
	if damaged {
		err = l.quarantine(name)
	} else {
		err = l.discard(name)
	}
	if err != nil {
		l.disk.options.Log.Warn("an obsolete file stays until the next start", "file", l.path(name), "err", err)
	}
}

// Abort gives the snapshot up.
func (s *Snapshot) Abort() {
	l := s.log
	if s.file != nil {
		_ = s.file.Close()                                    // it goes
		_ = vfs.Discard(l.disk.fs, l.path(s.name+tempSuffix)) // or the next one of the name does it
		l.mu.Lock()
		replaced := l.snapshot != nil && l.snapshot.name == s.name
		l.mu.Unlock()
		if s.renamed && !replaced {
			_ = vfs.Discard(l.disk.fs, l.path(s.name)) // or recovery reads it: it is whole, or has no footer
		}
		l.mu.Lock()
		l.count(&l.bytes.snapshots, -s.size)
		l.mu.Unlock()
	}
	l.unpin(s.pinned)
}
