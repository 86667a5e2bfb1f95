package persistence

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// Snapshot is a snapshot that is being written: Write for each value, then Commit or Abort.
type Snapshot struct {
	log    *Log
	header *fileHeader
	begin  Position // of the log at the snapshot's moment, if the snapshot had all records then
	time   int64    // the greatest one in a NoOp so far
	pinned []BlobID // blobs to which it refers

	cancelled  bool // guarded by log.mu
	publishing bool // it holds log.publishing

	file    vfs.File
	name    string // that it will have
	base    bool   // it is an installed copy
	size    int64
	seed    uint32
	buffer  []byte
	foot    footer
	renamed bool
	errors  int64 // of the volume when it began

	Throttle func() error // is called between two pieces of CPU work; an error ends the snapshot. nil for no pause
}

// snapshotBuffer is how much is written at once. A payload of a quarter of it or more is written
// from where it is.
const snapshotBuffer = 512 << 10 // bytes

// ErrCancelled is returned by Snapshot.Commit when the log was truncated below the snapshot, or
// replaced by another copy, since the snapshot began.
var ErrCancelled = errors.New("the snapshot was cancelled: the log no longer has what it shows")

// BeginSnapshot begins a snapshot of the shard as it is after the record seq, which is committed,
// with those blobs. It does nothing that takes long, and records may be appended meanwhile. The
// snapshot makes the segments obsolete that have no later record, so Rotate should precede it.
func (l *Log) BeginSnapshot(epoch, seq uint64, blobs []BlobID) (*Snapshot, error) {
	cluster, err := l.disk.identity.pin()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blobs.pin(blobs)
	s := &Snapshot{
		log: l, header: l.disk.options.newHeader(snapshotMagic, cluster, l.shard, epoch, seq, l.epochs.upTo(seq)), time: l.time,
		pinned: blobs, name: snapshotName(epoch, seq), foot: footer{epoch: epoch, seq: seq}, errors: l.disk.volume.errors.Load(),
	}
	if l.last.seq <= seq {
		s.begin = l.written
	}
	l.running = append(l.running, s)
	return s, nil
}

// NotBefore makes the snapshot carry a time of the copy, in Unix ms, unless it knows a greater one from the log. Call it before
// Write.
func (s *Snapshot) NotBefore(time int64) { s.time = max(s.time, time) }

// Bytes returns how many bytes have been written so far or are buffered.
func (s *Snapshot) Bytes() int64 { return s.size + int64(len(s.buffer)) }

// Stage writes a large payload to a blob to which only this snapshot refers.
func (s *Snapshot) Stage(payload [][]byte) (BlobID, error) {
	id, err := stageBlob(s.log, payload, dead, 1)
	if err == nil {
		s.pinned = append(s.pinned, id)
	}
	return id, err
}

// Write adds a value. It does not keep the payload.
func (s *Snapshot) Write(r *Record) error {
	if err := r.check(); err != nil {
		return err
	}
	if s.file == nil {
		if err := s.create(); err != nil {
			return err
		}
	}
	s.addHead(r)
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
	f := s.log.folder
	if err := f.ensure(); err != nil {
		return err
	}
	temp := s.tempPath()
	if err := vfs.Discard(f.fs, temp); err != nil {
		return err
	}
	file, err := f.fs.Create(temp)
	if err != nil {
		return err
	}
	s.file, s.seed, s.buffer = file, s.header.seed(), append(s.buffer, s.header.encode()...)
	if s.time != 0 { // the segments that had it go
		r := NewNoOp(0, 0, s.time)
		s.addHead(&r)
	}
	return nil
}

// addHead adds the head of a record to the buffer and counts the record.
func (s *Snapshot) addHead(r *Record) {
	from := len(s.buffer)
	s.buffer = r.appendHead(s.buffer, s.seed)
	s.foot.count++
	s.foot.running = crc32c.Update(s.foot.running, s.buffer[from+crcAt:][:4])
}

// flush writes the buffer, then a payload.
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
	s.log.disk.counters.written.Add(n)
	s.log.mu.Lock()
	s.log.files.snapshotBytes.add(n)
	s.log.mu.Unlock()
	return s.pause()
}

func (s *Snapshot) pause() error {
	if s.Throttle == nil {
		return nil
	}
	return s.Throttle()
}

// tempPath returns the path of the file until it counts.
func (s *Snapshot) tempPath() string {
	if s.base {
		return s.log.folder.path(baseTempName(s.name))
	}
	return s.log.folder.path(s.name + tempSuffix)
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
		return fmt.Errorf("the new snapshot cannot be read back: %w", err)
	}
	return nil
}

// beginPublishing keeps the log from being truncated or replaced until end.
func (s *Snapshot) beginPublishing() error {
	l := s.log
	l.publishing.Lock()
	s.publishing = true
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.cancelled {
		return ErrCancelled
	}
	return nil
}

// end ends the snapshot, published or not.
func (s *Snapshot) end() {
	l := s.log
	l.mu.Lock()
	l.running = slices.DeleteFunc(l.running, func(other *Snapshot) bool { return other == s })
	l.mu.Unlock()
	if s.publishing {
		s.publishing = false
		l.publishing.Unlock()
	}
}

func (s *Snapshot) rename() error {
	f := s.log.folder
	s.renamed = true
	return f.fs.Rename(s.tempPath(), f.path(s.name))
}

// Abort gives the snapshot up. All that was there before it stays.
func (s *Snapshot) Abort() {
	l := s.log
	defer s.end()
	if s.file != nil {
		f := l.folder
		_ = s.file.Close()                  // it is removed
		_ = vfs.Discard(f.fs, s.tempPath()) // or the next snapshot of the name does it
		l.mu.Lock()
		replaced := l.files.snapshot != nil && l.files.snapshot.name == s.name
		l.mu.Unlock()
		if s.renamed && !replaced {
			_ = vfs.Discard(f.fs, f.path(s.name)) // or a recovery reads it: it is whole, or has no footer
		}
		l.mu.Lock()
		l.files.snapshotBytes.add(-s.size)
		l.mu.Unlock()
	}
	s.unpin(s.pinned)
}

// unpin releases the blobs of this or an older snapshot and removes those that nothing else needs.
// The caller does not hold syncing.
func (s *Snapshot) unpin(ids []BlobID) {
	l := s.log
	l.blobs.unpin(ids)
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	commit := l.commit.durable
	l.mu.Unlock()
	l.blobs.removeDead(commit)
}
