package persistence

import (
	"errors"
	"fmt"
	"io"

	"github.com/ndring/ndring/persistence/vfs"
)

// ErrTruncate is returned for a truncation that the log refuses. The log is unchanged.
var ErrTruncate = errors.New("cannot truncate the log")

// Truncate removes the records after a point, whose epoch and seq must be those of a record, or of
// what a snapshot has in its place. What it removes may come back after a loss of power, as a whole,
// until Sync of the Position from then on. The caller holds what orders the shard's writes.
//
// It refuses to remove what is committed according to the log's records, what a snapshot has, and a
// part of a batch. It cancels running snapshots of what it removes.
func (l *Log) Truncate(after Point) error {
	l.publishing.Lock()
	defer l.publishing.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	t := truncation{log: l, after: after}
	if err := t.check(); err != nil || t.nothing {
		return err
	}
	if err := t.find(); err != nil {
		return err
	}
	if err := l.disk.reserve.use(t.lowerClaims); err != nil {
		return fmt.Errorf("%w: %w", ErrTruncate, err)
	}
	if err := t.cutFiles(); err != nil {
		return l.stop(err) // it is unknown which of the records are left
	}
	t.finish()
	return nil
}

// truncation removes the records after a point from a log. The caller of its methods holds
// publishing, syncing, and what orders the shard's writes, so the segments do not change meanwhile.
type truncation struct {
	log     *Log
	after   Point
	nothing bool // there is no record to remove

	base   uint64     // seq of the snapshot; 0 for none
	whole  []*segment // that have no record to keep
	tail   *segment   // that has records to keep, then records to remove; nil for none
	at     int64      // where in tail the records to remove begin
	kept   recordID   // the newest record of tail to keep
	commit uint64     // the greatest commit index in the records to keep, as far as is known
	blobs  []BlobID   // of the records to remove
}

func (t *truncation) refuse(format string, args ...any) error {
	return fmt.Errorf("%w after %d-%d: %s", ErrTruncate, t.after.Epoch, t.after.Seq, fmt.Sprintf(format, args...))
}

// check refuses a truncation that would take back what is committed, and cancels the snapshots that
// are running of what is to be removed.
func (t *truncation) check() error {
	l, seq := t.log, t.after.Seq
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.failed != nil:
		return l.failed
	case seq > l.last.seq, seq == l.last.seq && t.after.Epoch != l.last.epoch && l.epochs.of(seq) != t.after.Epoch:
		return t.refuse("the log ends with %d-%d", l.last.epoch, l.last.seq)
	case seq == l.last.seq:
		t.nothing = true
		return nil
	case seq < l.commit.written:
		return t.refuse("the changes up to %d are committed", l.commit.written)
	}
	t.cancelSnapshots()
	return nil
}

// cancelSnapshots cancels the running snapshots of records to remove. The caller holds mu.
func (t *truncation) cancelSnapshots() {
	for _, s := range t.log.running {
		s.cancelled = s.cancelled || s.header.seq > t.after.Seq && !flawed("snapshotOverTruncate")
	}
}

// find finds out where the records to remove are, and which blobs they refer to.
func (t *truncation) find() error {
	l := t.log
	l.mu.Lock()
	segments := l.files.segments
	if l.files.snapshot != nil {
		t.base = l.files.snapshot.seq
		t.commit = t.base
	}
	l.mu.Unlock()
	n := len(segments)
	for n > 0 && segments[n-1].first > t.after.Seq {
		n--
	}
	t.whole = segments[n:]
	if n > 0 {
		t.tail = segments[n-1]
		if err := t.scan(t.tail); err != nil {
			return err
		}
	}
	if want := (recordID{t.after.Epoch, t.after.Seq}); t.kept != want && t.after.Seq != t.base {
		return t.refuse("the log has %d-%d there", t.kept.epoch, t.kept.seq)
	}
	for _, s := range t.whole {
		if err := t.scan(s); err != nil {
			return err
		}
	}
	return nil
}

