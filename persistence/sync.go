package persistence

// syncBatch is what one sync has to do, as it was at one moment.
type syncBatch struct {
	target   Position
	last     recordID // the newest record
	commit   uint64   // the greatest commit index
	changes  int      // of the log
	blobs    []*blob
	segments []*segment
	sizes    []int64 // of the segments
	names    names
}

// newSyncBatch returns what there is to sync of a log. The caller holds its mu.
func newSyncBatch(l *Log) (b syncBatch) {
	b.target, b.last, b.commit, b.changes = l.written, l.last, l.commit.written, l.changes
	b.blobs, b.names = l.blobs.unsynced(b.commit), l.folder.state()
	for _, s := range l.files.segments {
		if s.bytes > s.synced {
			b.segments, b.sizes = append(b.segments, s), append(b.sizes, s.bytes)
		}
	}
	return b
}

// Sync makes all up to a position survive the end of the machine. Concurrent callers share one sync.
func (l *Log) Sync(to Position) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	if failed, commit := l.failed, l.commit.durable; failed != nil || l.synced >= to {
		l.mu.Unlock()
		if failed == nil {
			l.blobs.removeDead(commit)
		}
		return failed
	}
	b := newSyncBatch(l)
	l.mu.Unlock()
	if flawed("noFsync") {
		b.finish(l)
		return nil
	}
	if err := l.folder.sync(b.blobs, b.segments, b.names); err != nil {
		return l.stop(err)
	}
	b.finish(l)
	return nil
}

// Synced reports whether all up to a position survives the end of the machine; an error says that it is unknown,
// because the log has stopped.
func (l *Log) Synced(to Position) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced >= to, l.failed
}

// finish records that all of b was synced, unless the log was truncated or replaced meanwhile: then
// the next sync does. The caller holds the log's syncing.
func (b *syncBatch) finish(l *Log) {
	l.disk.counters.syncs.Add(1)
	l.mu.Lock()
	if l.changes != b.changes {
		l.mu.Unlock()
		return
	}
	l.folder.namesSynced(b.names)
	l.synced, l.durable = max(l.synced, b.target), l.durable.later(b.last)
	l.commit.durable = max(l.commit.durable, b.commit)
	for i, s := range b.segments {
		s.synced = max(s.synced, b.sizes[i])
		if newest := l.files.newest(); s.file != nil && s.synced == s.bytes && newest != nil && s != newest {
			s.close()
		}
	}
	commit := l.commit.durable
	l.mu.Unlock()
	l.blobs.closeSynced(b.blobs)
	l.blobs.removeDead(commit)
}

// hasUnsynced reports whether anything of the log may be missing after a loss of power.
func hasUnsynced(l *Log) bool {
	if !l.ready.Load() {
		return false
	}
	l.mu.Lock()
	records := l.written > l.synced
	l.mu.Unlock()
	return records || l.folder.state().unsynced() || l.blobs.hasUnsynced()
}

// SyncAll syncs all logs, and returns how many had anything to sync. An error stops each of these.
func (d *Disk) SyncAll() int {
	var dirty []*Log
	var batches []syncBatch
	for _, l := range d.logs {
		l.mu.Lock()
		if l.failed == nil && l.written > l.synced {
			dirty, batches = append(dirty, l), append(batches, newSyncBatch(l))
		}
		l.mu.Unlock()
	}
	if len(dirty) < manyLogs {
		for i, l := range dirty {
			_ = l.Sync(batches[i].target) // an error stops the log, which says so
		}
		return len(dirty)
	}
	err := d.volume.sync()
	for i, l := range dirty {
		l.syncing.Lock()
		if err == nil && l.Err() == nil { // the error of another sync may have stopped it
			batches[i].finish(l)
		}
		l.syncing.Unlock()
	}
	return len(dirty)
}

// manyLogs is the number of logs from which one sync of the file system is cheaper.
const manyLogs = 8
