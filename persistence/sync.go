package persistence

import (
	"path"

	"github.com/ndring/ndring/persistence/vfs"
)

// unsynced is what a sync has to do, as it was at one moment.
type unsynced struct {
	target   Position
	last     recordID // the newest record
	blobs    []*blob
	segments []*segment
	sizes    []int64 // of the segments
	dirs     dirState
}

// unsynced returns what there is to sync. The lock is held.
func (l *Log) unsynced() (u unsynced) {
	u.target, u.last, u.dirs = l.written, l.last, l.dirs
	for _, b := range l.blobs {
		// A dead blob need not be kept: with the same sync the record comes to the disk that took its place.
		if b.file != nil && (b.state == live || b.pins > 0) {
			u.blobs = append(u.blobs, b)
		}
	}
	for _, s := range l.segments {
		if s.bytes > s.synced {
			u.segments, u.sizes = append(u.segments, s), append(u.sizes, s.bytes)
		}
	}
	return u
}

// Sync makes what was written up to a position survive the end of the machine. Those who wait for it at the same time wait for one sync.
func (l *Log) Sync(to Position) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	if failed := l.failed; failed != nil || l.synced >= to {
		l.mu.Unlock()
		if failed == nil {
			l.bury()
		}
		return failed
	}
	u := l.unsynced()
	l.mu.Unlock()
	if err := l.syncFiles(u.blobs, u.segments, u.dirs); err != nil {
		return l.stop(err)
	}
	l.synchronized(&u)
	return nil
}

// syncFiles syncs files in an order in which each is there before what refers to it. Syncing is held.
//
// A folder has to be opened for that. If no descriptor is left, nothing was tried with it and nothing is unknown: the volume, which is open, is synced instead.
func (l *Log) syncFiles(blobs []*blob, segments []*segment, dirs dirState) error {
	err := l.syncEach(blobs, segments, dirs)
	if vfs.NoDescriptors(err) {
		return l.disk.syncVolume()
	}
	return err
}

func (l *Log) syncEach(blobs []*blob, segments []*segment, dirs dirState) error {
	for _, b := range blobs {
		if err := b.file.Sync(); err != nil {
			return err
		}
	}
	if dirs.blobs {
		if err := l.disk.fs.SyncDir(l.path(blobsDir)); err != nil {
			return err
		}
	}
	for _, s := range segments {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	if dirs.names || dirs.parent {
		if err := l.disk.fs.SyncDir(l.dir); err != nil {
			return err
		}
	}
	if dirs.parent {
		return l.disk.fs.SyncDir(path.Dir(l.dir))
	}
	return nil
}

// synchronized notes that all of u has been synced. Syncing is held.
func (l *Log) synchronized(u *unsynced) {
	l.disk.syncs.Add(1)
	l.mu.Lock()
	l.synced, l.durable = max(l.synced, u.target), l.durable.later(u.last)
	if l.dirs.changes == u.dirs.changes {
		l.dirs.parent, l.dirs.names, l.dirs.blobs = false, false, false
	}
	for i, s := range u.segments {
		s.synced = max(s.synced, u.sizes[i])
		if s.file != nil && s.synced == s.bytes && len(l.segments) > 0 && s != l.segments[len(l.segments)-1] {
			s.close()
		}
	}
	for _, b := range u.blobs {
		b.close()
	}
	l.mu.Unlock()
	l.bury()
}

// close closes the file of a segment to which nothing is written any more, and which is synced or goes.
func (s *segment) close() {
	if s.file != nil {
		_ = s.file.Close() // nothing is lost with it
		s.file = nil
	}
}

func (b *blob) close() {
	if b.file != nil {
		_ = b.file.Close() // likewise
		b.file = nil
	}
}

// SyncAll does what Sync does for all logs at once, and returns how many there was something to do for. An error stops all of them.
func (d *Disk) SyncAll() int {
	var dirty []*Log
	var all []unsynced
	for _, l := range d.logs {
		l.mu.Lock()
		if l.failed == nil && l.written > l.synced {
			dirty, all = append(dirty, l), append(all, l.unsynced())
		}
		l.mu.Unlock()
	}
	if len(dirty) < manyLogs {
		for i, l := range dirty {
			_ = l.Sync(all[i].target) // an error has stopped the log, which has been said
		}
		return len(dirty)
	}
	err := d.syncVolume()
	for i, l := range dirty {
		l.syncing.Lock()
		if err == nil && l.Err() == nil { // an error of another's sync may have stopped it
			l.synchronized(&all[i])
		}
		l.syncing.Unlock()
	}
	return len(dirty)
}

// manyLogs is from how many logs on it is cheaper to sync the whole file system.
const manyLogs = 8

// syncVolume makes everything survive that was written before. The system reports an error once and does not say which file it is about, so it stops each
// log that has anything unsynced. Those who wait for it at the same time wait for one sync.
func (d *Disk) syncVolume() error {
	begun := d.flushes.Load()
	d.flushing.Lock()
	defer d.flushing.Unlock()
	if d.flushes.Load() > begun { // one was begun after this call, and has ended
		return d.flushed
	}
	d.flushes.Add(1)
	err := d.volume.Sync()
	d.flushed = err
	if err == nil {
		return nil
	}
	d.flushErrors.Add(1)
	for _, l := range d.logs {
		if l.waitsForSync() {
			_ = l.stop(err)
		}
	}
	return err
}

// waitsForSync reports whether anything of the log may be missing after a loss of power.
func (l *Log) waitsForSync() bool {
	if !l.ready.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written > l.synced || l.dirs.names || l.dirs.blobs || l.dirs.parent {
		return true
	}
	for _, b := range l.blobs {
		if b.file != nil {
			return true
		}
	}
	return false
}