// scan reads the records of a segment.
func (t *truncation) scan(s *segment) error {
	f, err := t.log.reader.openSegment(fileInfo{name: s.name, bytes: s.bytes, seq: s.first})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrTruncate, s.name, err)
	}
	defer f.close()
	for {
		r, n, err := f.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %s at %d: %w", ErrTruncate, s.name, f.at, err)
		}
		seq, at := r.Seq, f.at-n
		if f.batchAt > 0 && at < f.batchEnd {
			seq, at = f.batchSeq, f.batchAt
		}
		switch {
		case r.Seq <= t.after.Seq:
			t.kept, t.commit = recordID{r.Epoch, r.Seq}, max(t.commit, r.Commit)
			continue
		case seq <= t.after.Seq:
			return t.refuse("the batch from %d on goes on after it", seq)
		case s == t.tail && t.at == 0:
			t.at = at
		}
		if r.Blob != 0 {
			t.blobs = append(t.blobs, r.Blob)
		}
	}
}

// lowerClaims takes back what other files say about the records to remove, and puts down what only
// these say: up to which change the shard's history is committed. Blobs may be gone because of that.
// It is durable when it returns. After an error the log is as it was.
func (t *truncation) lowerClaims() error {
	l, seq := t.log, t.after.Seq
	l.mu.Lock()
	if t.after.Seq < l.durable.seq || l.durable.epoch > t.after.Epoch {
		l.durable = recordID{t.after.Epoch, seq} // marks are taken of it from now on
	}
	if l.commit.durable > t.commit && l.folder.state().madeBlobs {
		l.vouched = max(l.vouched, l.commit.durable)
	}
	m := shardManifest{shard: l.shard, seq: min(l.manifest, seq), commit: l.vouched}
	if l.files.snapshot != nil {
		m.snapshot = l.files.snapshot.name
	}
	needed := l.manifest > seq || l.vouched > t.commit
	l.mu.Unlock()
	if err := l.disk.lowerMark(l.shard, recordID{t.after.Epoch, seq}); err != nil || !needed {
		return err
	}
	var err error
	if m.cluster, err = l.disk.identity.pin(); err != nil {
		return err
	}
	if err = writeShardManifest(l.folder, &m); err == nil {
		l.manifest = m.seq
	}
	return err
}

// cutFiles removes the records, the newest ones first, so that whatever part of it survives a crash
// leaves the log without a gap.
func (t *truncation) cutFiles() error {
	l := t.log
	if err := l.writer.cutTorn(); err != nil {
		return err
	}
	l.mu.Lock()
	l.changes++ // who reads the files sees that they change
	l.mu.Unlock()
	for i := len(t.whole) - 1; i >= 0; i-- {
		s := t.whole[i]
		l.mu.Lock()
		l.files.remove(s)
		s.close()
		l.mu.Unlock()
		if err := l.folder.discard(s.name); err != nil {
			return err
		}
	}
	if t.at == 0 {
		return nil
	}
	return t.cut()
}

// finish adapts what is known about the log.
func (t *truncation) finish() {
	l := t.log
	l.folder.fileCreated() // or removed: its names are to be synced
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rotate() // new records never mix with what a loss of power may bring back
	if t.at > 0 {
		l.files.segmentBytes.add(t.at - t.tail.bytes)
		t.tail.bytes, t.tail.synced = t.at, 0
	}
	l.last = recordID{t.after.Epoch, t.after.Seq}
	l.epochs = l.epochs.upTo(t.after.Seq)
	l.changes++
	l.written++ // a sync has something to do
	for _, id := range t.blobs {
		l.blobs.supersede(id, 0)
	}
}

// cut truncates the segment that has records to keep. A sync has to follow, for which the file stays
// open.
func (t *truncation) cut() error {
	l, s := t.log, t.tail
	if s.file == nil { // only a holder of syncing opens or closes it
		file, err := l.folder.fs.Open(l.folder.path(s.name))
		if err != nil {
			return err
		}
		l.mu.Lock()
		s.file = file
		l.mu.Unlock()
	}
	if l.folder.keepAll {
		if err := l.folder.keepTail(s.file, s.name, t.at); err != nil {
			return err
		}
	}
	return s.file.Truncate(t.at)
}

// writeShardManifest replaces the manifest of a shard. A snapshot that is about to be published may
// have prepared another one, so this one has its own temporary name.
func writeShardManifest(f *folder, m *shardManifest) error {
	temp := f.path(claimsName)
	if err := vfs.WriteFile(f.fs, temp, m.encode()); err != nil {
		return err
	}
	err := f.fs.Rename(temp, f.path(manifestName))
	if err == nil {
		err = f.fs.SyncDir(f.dir)
	}
	return err
}
