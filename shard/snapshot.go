package shard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
)

// saveState is what is known of snapshots of all shards.
type saveState struct {
	mu          sync.Mutex // guards all below
	active      bool
	began, last time.Time
	took        time.Duration
	failed      bool
}

// pacer makes work in the background take a part of a processor's time.
type pacer struct{ worked time.Time }

// restFor is how long a pacer rests for the time that it has worked.
const restFor = 2

func (p *pacer) pause() {
	if now := time.Now(); !p.worked.IsZero() {
		time.Sleep(min(restFor*now.Sub(p.worked), 20*time.Millisecond))
	}
	p.worked = time.Now()
}

// begin reports whether nobody else writes snapshots of all shards.
func (s *saveState) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active {
		return false
	}
	s.active, s.began = true, time.Now()
	return true
}

// snapshot writes the shard to a snapshot, as it is now, while writes go on. Unless it is forced, it does nothing when there is nothing new.
func (s *Shard) snapshot(force bool) error { return s.snapshotPaced(force, nil) }

func (s *Shard) snapshotPaced(force bool, pace func()) error {
	s.snapshotting.Lock()
	defer s.snapshotting.Unlock()
	entries, snapshot, err := s.beginSnapshot(force)
	if err == nil && snapshot == nil {
		return nil
	}
	if err == nil {
		snapshot.Pace = pace
		if err = s.writeSnapshot(entries, snapshot); err == nil {
			err = snapshot.Commit()
		} else {
			snapshot.Abort()
		}
	}
	if err != nil {
		s.writing.Lock()
		s.unsaved++ // so that it is tried again
		s.writing.Unlock()
		s.store.disk.counters.snapshotErrors.Add(1)
		return fmt.Errorf("snapshot of shard %d: %w", s.id, err)
	}
	s.store.disk.counters.snapshots.Add(1)
	return nil
}

// beginSnapshot returns all entries, each with a reference, at one moment.
func (s *Shard) beginSnapshot(force bool) (entries []*Entry, snapshot *persistence.Snapshot, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.unsaved == 0 && !force {
		return nil, nil, nil
	}
	now := s.clock()
	var blobs []persistence.BlobID
	entries = make([]*Entry, 0, s.entries.count)
	s.entries.each(func(e *Entry) bool {
		if e.expired(now) {
			return true
		}
		entries = append(entries, e)
		if id := e.blob(); id != 0 {
			blobs = append(blobs, id)
		}
		return true
	})
	if snapshot, err = s.log.BeginSnapshot(s.epoch, s.seq, blobs); err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		e.retain()
	}
	s.store.disk.unsaved.Add(-s.unsaved)
	s.unsaved = 0
	return entries, snapshot, nil
}

// writeSnapshot writes entries and releases them.
func (s *Shard) writeSnapshot(entries []*Entry, snapshot *persistence.Snapshot) (err error) {
	var x encoder
	for _, e := range entries {
		if err == nil {
			err = x.write(e, snapshot)
		}
		e.Release()
	}
	return err
}

func (x *encoder) write(e *Entry, snapshot *persistence.Snapshot) error {
	defer x.reset()
	version := e.Version()
	r := persistence.Record{Type: persistence.Put, Epoch: version.Epoch, Seq: version.Seq, Key: e.Key()}
	x.value(&r, e, "")
	if r.Blob == 0 && r.Bytes >= persistence.BlobBytes { // without a log, it has none yet
		id, err := snapshot.Stage(r.Payload)
		if err != nil {
			return err
		}
		r.Blob = id
	}
	return snapshot.Write(&r)
}

// Save writes snapshots of all shards that have changed. There is one at a time; ErrSaving means that it is another's.
func (s *Store) Save() error {
	if s.disk.Disk == nil {
		return ErrNoDisk
	}
	if !s.disk.save.begin() {
		return ErrSaving
	}
	return s.saveAll(s.context, savers)
}

// SaveInBackground begins what Save does.
func (s *Store) SaveInBackground() error {
	if s.disk.Disk == nil {
		return ErrNoDisk
	}
	if !s.disk.save.begin() {
		return ErrSaving
	}
	s.done.Go(func() { _ = s.saveAll(s.context, backgroundSavers) }) // an error is in the log and in INFO
	return nil
}

