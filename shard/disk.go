package shard

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
)

// FsyncPolicy says when what was written is made to survive the end of the machine. The names are Redis'.
type FsyncPolicy string

// The policies.
const (
	FsyncAlways   FsyncPolicy = "always"   // before the reply
	FsyncEverysec FsyncPolicy = "everysec" // once a second
	FsyncNo       FsyncPolicy = "no"       // when the system likes, or a file goes
)

// SavePoint asks for a snapshot when so many changes are older than so many seconds.
type SavePoint struct {
	After   time.Duration
	Changes int64
}

// DiskConfig says what is kept on disk, and how.
type DiskConfig struct {
	Fsync     FsyncPolicy
	Save      []SavePoint
	Reserve   int64 // bytes of the file system that writes leave free
	ScrubRate int64 // bytes a second at which files are read again; 0 for never
}

// Disk is what a store keeps in files. Without a data folder, it does nothing.
type Disk struct {
	store             *Store
	*persistence.Disk                                    // nil without a folder
	frame             func(n int) (before, after []byte) // of a value that is read back
	log               *slog.Logger
	config            atomic.Pointer[DiskConfig]

	loading  atomic.Pointer[loading]
	live     atomic.Int64  // bytes that all values take, overwritten ones not counted
	unsaved  atomic.Int64  // changes since the last snapshot of all
	full     atomic.Bool   // there is less than the reserve
	room     atomic.Int64  // bytes that the disk has left, as of the last look
	kick     chan struct{} // asks for room, now
	unmarked atomic.Bool   // the marks could not be written
	slack    float64       // bytes that a test takes off the bounds

	counters  diskCounters
	save      saveState
	scrubbing scrubState
	damage    damageLog
}

// diskCounters are totals since the start.
type diskCounters struct {
	writeErrors, snapshots, snapshotErrors, delayedSyncs, throttled atomic.Int64
	torn, lost                                                      atomic.Int64 // bytes
	lastWriteFailed                                                 atomic.Bool
}

// damageLog keeps count of damage that was found.
type damageLog struct{ found, repaired atomic.Int64 }

// UseDisk lets the store keep its shards on disk. Logged says that each write comes into the log; otherwise there are snapshots alone. Frame
// makes what a reader wants around a value. It is called before Recover and Open, with the config of Configure.
func (s *Store) UseDisk(d *persistence.Disk, logged bool, frame func(n int) (before, after []byte), log *slog.Logger) {
	s.disk.Disk, s.disk.frame, s.disk.log = d, frame, log
	s.disk.loading.Store(&loading{began: time.Now()})
	for _, sh := range s.shards {
		sh.log, sh.logs = d.Log(sh.id), logged
		sh.role.ready.Store(false)
	}
}

// Disk returns what the store keeps in files.
func (s *Store) Disk() *Disk { return &s.disk }

// Configure changes how files are written from now on.
func (d *Disk) Configure(config DiskConfig) { d.config.Store(&config) }

func (d *Disk) fsync() FsyncPolicy { return d.config.Load().Fsync }

// note counts and logs what a recovery found.
func (d *Disk) note(shard int, report *persistence.Report, log *slog.Logger) {
	if report.Torn > 0 {
		d.counters.torn.Add(report.Torn)
		log.Warn("the end of a log was cut: its last write was not complete", "shard", shard, "file", report.TornFile, "offset", report.TornAt, "bytes", report.Torn)
	}
	if report.Lost > 0 {
		d.counters.lost.Add(report.Lost)
		log.Warn("what stood behind the end of a log was put into the quarantine", "shard", shard, "bytes", report.Lost)
	}
	for _, damage := range report.Damage {
		d.noteDamage(damage, log.With("shard", shard))
	}
}

func (d *Disk) noteDamage(damage persistence.Damage, log *slog.Logger) {
	d.damage.found.Add(1)
	log.Error("damage on disk", "file", damage.File, "offset", damage.Offset, "bytes", damage.Bytes, "what", damage.What, "key", string(damage.Key))
}

// mayWrite returns an error when no values may be written now.
func (s *Store) mayWrite() error {
	if s.disk.full.Load() {
		return ErrDiskFull
	}
	return nil
}

