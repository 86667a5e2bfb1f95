package persistence

import (
	"fmt"
	"path"
	"slices"

	"github.com/ndring/ndring/persistence/vfs"
)

// Installation is a whole copy of the shard from elsewhere that is being written beside the own one:
// Write for each value, then Sync, then Commit or Abort.
//
// Invariant: a start finds the own copy with its log, or the installed one, whole, without a record
// or value of the other. The shard's manifest decides: from the moment that it names the copy as the
// base, no other file counts.
type Installation struct {
	snapshot *Snapshot
	epochs   epochTable
	crcs     map[BlobID]uint32 // of the blobs to which the copy refers
	synced   bool              // Sync was called
	failed   error             // what it returned
}

// Install begins the installation of a copy as it is after a point, with the epochs of its history.
// The log goes on meanwhile.
func (l *Log) Install(base Point, epochs []EpochStart) (*Installation, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	cluster, err := l.disk.identity.pin()
	if err != nil {
		return nil, err
	}
	if len(epochs) > maxEpochs {
		epochs = epochs[len(epochs)-maxEpochs:]
	}
	table := epochTable(slices.Clone(epochs)).upTo(base.Seq)
	return &Installation{
		epochs: table, crcs: map[BlobID]uint32{},
		snapshot: &Snapshot{
			log: l, header: l.disk.options.newHeader(snapshotMagic, cluster, l.shard, base.Epoch, base.Seq, table),
			name: snapshotName(base.Epoch, base.Seq), foot: footer{epoch: base.Epoch, seq: base.Seq}, base: true,
		},
	}, nil
}

// Stage writes a large payload to a blob for a record of the copy to refer to.
func (i *Installation) Stage(payload [][]byte) (BlobID, error) {
	id, err := stageBlob(i.snapshot.log, payload, staged, 0)
	if err == nil {
		i.snapshot.pinned = append(i.snapshot.pinned, id)
	}
	return id, err
}

// Write adds a value. It does not keep the payload.
func (i *Installation) Write(r *Record) error {
	if err := i.snapshot.Write(r); err != nil {
		return err
	}
	if r.Blob != 0 {
		i.crcs[r.Blob] = r.CRC
	}
	return nil
}

// Abort gives the copy up. The own one stays.
func (i *Installation) Abort() {
	s := i.snapshot
	l := s.log
	if s.file != nil {
		_ = s.file.Close()                         // it is removed
		_ = vfs.Discard(l.folder.fs, s.tempPath()) // or the next start does it
		l.mu.Lock()
		l.files.snapshotBytes.add(-s.size)
		l.mu.Unlock()
	}
	for _, id := range s.pinned {
		l.blobs.abandon(id)
	}
}

// Commit puts the copy in the place of the own one, with all its records, values and snapshots that
// are being written. When it returns, that is durable. After an error the own copy is as it was, or
// the log has stopped and the next start decides. The caller holds what orders the shard's writes.
func (i *Installation) Commit() error {
	s := i.snapshot
	l := s.log
	if err := i.Sync(); err != nil {
		i.Abort()
		return err
	}
	l.publishing.Lock()
	defer l.publishing.Unlock()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	m := shardManifest{cluster: s.header.cluster, shard: l.shard, snapshot: s.name, seq: s.header.seq, base: true}
	if err := i.lowerClaims(&m); err != nil {
		i.Abort()
		return err
	}
	if err := i.swap(&m); err != nil {
		_ = s.file.Close() // it is synced
		return l.stop(err)
	}
	return nil
}

// Sync makes the copy durable and reads it back, so that Commit, which comes next, holds up the shard for a short time. After an error
// the caller must Abort.
func (i *Installation) Sync() error {
	if !i.synced {
		i.synced, i.failed = true, i.prepare()
	}
	return i.failed
}