// saveAll is called after begin. Several shards at once spend less of their time waiting for the disk.
func (s *Store) saveAll(ctx context.Context, workers int) error {
	state := &s.disk.save
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, workers)
	for i := range errs {
		group.Go(func() {
			for ctx.Err() == nil {
				id := int(next.Add(1)) - 1
				if id >= len(s.shards) {
					return
				}
				var pace func()
				if workers == backgroundSavers {
					pace = new(pacer).pause
				}
				if sh := s.shards[id]; sh.ready.Load() {
					errs[i] = errors.Join(errs[i], sh.snapshotPaced(false, pace))
				}
			}
		})
	}
	group.Wait()
	err := errors.Join(append(errs, ctx.Err())...)
	if err != nil {
		s.disk.log.Error("not all snapshots could be written", "err", err)
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	state.active, state.failed, state.took = false, err != nil, time.Since(state.began)
	if err == nil {
		state.last = time.Now()
	}
	return err
}

const (
	syncInterval  = time.Second
	lazyInterval  = 30 * time.Second // with FsyncNo, so that dead files go
	lookInterval  = 100 * time.Millisecond
	retryInterval = 5 * time.Second // after a snapshot that failed
	shorteners    = 4

	savers           = 4
	backgroundSavers = 1 // so that clients notice little
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
func (d *disk) checkReserve() {
	free, err := d.Free()
	if err != nil {
		d.log.Warn("cannot find out how full the disk is", "err", err)
		return
	}
	reserve := d.config.Load().Reserve
	switch full := free < reserve; {
	case full && !d.full.Swap(true):
		d.log.Error("the disk is full: values cannot be written", "free", free, "disk-reserve", reserve)
	case !full && d.full.Swap(false):
		d.log.Info("the disk has room again", "free", free)
	}
}

// keepSynced syncs the logs once a second.
func (s *Store) keepSynced(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	last := time.Now()
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
		if took := time.Since(last); took > 2*syncInterval {
			s.disk.counters.delayedSyncs.Add(1)
			s.disk.log.Warn("the disk is slow: syncing the logs took longer than the two seconds that may be lost", "seconds", took.Seconds())
		}
	}
}

// keepSmall writes snapshots of the shards with the longest logs when the folder has grown too large, and of all shards when it is time to.
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
		if s.saveDue() && s.SaveInBackground() == nil {
			s.disk.log.Info("a save point has come, snapshots are written")
		}
	}
}

// shorten writes snapshots until the folder is small enough, or nothing helps. They spend most of their time waiting for the disk, so there are several at
// once when writes are close to having to wait.
func (s *Store) shorten(ctx context.Context) {
	var busy sync.Map // the shards whose snapshots are being written
	var workers sync.WaitGroup
	for i := range shorteners {
		workers.Go(func() {
			for ctx.Err() == nil && s.disk.large(i) {
				sh := s.longestLog(&busy)
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

// longestLog makes the shard busy whose snapshot would free the most for what it takes to write, and returns it; nil if none would free enough.
func (s *Store) longestLog(busy *sync.Map) *Shard {
	var best *Shard
	most := 0.25
	for _, sh := range s.shards {
		if _, is := busy.Load(sh); is || !sh.logs || !sh.ready.Load() || sh.log.Err() != nil {
			continue
		}
		log, dead, _ := sh.log.Sizes()
		if gain := float64(log+dead) / float64(snapshotCost+sh.live.Load()); gain > most {
			best, most = sh, gain
		}
	}
	if best != nil {
		if _, is := busy.LoadOrStore(best, true); is { // another has just taken it
			return s.longestLog(busy)
		}
	}
	return best
}

// snapshotCost is what a snapshot takes beside the bytes of its values: a few files and syncs, in bytes that could be written meanwhile.
const snapshotCost = 256 << 10

// saveDue reports whether a save point has come.
func (s *Store) saveDue() bool {
	if s.Loading() {
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
	clean := !s.Loading()
	if clean {
		s.disk.SyncAll()
		if save && s.disk.save.begin() {
			if err := s.saveAll(ctx, savers); err != nil && !s.shards[0].logs {
				s.disk.log.Error("changes since the last snapshots are lost", "err", err)
			}
		}
	}
	return s.disk.Close(clean)
}
