package shard

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
)

// FsyncPolicy says when writes are made to survive a loss of power. The names are Redis'.
type FsyncPolicy string

// The policies.
const (
	FsyncAlways   FsyncPolicy = "always"   // before the reply
	FsyncEverysec FsyncPolicy = "everysec" // once a second
	FsyncNo       FsyncPolicy = "no"       // when the system decides, or before a file is deleted
)

// SavePoint asks for a snapshot once there are this many changes and the last snapshot is this old.
type SavePoint struct {
	After   time.Duration
	Changes int64
}

// DiskConfig says how files are written.
type DiskConfig struct {
	Fsync     FsyncPolicy
	Save      []SavePoint
	Reserve   int64 // bytes of the file system that writes leave free
	ScrubRate int64 // bytes per second that the scrubber reads; 0 turns it off
}

// Disk is what a store keeps in its data folder. Without a folder it does nothing.
type Disk struct {
	shards []*Shard
	folder *persistence.Disk                  // nil without a data folder
	logged bool                               // every change goes to a log; otherwise there are only snapshots
	frame  func(n int) (before, after []byte) // of a value that is read back
	log    *slog.Logger
	config atomic.Pointer[DiskConfig]
	ending context.Context // is done once the store begins to close
	end    context.CancelFunc

	unsaved   atomic.Int64 // changes since the last snapshots of all shards
	counters  diskCounters
	recovery  recoveryState
	guard     diskGuard
	syncer    syncer
	saver     saver
	compactor compactor
	scrubber  scrubber
}

// diskCounters are totals since the start.
type diskCounters struct {
	writeErrors, snapshots, snapshotErrors atomic.Int64
	torn, lost                             atomic.Int64 // bytes
	damageFound, damageRepaired            atomic.Int64 // places
	lastWriteFailed                        atomic.Bool
}

func (d *Disk) init(s *Store) {
	d.shards = s.shards
	d.frame = unframed
	d.ending, d.end = context.WithCancel(context.Background())
	d.config.Store(&DiskConfig{Fsync: FsyncEverysec})
	d.guard = diskGuard{disk: d, live: &s.stats.liveBytes, kick: make(chan struct{}, 1)}
	d.syncer = syncer{disk: d}
	d.saver = saver{disk: d, store: s}
	d.compactor = compactor{disk: d}
	d.scrubber = scrubber{disk: d}
}

// unframed is the frame of values that are not sent to clients.
func unframed(int) (before, after []byte) { return nil, nil }

// UseDisk makes the store keep its shards in a data folder. Logged says that every change goes to
// the log; otherwise there are only snapshots. Frame returns what readers want around a value of n
// bytes. Call UseDisk before Disk.Recover and Open.
func (s *Store) UseDisk(folder *persistence.Disk, logged bool, frame func(n int) (before, after []byte), log *slog.Logger) {
	d := &s.disk
	d.folder, d.logged, d.frame, d.log = folder, logged, frame, log
	now := time.Now()
	d.recovery.began.Store(&now)
	for _, sh := range s.shards {
		log := folder.Log(sh.id)
		sh.index.log, sh.writer.log, sh.writer.logged = log, log, logged
		sh.role.ready.Store(false)
	}
}

// Disk returns what the store keeps in its data folder.
func (s *Store) Disk() *Disk { return &s.disk }

// Configure changes how files are written from now on.
func (d *Disk) Configure(config DiskConfig) { d.config.Store(&config) }

func (d *Disk) fsync() FsyncPolicy { return d.config.Load().Fsync }

// open starts the background work on the files. Its goroutines end with the store.
func (d *Disk) open(ctx context.Context) {
	if d.folder == nil {
		return
	}
	d.saver.open()
	d.guard.check()
	done := &d.saver.store.done
	done.Go(func() { d.syncer.loop(ctx) })
	done.Go(func() { d.compactionLoop(ctx) })
	done.Go(func() { d.scrubber.loop(ctx) })
}

