package persistence

import (
	"context"
	"errors"

	"github.com/ndring/ndring/persistence/vfs"
)

// errFlush is returned for a snapshot whose bytes may be lost although a later sync succeeded: the
// system reports an error only once.
var errFlush = errors.New("a sync of the file system has failed since the snapshot began")

// Commit publishes the snapshot and removes what it makes obsolete. After an error everything from
// before is still there.
func (s *Snapshot) Commit() error {
	f := s.log.folder
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
		err = s.beginPublishing()
	}
	if err == nil {
		err = s.rename()
	}
	if err == nil {
		err = vfs.ReplaceFile(f.fs, f.path(manifestName), s.manifest())
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

// manifest returns the shard's manifest that names the snapshot.
func (s *Snapshot) manifest() []byte {
	m := shardManifest{cluster: s.header.cluster, shard: s.log.shard, snapshot: s.name, seq: s.header.seq}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if s.log.vouched > m.seq {
		m.commit = s.log.vouched
	}
	return m.encode()
}

// syncNames syncs the snapshot's name and those for which the log waits. An error is reported only
// once, so it stops the log, too.
func (s *Snapshot) syncNames() error {
	l := s.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.folder.sync(nil, nil, names{files: true, parent: l.folder.state().parent}); err != nil {
		return l.stop(err)
	}
	return nil
}

// syncBlobs syncs the blobs to which the snapshot refers. The log may refer to them, too, and wait
// for the same sync.
func (s *Snapshot) syncBlobs() error {
	l := s.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	blobs, dirty := l.blobs.unsyncedOf(s.pinned), l.folder.state()
	if len(blobs) == 0 {
		return nil
	}
	if err := l.folder.sync(blobs, nil, names{blobs: true, files: dirty.files, parent: dirty.parent}); err != nil {
		return l.stop(err)
	}
	l.blobs.closeSynced(blobs)
	return nil
}

// publish makes the snapshot the one that counts.
func (s *Snapshot) publish() error {
	l := s.log
	defer s.end()
	l.syncing.Lock()
	l.manifest = s.header.seq
	l.mu.Lock()
	old := l.files.snapshot
	l.files.snapshot = &snapshotFile{name: s.name, epoch: s.header.epoch, seq: s.header.seq, bytes: s.size, blobs: s.pinned}
	l.synced = max(l.synced, s.begin) // the log up to there is obsolete
	held := recordID{s.header.epoch, s.header.seq}
	if l.last.seq <= held.seq {
		l.last = l.last.later(held)
	}
	l.durable = l.durable.later(held)
	if l.vouched <= held.seq {
		l.vouched = 0
	}
	l.commit.written, l.commit.durable = max(l.commit.written, held.seq), max(l.commit.durable, held.seq)
	commit := l.commit.durable
	l.mu.Unlock()
	err := s.file.Close()
	removeObsolete(l)
	l.blobs.removeDead(commit)
	l.syncing.Unlock()
	if old != nil {
		if old.name != s.name { // otherwise it was replaced
			l.folder.retire(old.name, old.damaged)
		}
		l.mu.Lock()
		l.files.snapshotBytes.add(-old.bytes)
		l.mu.Unlock()
		s.unpin(old.blobs)
	}
	return err
}

// CommitAll commits snapshots of different shards, with two syncs for all of them. It returns an
// error for each that was not published; for these everything from before is still there. When ctx
// is done, it begins no sync for what is not published.
func (d *Disk) CommitAll(ctx context.Context, all []*Snapshot) []error {
	g := snapshotGroup{volume: &d.volume, all: all, errs: make([]error, len(all))}
	if len(all) < manySnapshots {
		for i, s := range all {
			if g.errs[i] = ctx.Err(); g.errs[i] != nil {
				s.Abort()
			} else {
				g.errs[i] = s.Commit()
			}
		}
		return g.errs
	}
	g.each((*Snapshot).prepare)
	g.sync(ctx)
	g.each((*Snapshot).closeBlobs)
	g.each((*Snapshot).verify)
	g.each(func(*Snapshot) error { return ctx.Err() })
	g.each((*Snapshot).replace)
	g.sync(context.WithoutCancel(ctx)) // the files have their names already
	for i, s := range all {
		if g.errs[i] != nil {
			s.Abort()
			_ = vfs.Discard(d.fs, s.log.folder.path(manifestName+tempSuffix)) // or the next one does it
		} else {
			g.errs[i] = s.publish()
		}
	}
	return g.errs
}

// manySnapshots is the number of snapshots from which two syncs of the file system cost less than
// three syncs of each.
const manySnapshots = 3

// snapshotGroup are snapshots that are published together.
type snapshotGroup struct {
	volume *volume
	all    []*Snapshot
	errs   []error // why a snapshot is not published
}

// each takes a step with every snapshot that has no error.
func (g *snapshotGroup) each(step func(*Snapshot) error) {
	for i, s := range g.all {
		if g.errs[i] == nil {
			g.errs[i] = step(s)
		}
	}
}

// sync makes everything survive a loss of power that the group has written. A failure, of this sync
// or another one since a snapshot began, may concern any of its files.
func (g *snapshotGroup) sync(ctx context.Context) {
	err := ctx.Err()
	if err == nil {
		err = g.volume.sync()
	}
	g.each(func(s *Snapshot) error {
		if err == nil && s.errors != g.volume.errors.Load() {
			return errFlush
		}
		return err
	})
}

// prepare writes all that is to be synced: the rest of the snapshot, and the manifest that names it.
func (s *Snapshot) prepare() error {
	if s.log.Err() != nil { // the error may concern a blob of the snapshot: only a sync of each tells
		if err := s.syncBlobs(); err != nil {
			return err
		}
	}
	if err := s.finish(); err != nil {
		return err
	}
	return vfs.PrepareFile(s.log.folder.fs, s.log.folder.path(manifestName), s.manifest())
}

// closeBlobs closes the blobs to which the snapshot refers. They are synced.
func (s *Snapshot) closeBlobs() error {
	l := s.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.blobs.closeSynced(l.blobs.unsyncedOf(s.pinned))
	return nil
}

// replace gives the snapshot and the manifest their names.
func (s *Snapshot) replace() error {
	if err := s.beginPublishing(); err != nil {
		return err
	}
	if err := s.rename(); err != nil {
		return err
	}
	f := s.log.folder
	return f.fs.Rename(f.path(manifestName+tempSuffix), f.path(manifestName))
}
