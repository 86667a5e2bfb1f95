package shard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
)

// saver writes snapshots of all shards: for SAVE and BGSAVE, at save points and at a stop. One save
// runs at a time.
type saver struct {
	disk  *Disk
	store *Store // whose context ends a save, and whose Close waits for it

	mu          sync.Mutex // guards all below
	active      bool
	began, last time.Time // the present save; the last one that succeeded
	took        time.Duration
	failed      bool // the last save
}

const (
	savers           = 4
	backgroundSavers = 1 // clients should hardly notice
)

// Save writes snapshots of all shards that have changed. It returns ErrSaving if a save is running.
func (d *Disk) Save() error {
	if d.folder == nil {
		return ErrNoDisk
	}
	v := &d.saver
	if !v.begin() {
		return ErrSaving
	}
	return v.run(v.store.context, savers, openSnapshots/savers)
}

// SaveInBackground starts a save.
func (d *Disk) SaveInBackground() error {
	if d.folder == nil {
		return ErrNoDisk
	}
	v := &d.saver
	if !v.begin() {
		return ErrSaving
	}
	v.store.done.Go(func() { _ = v.run(v.store.context, backgroundSavers, openSnapshots/backgroundSavers) }) // an error is in the log and in INFO
	return nil
}

// open starts the time that save points count.
func (v *saver) open() { v.last = time.Now() }

// begin reports whether the caller may run a save, which then must follow.
func (v *saver) begin() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.active {
		return false
	}
	v.active, v.began = true, time.Now()
	return true
}

// due reports whether a save point is reached.
func (v *saver) due() bool {
	if v.disk.Loading() {
		return false
	}
	unsaved := v.disk.unsaved.Load()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.active {
		return false
	}
	passed := time.Since(v.last)
	if v.failed {
		passed = min(passed, time.Since(v.began)-retryInterval)
	}
	for _, p := range v.disk.config.Load().Save {
		if unsaved >= max(p.Changes, 1) && passed >= p.After {
			return true
		}
	}
	return false
}

// run saves, after begin. Each worker publishes at most so many shards together. When ctx is done
// it ends early: the remaining shards count as unsaved, and it returns the error of ctx.
func (v *saver) run(ctx context.Context, workers, most int) error {
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, workers)
	for i := range errs {
		w := saveWorker{disk: v.disk, ctx: ctx, most: most}
		if workers == backgroundSavers {
			w.pacer = new(pacer)
		}
		group.Go(func() { errs[i] = w.run(&next) })
	}
	group.Wait()
	err := errors.Join(errs...)
	stopped := ctx.Err() != nil && v.disk.unsaved.Load() > 0
	switch {
	case stopped && v.disk.logged:
		v.disk.log.Info("the stop has cut the writing of snapshots short: the next start reads the rest from the logs")
	case err != nil && !stopped:
		v.disk.log.Error("cannot write all snapshots", "err", err)
	}
	if stopped {
		err = errors.Join(err, ctx.Err())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.active, v.failed, v.took = false, err != nil, time.Since(v.began)
	if err == nil {
		v.last = time.Now()
	}
	return err
}

// addTo adds the state of saves to the stats.
func (v *saver) addTo(stats *DiskStats) {
	v.mu.Lock()
	defer v.mu.Unlock()
	stats.Saving, stats.SaveBegan, stats.LastSave = v.active, v.began, v.last
	stats.LastSaveFailed, stats.LastSaveTook = v.failed, v.took
}

// saveWorker writes snapshots of shards and publishes many together: on a slow disk it would
// otherwise spend most of the time waiting for the syncs of each.
type saveWorker struct {
	disk  *Disk
	ctx   context.Context
	pacer *pacer // nil for no pauses
	most  int    // shards that are published together

	shards    []*Shard // written and not published; the worker holds snapshots.mu of each
	snapshots []*persistence.Snapshot
	bytes     int64
}

// How much is published together at most. Until then both the old and the new files take space, and
// each new one is open. So is, for every shard that is written to meanwhile, another segment of its
// log: while clients are served, all of these need descriptors besides the clients'.
const (
	openSnapshots = 32  // of all workers, while clients are served
	stopGroup     = 128 // of one worker, at a stop
	groupBytes    = 64 << 20
)

// run takes shards, whose numbers it shares with the other workers, until there are none left.
func (w *saveWorker) run(next *atomic.Int64) error {
	var errs []error
	for w.ctx.Err() == nil {
		id := int(next.Add(1)) - 1
		if id >= len(w.disk.shards) {
			break
		}
		if sh := w.disk.shards[id]; sh.Ready() {
			errs = append(errs, w.add(sh)...)
		}
		if len(w.shards) >= w.most || w.bytes >= groupBytes {
			errs = append(errs, w.publish()...)
		}
	}
	return errors.Join(append(errs, w.publish()...)...)
}

// add writes the snapshot of a shard that has changed. If that takes more descriptors than there
// are, it first publishes the snapshots written so far.
func (w *saveWorker) add(sh *Shard) (errs []error) {
	sh.snapshots.mu.Lock()
	snapshot, err := sh.snapshots.prepare(false, w.throttle)
	if persistence.NoDescriptors(err) && len(w.shards) > 0 {
		errs = w.publish()
		snapshot, err = sh.snapshots.prepare(true, w.throttle)
	}
	if err != nil {
		errs = append(errs, sh.snapshots.finish(err))
	}
	if snapshot == nil {
		sh.snapshots.mu.Unlock()
		return errs
	}
	w.shards, w.snapshots, w.bytes = append(w.shards, sh), append(w.snapshots, snapshot), w.bytes+snapshot.Bytes()
	return errs
}

// publish commits the snapshots that add has written.
func (w *saveWorker) publish() (errs []error) {
	for i, err := range w.disk.folder.CommitAll(w.ctx, w.snapshots) {
		errs = append(errs, w.shards[i].snapshots.finish(err))
		w.shards[i].snapshots.mu.Unlock()
	}
	w.shards, w.snapshots, w.bytes = nil, nil, 0
	return errs
}

// throttle is called now and then during the work. It pauses the work, and ends it when ctx is done.
func (w *saveWorker) throttle() error {
	if w.pacer != nil {
		w.pacer.pause()
	}
	return w.ctx.Err()
}

// pacer limits background work to a part of a processor's time.
type pacer struct{ worked time.Time }

// restFor is how long a pacer rests for each unit of time that it has worked.
const restFor = 2

func (p *pacer) pause() {
	if now := time.Now(); !p.worked.IsZero() {
		time.Sleep(min(restFor*now.Sub(p.worked), 20*time.Millisecond))
	}
	p.worked = time.Now()
}