// compactionLoop compacts shards when the folder has grown too large, and saves all of them at a
// save point.
func (d *Disk) compactionLoop(ctx context.Context) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.guard.kick:
		case <-tick.C:
		}
		d.compactor.compactShards(ctx)
		if d.saver.due() && d.SaveInBackground() == nil {
			d.log.Info("save point reached, writing snapshots")
		}
	}
}

// close syncs everything and, if save is true, writes snapshots until ctx is done. With a log, they
// only make the next start faster.
func (d *Disk) close(ctx context.Context, save bool) error {
	if d.folder == nil {
		return nil
	}
	clean := !d.Loading()
	if clean {
		d.folder.SyncAll()
		if save && d.saver.begin() {
			if err := d.saver.run(ctx, savers, stopGroup); err != nil && !d.logged {
				d.log.Error("changes since the last snapshots are lost", "err", err)
			}
		}
	}
	return d.folder.Close(clean)
}

// countWrite counts the outcome of a write to the disk and returns the error for the client. Stores
// says that the write stored a value.
func (d *Disk) countWrite(err error, stores bool) error {
	if failed := err != nil; failed != d.counters.lastWriteFailed.Load() {
		d.counters.lastWriteFailed.Store(failed)
	}
	if err == nil {
		return nil
	}
	d.counters.writeErrors.Add(1)
	switch {
	case persistence.NoSpace(err) && stores:
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	case persistence.NoSpace(err):
		return fmt.Errorf("%w: %w", ErrDiskExhausted, err)
	}
	return fmt.Errorf("%w: %w", ErrDisk, err)
}

// reportDamage counts and logs a damaged place.
func (d *Disk) reportDamage(damage persistence.Damage, log *slog.Logger) {
	d.counters.damageFound.Add(1)
	log.Error("damage on disk", "file", damage.File, "offset", damage.Offset, "bytes", damage.Bytes, "what", damage.What, "key", string(damage.Key))
}

// DiskStats is what a store counts about its files.
type DiskStats struct {
	Logged                                bool
	Config                                DiskConfig
	Bytes, Live, Written                  int64 // bytes of all files; of the present values; written since the start
	LogBytes, DeadBytes                   int64
	Unsaved                               int64 // changes
	Syncs, DelayedSyncs                   int64
	WriteErrors, Throttled                int64
	LastWriteFailed, Full                 bool
	Stopped                               int // shards whose log has stopped
	Snapshots, SnapshotErrors             int64
	Saving                                bool
	SaveBegan, LastSave                   time.Time
	LastSaveFailed                        bool
	LastSaveTook                          time.Duration
	Torn, Lost                            int64 // bytes
	Damage, Repaired                      int64
	ScrubbedBytes, ScrubbedShards, Scrubs int64
}

// Stats returns the state of the files; false without a data folder.
func (d *Disk) Stats() (DiskStats, bool) {
	if d.folder == nil {
		return DiskStats{}, false
	}
	c := &d.counters
	stats := DiskStats{
		Logged: d.logged, Config: *d.config.Load(), Bytes: d.folder.Bytes(), Live: d.guard.live.Load(), Written: d.folder.Written(), Unsaved: d.unsaved.Load(),
		Syncs: d.folder.Syncs(), DelayedSyncs: d.syncer.delayed.Load(), WriteErrors: c.writeErrors.Load(), Throttled: d.guard.throttled.Load(),
		LastWriteFailed: c.lastWriteFailed.Load(), Full: d.guard.full.Load(), Snapshots: c.snapshots.Load(), SnapshotErrors: c.snapshotErrors.Load(),
		Torn: c.torn.Load(), Lost: c.lost.Load(), Damage: c.damageFound.Load(), Repaired: c.damageRepaired.Load(),
		ScrubbedBytes: d.scrubber.bytes.Load(), ScrubbedShards: d.scrubber.shards.Load(), Scrubs: d.scrubber.rounds.Load(),
	}
	for _, sh := range d.shards {
		log, dead, _ := sh.writer.log.Sizes()
		stats.LogBytes += log
		stats.DeadBytes += dead
		if sh.writer.log.Err() != nil {
			stats.Stopped++
		}
	}
	d.saver.addTo(&stats)
	return stats, true
}