// prepare syncs the copy: all of it is on disk before the manifest names it.
func (i *Installation) prepare() error {
	s := i.snapshot
	if err := s.finish(); err != nil || flawed("installUnsynced") {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := s.syncBlobs(); err != nil {
		return err
	}
	if err := s.verify(); err != nil {
		return err
	}
	return s.syncNames()
}

// lowerClaims takes back what other files say about the own copy, and prepares the manifest that
// names the other one.
func (i *Installation) lowerClaims(m *shardManifest) error {
	s := i.snapshot
	l := s.log
	end := recordID{s.header.epoch, s.header.seq}
	l.mu.Lock()
	failed := l.failed
	if end.before(l.durable) || l.durable.seq > end.seq {
		l.durable = recordID{}
	}
	l.mu.Unlock()
	if failed != nil {
		return failed
	}
	if err := l.disk.lowerMark(l.shard, end); err != nil {
		return err
	}
	return vfs.WriteFile(l.folder.fs, l.folder.path(claimsName), m.encode())
}

// swap lets the copy count, and removes the own one. The caller holds publishing and syncing.
func (i *Installation) swap(m *shardManifest) error {
	s := i.snapshot
	l := s.log
	if err := l.folder.fs.Rename(l.folder.path(claimsName), l.folder.path(manifestName)); err != nil {
		return err
	}
	if err := l.folder.fs.SyncDir(l.folder.dir); err != nil {
		return err
	}
	if err := finishSwap(l.folder, m, path.Base(s.tempPath()), i.letGo()); err != nil {
		return err
	}
	i.adopt()
	err := s.file.Close()
	l.blobs.removeDead(s.header.seq)
	return err
}

// letGo takes all files of the own copy out of the log, and returns the names of those that the other
// copy does not replace. Who reads them sees that they change.
func (i *Installation) letGo() (names []string) {
	l := i.snapshot.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes++
	for _, seg := range slices.Backward(l.files.segments) {
		seg.close()
		l.files.segmentBytes.add(-seg.bytes)
		names = append(names, seg.name)
	}
	if old := l.files.snapshot; old != nil {
		l.files.snapshotBytes.add(-old.bytes)
		if old.name != i.snapshot.name {
			names = append(names, old.name)
		}
	}
	l.files.segments, l.files.snapshot = nil, nil
	l.rotate()
	return names
}

// finishSwap gives an installed copy its name, removes the files of the copy that it replaces, and
// then lets the manifest allow others beside it. A start repeats it if it was interrupted.
func finishSwap(f *folder, m *shardManifest, temp string, others []string) error {
	if temp != "" {
		if err := f.fs.Rename(f.path(temp), f.path(m.snapshot)); err != nil {
			return err
		}
	}
	for _, name := range others {
		if err := f.discard(name); err != nil {
			return err
		}
	}
	if err := f.syncRemoved(); err != nil {
		return err
	}
	done := *m
	done.base = false
	if err := f.reserve.use(func() error { return writeShardManifest(f, &done) }); err != nil {
		return fmt.Errorf("%s: %w", f.path(manifestName), err)
	}
	return nil
}

// adopt adapts what is known about the log.
func (i *Installation) adopt() {
	s := i.snapshot
	l := s.log
	end := recordID{s.header.epoch, s.header.seq}
	l.blobs.replace(i.crcs, s.pinned)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, running := range l.running {
		running.cancelled = true
	}
	l.files.snapshot = &snapshotFile{name: s.name, epoch: end.epoch, seq: end.seq, bytes: s.size, blobs: s.pinned}
	l.writer.torn = false
	l.last, l.durable, l.manifest = end, end, end.seq
	l.commit, l.vouched = commitIndex{end.seq, end.seq}, 0
	l.epochs = i.epochs
	l.changes++
	l.written++
	l.synced = l.written
}

// NotBefore makes the copy carry a time, in Unix ms. A start goes on from there. Call it before Write.
func (i *Installation) NotBefore(time int64) { i.snapshot.NotBefore(time) }