// noteWrite counts the outcome of a write to the disk, and returns the error that the client is to see. Stores says that there was a value in it.
func (s *Store) noteWrite(err error, stores bool) error {
	if failed := err != nil; failed != s.disk.counters.lastWriteFailed.Load() {
		s.disk.counters.lastWriteFailed.Store(failed)
	}
	if err == nil {
		return nil
	}
	s.disk.counters.writeErrors.Add(1)
	switch {
	case persistence.NoSpace(err) && stores:
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	case persistence.NoSpace(err):
		return fmt.Errorf("%w: %w", ErrDiskExhausted, err)
	}
	return fmt.Errorf("%w: %w", ErrDisk, err)
}

// The files of a store take at most three times its live bytes and 512 MiB. From large on, snapshots of the shards with the most garbage are written; from crowded
// on, writes wait for them. The rest is for a snapshot that is being written, and for values on their way.
var (
	large   = diskBound{1.75, 192 << 20}
	crowded = diskBound{2.5, 320 << 20}
)

// diskBound is a number of bytes for each live byte, and some beside.
type diskBound struct{ factor, extra float64 }

// diskWait is how long a write waits before it is refused.
const diskWait = 30 * time.Second

// large reports whether one of those who write snapshots is to begin another one: the first from large on, the last well before crowded.
func (d *Disk) large(worker int) bool {
	part := float64(worker) / shorteners / 2
	return d.above(large.factor+part*(crowded.factor-large.factor), large.extra+part*(crowded.extra-large.extra)-d.slack)
}

func (d *Disk) crowded() bool { return d.above(crowded.factor, crowded.extra-d.slack) }

func (d *Disk) above(factor, extra float64) bool {
	return float64(d.Bytes()-d.Staged()) > factor*float64(d.live.Load())+extra
}

// waitForDisk returns when a write may go on. It is called while no shard is held. Who closes the shard is not kept waiting.
func (s *Shard) waitForDisk() error {
	d := &s.store.disk
	if d.Disk == nil || !s.logs || !d.crowded() { // without a log, writes do not come to the disk
		return nil
	}
	d.counters.throttled.Add(1)
	for began := time.Now(); d.crowded(); {
		if time.Since(began) > diskWait || !s.Serving() {
			return ErrDiskBusy
		}
		select {
		case d.kick <- struct{}{}:
		default: // it is known already
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// DiskStats is what a store counts of its files.
type DiskStats struct {
	Logged                                bool
	Config                                DiskConfig
	Bytes, Live, Written                  int64 // bytes of all files; that values take; written since the start
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

// Stats returns what is known of the files; false if there are none.
func (d *Disk) Stats() (DiskStats, bool) {
	s := d.store
	if d.Disk == nil {
		return DiskStats{}, false
	}
	c := &d.counters
	stats := DiskStats{
		Logged: s.shards[0].logs, Config: *d.config.Load(), Bytes: d.Bytes(), Live: d.live.Load(), Written: d.Written(), Unsaved: d.unsaved.Load(),
		Syncs: d.Syncs(), DelayedSyncs: c.delayedSyncs.Load(), WriteErrors: c.writeErrors.Load(), Throttled: c.throttled.Load(),
		LastWriteFailed: c.lastWriteFailed.Load(), Full: d.full.Load(), Snapshots: c.snapshots.Load(), SnapshotErrors: c.snapshotErrors.Load(),
		Torn: c.torn.Load(), Lost: c.lost.Load(), Damage: d.damage.found.Load(), Repaired: d.damage.repaired.Load(),
		ScrubbedBytes: d.scrubbing.bytes.Load(), ScrubbedShards: d.scrubbing.shards.Load(), Scrubs: d.scrubbing.rounds.Load(),
	}
	for _, sh := range s.shards {
		log, dead, _ := sh.log.Sizes()
		stats.LogBytes += log
		stats.DeadBytes += dead
		if sh.log.Err() != nil {
			stats.Stopped++
		}
	}
	d.save.mu.Lock()
	defer d.save.mu.Unlock()
	stats.Saving, stats.SaveBegan, stats.LastSave = d.save.active, d.save.began, d.save.last
	stats.LastSaveFailed, stats.LastSaveTook = d.save.failed, d.save.took
	return stats, true
}
