package shard

import (
	"context"
	"sync"
	"time"
)

const (
	syncInterval  = time.Second
	lazyInterval  = 30 * time.Second // with FsyncNo, so that dead files go
	lookInterval  = 100 * time.Millisecond
	retryInterval = 5 * time.Second // after a snapshot that failed
	markInterval  = time.Minute     // between two notes of how far all logs go
	shorteners    = 4
)

// openDisk starts what looks after the files.
func (s *Store) openDisk(ctx context.Context) {
	if s.disk.Disk == nil {
		return
	}
	s.disk.save.last = time.Now()
	s.disk.checkReserve()
	s.done.Go(func() { s.keepSynced(ctx) })
	s.done.Go(func() { s.keepSmall(ctx) })
	s.done.Go(func() { s.scrub(ctx) })
}

// checkReserve finds out whether the disk is too full for more values.
func (d *Disk) checkReserve() {
	free, err := d.Free()
	if err != nil {
		d.log.Warn("cannot find out how full the disk is", "err", err)
		return
	}
	d.room.Store(free)
	reserve := d.config.Load().Reserve
	spent := d.RefillReserve(free, reserve)
	switch full := free < reserve || spent; {
	case full && !d.full.Swap(true):
		d.log.Error("the disk is full: values cannot be written until disk-reserve is free, and room for what is kept back for deletes", "free", free, "disk-reserve", reserve)
	case !full && d.full.Swap(false):
		d.log.Info("the disk has room again", "free", free)
	}
}

// keepSynced syncs the logs once a second.
func (s *Store) keepSynced(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	last := time.Now()
	marked := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		interval := syncInterval
		if s.disk.fsync() == FsyncNo {
			interval = lazyInterval
		}
		if time.Since(last) < interval && !s.disk.crowded() {
			continue
		}
		last = time.Now()
		s.disk.checkReserve()
		s.disk.SyncAll()
		if s.disk.writeMarks(last.Sub(marked) >= markInterval) {
			marked = last
		}
		if took := time.Since(last); took > 2*syncInterval {
			s.disk.counters.delayedSyncs.Add(1)
			s.disk.log.Warn("the disk is slow: syncing the logs took longer than the two seconds that may be lost", "seconds", took.Seconds())
		}
	}
}

// writeMarks notes what the logs have on disk, if there is anything to note, and reports whether it was asked for all of them. What cannot be noted is noted later.
func (d *Disk) writeMarks(all bool) bool {
	err := d.WriteMarks(all)
	if failed := err != nil; failed != d.unmarked.Swap(failed) && failed {
		d.log.Warn("the marks that would show a lost log cannot be written", "err", err)
	}
	return all && err == nil
}

// keepSmall writes snapshots of the shards with the most garbage when the folder has grown too large, and of all shards when it is time to.
func (s *Store) keepSmall(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.disk.kick:
		case <-tick.C:
		}
		s.shorten(ctx)
		if s.saveDue() && s.disk.SaveInBackground() == nil {
			s.disk.log.Info("a save point has come, snapshots are written")
		}
	}
}

// shorten writes snapshots until the folder is small enough, or nothing helps; on a full disk, as long as they free anything. They spend most of their time waiting for the disk, so there are several at
// once when writes are close to having to wait.
func (s *Store) shorten(ctx context.Context) {
	var busy sync.Map // the shards whose snapshots are being written
	var workers sync.WaitGroup
	for i := range shorteners {
		workers.Go(func() {
			for ctx.Err() == nil && (s.disk.large(i) || s.disk.full.Load()) {
				sh := s.worst(&busy)
				if sh == nil {
					return
				}
				err := sh.snapshot(false)
				busy.Delete(sh)
				if err != nil {
					s.disk.log.Error("a snapshot could not be written, its log stays", "err", err)
					select {
					case <-ctx.Done():
					case <-time.After(retryInterval):
					}
				}
			}
		})
	}
	workers.Wait()
}

// worst makes the shard busy whose snapshot would free the most for what it takes to write, and returns it; nil if none would free enough.
func (s *Store) worst(busy *sync.Map) *Shard {
	var best *Shard
	most := 0.25
	for _, sh := range s.shards {
		if _, is := busy.Load(sh); is || !sh.logs || !sh.role.ready.Load() || sh.unsaved.Load() == 0 || sh.log.Err() != nil {
			continue
		}
		_, _, all := sh.log.Sizes()
		live := sh.live.Load()
		if s.disk.full.Load() && live+snapshotRoom > s.disk.room.Load() {
			continue // it does not fit
		}
		if gain := float64(all-live) / float64(snapshotCost+live); gain > most {
			best, most = sh, gain
		}
	}
	if best != nil {
		if _, is := busy.LoadOrStore(best, true); is { // another has just taken it
			return s.worst(busy)
		}
	}
	return best
}

// snapshotCost is what a snapshot takes beside the bytes of its values: a few files and syncs, in bytes that could be written meanwhile.
const snapshotCost = 256 << 10

// snapshotRoom is what a snapshot takes on disk beside its values.
const snapshotRoom = 16 << 10

// saveDue reports whether a save point has come.
func (s *Store) saveDue() bool {
	if s.disk.Loading() {
		return false
	}
	unsaved := s.disk.unsaved.Load()
	s.disk.save.mu.Lock()
	defer s.disk.save.mu.Unlock()
	if s.disk.save.active {
		return false
	}
	passed := time.Since(s.disk.save.last)
	if s.disk.save.failed {
		passed = min(passed, time.Since(s.disk.save.began)-retryInterval)
	}
	for _, p := range s.disk.config.Load().Save {
		if unsaved >= max(p.Changes, 1) && passed >= p.After {
			return true
		}
	}
	return false
}

// closeDisk syncs everything and, if it is to, writes snapshots until ctx is done: with a log they only make the next start faster.
func (s *Store) closeDisk(ctx context.Context, save bool) error {
	if s.disk.Disk == nil {
		return nil
	}
	clean := !s.disk.Loading()
	if clean {
		s.disk.SyncAll()
		if save && s.disk.save.begin() {
			if err := s.saveAll(ctx, savers, stopGroup); err != nil && !s.shards[0].logs {
				s.disk.log.Error("changes since the last snapshots are lost", "err", err)
			}
		}
	}
	return s.disk.Close(clean)
}
