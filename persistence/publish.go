package persistence

import (
	"context"
	"errors"

	"github.com/ndring/ndring/persistence/vfs"
)

var errFlush = errors.New("a sync of the file system has failed since the snapshot was begun")

// CommitAll does what Commit does for each of several snapshots, of different shards, with two syncs for all of them. It returns an error for each of those that were not
// published; nothing of what was there before is gone for them. When ctx is done, it begins no sync for what is not published.
func (d *Disk) CommitAll(ctx context.Context, all []*Snapshot) []error {
	g := group{disk: d, all: all, errs: make([]error, len(all))}
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
			_ = vfs.Discard(d.fs, s.log.path(manifestName+tempSuffix)) // or the next one does it
		} else {
			g.errs[i] = s.publish()
		}
	}
	return g.errs
}

// manySnapshots is from how many on two syncs of the file system cost less than three syncs of each snapshot.
const manySnapshots = 3

// group are snapshots that are published together.
type group struct {
	disk *Disk
	all  []*Snapshot
	errs []error // why one is not
}

// each does a step with all that nothing is wrong with.
func (g *group) each(step func(*Snapshot) error) {
	for i, s := range g.all {
		if g.errs[i] == nil {
			g.errs[i] = step(s)
		}
	}
}

// sync makes everything survive a loss of power that the group has written. If that fails, or has failed for another since, it may be about any of its files.
func (g *group) sync(ctx context.Context) {
	err := ctx.Err()
	if err == nil {
		err = g.disk.syncVolume()
	}
	g.each(func(s *Snapshot) error {
		if err == nil && s.errors != g.disk.flushErrors.Load() {
			return errFlush
		}
		return err
	})
}

// prepare writes all that is to be synced: the rest of the snapshot, and the manifest that names it.
func (s *Snapshot) prepare() error {
	if s.log.Err() != nil { // the error that has stopped the log may be about a file that the snapshot refers to: that is known of each file alone
		if err := s.syncBlobs(); err != nil {
			return err
		}
	}
	if err := s.finish(); err != nil {
		return err
	}
	return vfs.PrepareFile(s.log.disk.fs, s.log.path(manifestName), s.log.encodeManifest(s.name, s.header.seq))
}

// closeBlobs closes the files that the snapshot refers to: they are synced.
func (s *Snapshot) closeBlobs() error {
	l := s.log
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range s.unsyncedBlobs() {
		b.close()
	}
	return nil
}

// replace gives the snapshot and the manifest their names.
func (s *Snapshot) replace() error {
	if err := s.rename(); err != nil {
		return err
	}
	name := s.log.path(manifestName)
	return s.log.disk.fs.Rename(name+tempSuffix, name)
}
