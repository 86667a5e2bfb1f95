package shard

import (
	"context"
	"errors"
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

// Save writes snapshots of all shards that have changed. There is one at a time; ErrSaving means that it is another's.
func (d *Disk) Save() error {
	s := d.store
	if s.disk.Disk == nil {
		return ErrNoDisk
	}
	if !s.disk.save.begin() {
		return ErrSaving
	}
	return s.saveAll(s.context, savers, openSnapshots/savers)
}

// SaveInBackground begins what Save does.
func (d *Disk) SaveInBackground() error {
	s := d.store
	if s.disk.Disk == nil {
		return ErrNoDisk
	}
	if !s.disk.save.begin() {
		return ErrSaving
	}
	s.done.Go(func() { _ = s.saveAll(s.context, backgroundSavers, openSnapshots/backgroundSavers) }) // an error is in the log and in INFO
	return nil
}

const (
	savers           = 4
	backgroundSavers = 1 // so that clients notice little
)

// saveAll is called after begin. Each worker publishes at most so many shards together. It ends early when ctx is done: then the shards that are left count as unsaved, and the error is that of ctx.
func (s *Store) saveAll(ctx context.Context, workers, most int) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, workers)
	for i := range errs {
		w := saver{store: s, ctx: ctx, most: most}
		if workers == backgroundSavers {
			w.pacer = new(pacer)
		}
		group.Go(func() { errs[i] = w.run(&next) })
	}
	group.Wait()
	err := errors.Join(errs...)
	stopped := ctx.Err() != nil && s.disk.unsaved.Load() > 0
	switch {
	case stopped && s.shards[0].logs:
		s.disk.log.Info("the stop has cut the writing of snapshots short: the logs have what is in none, the next start reads them")
	case err != nil && !stopped:
		s.disk.log.Error("not all snapshots could be written", "err", err)
	}
	if stopped {
		err = errors.Join(err, ctx.Err())
	}
	state := &s.disk.save
	state.mu.Lock()
	defer state.mu.Unlock()
	state.active, state.failed, state.took = false, err != nil, time.Since(state.began)
	if err == nil {
		state.last = time.Now()
	}
	return err
}

// saver writes snapshots of shards, and publishes many together: on a slow disk most of the time would pass with waiting for the syncs of each.
type saver struct {
	store *Store
	ctx   context.Context
	pacer *pacer // nil for no pause
	most  int    // shards that are published together

	shards    []*Shard // that are written and not published; snapshotting is held of each
	snapshots []*persistence.Snapshot
	bytes     int64
}

// How much is published together at most. Until then there is room for both the old files and the new ones, and each of the new ones is open. So is, for each shard that is
// written to meanwhile, another segment of its log: while clients are served, both have to find their descriptors beside those of the clients.
const (
	openSnapshots = 32  // of all savers, while clients are served
	stopGroup     = 128 // of one saver, at a stop
	groupBytes    = 64 << 20
)

// run takes shards, whose numbers others count with it, until there are no more.
func (w *saver) run(next *atomic.Int64) error {
	var errs []error
	for w.ctx.Err() == nil {
		id := int(next.Add(1)) - 1
		if id >= len(w.store.shards) {
			break
		}
		if sh := w.store.shards[id]; sh.role.ready.Load() {
			errs = append(errs, w.add(sh)...)
		}
		if len(w.shards) >= w.most || w.bytes >= groupBytes {
			errs = append(errs, w.publish()...)
		}
	}
	return errors.Join(append(errs, w.publish()...)...)
}

// add writes the snapshot of a shard, if it has changed. If too many files are open for it, those that are written are published first.
func (w *saver) add(sh *Shard) (errs []error) {
	sh.snapshotting.Lock()
	snapshot, err := sh.writeSnapshot(false, w.pause)
	if persistence.NoDescriptors(err) && len(w.shards) > 0 {
		errs = w.publish()
		snapshot, err = sh.writeSnapshot(true, w.pause)
	}
	if err != nil {
		errs = append(errs, sh.noteSnapshot(err))
	}
	if snapshot == nil {
		sh.snapshotting.Unlock()
		return errs
	}
	w.shards, w.snapshots, w.bytes = append(w.shards, sh), append(w.snapshots, snapshot), w.bytes+snapshot.Bytes()
	return errs
}

// publish ends what add began.
func (w *saver) publish() (errs []error) {
	for i, err := range w.store.disk.CommitAll(w.ctx, w.snapshots) {
		errs = append(errs, w.shards[i].noteSnapshot(err))
		w.shards[i].snapshotting.Unlock()
	}
	w.shards, w.snapshots, w.bytes = nil, nil, 0
	return errs
}

// pause is called now and then during the work, and ends it when the time is over.
func (w *saver) pause() error {
	if w.pacer != nil {
		w.pacer.pause()
	}
	return w.ctx.Err()
}
