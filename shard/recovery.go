package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// recoverers is how many shards are read at once.
const recoverers = 4

// recoveryState is the progress of the recovery.
type recoveryState struct {
	began atomic.Pointer[time.Time] // nil while no recovery is running
}

// Recover reads all shards back, several at once; each can be used as soon as it has been read.
// Call it once, after UseDisk, before Open or beside it. After an error some shards never become
// ready.
func (d *Disk) Recover(ctx context.Context, log *slog.Logger) error {
	began := time.Now()
	d.recovery.began.Store(&began)
	for _, damage := range d.folder.Damage() {
		d.reportDamage(damage, log)
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	failures := make([]error, recoverers)
	for i := range failures {
		workers.Go(func() {
			for failures[i] == nil && ctx.Err() == nil {
				id := int(next.Add(1)) - 1
				if id >= len(d.shards) {
					return
				}
				failures[i] = d.recoverShard(d.shards[id], log)
			}
		})
	}
	stop := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() { d.reportLoading(stop, log) })
	workers.Wait()
	close(stop)
	reporter.Wait()
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		return fmt.Errorf("cannot recover the shards: %w", err)
	}
	if len(d.folder.Damage()) > 0 { // report it once
		d.syncer.writeMarks(true)
	}
	done, _ := d.folder.Progress()
	d.recovery.began.Store(nil)
	keys := 0
	for _, sh := range d.shards {
		keys += sh.Keys()
	}
	if done > 0 {
		log.Info("shards loaded", "keys", keys, "bytes", done, "seconds", time.Since(began).Seconds())
	}
	return nil
}

// reportLoading logs the progress every two seconds.
func (d *Disk) reportLoading(stop chan struct{}, log *slog.Logger) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			p := d.LoadProgress()
			log.Info("loading", "bytes", p.Done, "of", p.Total, "seconds-left", int(p.Left.Seconds()))
		}
	}
}

// Progress is how far a recovery has come.
type Progress struct {
	Began       time.Time
	Done, Total int64         // bytes
	Left        time.Duration // about
}

// LoadProgress returns how far the recovery has come.
func (d *Disk) LoadProgress() (p Progress) {
	began := d.recovery.began.Load()
	if began == nil {
		return p
	}
	p.Began = *began
	p.Done, p.Total = d.folder.Progress()
	if p.Done > 0 {
		p.Left = time.Duration(float64(time.Since(p.Began)) * float64(max(p.Total-p.Done, 0)) / float64(p.Done))
	}
	return p
}

// Loading reports whether some shards are not ready yet.
func (d *Disk) Loading() bool { return d.recovery.began.Load() != nil }

// recoverShard reads one shard back and makes it ready.
func (d *Disk) recoverShard(sh *Shard, log *slog.Logger) error {
	report, err := d.replay(&sh.writer, log.With("shard", sh.id))
	if err != nil {
		return fmt.Errorf("shard %d: %w", sh.id, err)
	}
	d.countReport(report, log.With("shard", sh.id))
	_, _, files := sh.writer.log.Sizes()
	if len(report.Damage) > 0 || !d.logged && files > 0 {
		// Write what is left of damaged files to intact ones. And without a log, what an earlier
		// run logged would become outdated.
		switch err := sh.snapshots.write(true); {
		case persistence.NoSpace(err): // intact data can be read; the damaged files stay, and the next start or snapshot finds them
			log.Error("the disk is too full to repair the damage", "shard", sh.id, "err", err)
		case err != nil:
			return fmt.Errorf("shard %d: cannot write a snapshot of the recovered data: %w", sh.id, err)
		}
	}
	sh.role.ready.Store(true)
	return nil
}

// replay applies what a shard has on disk.
func (d *Disk) replay(w *writer, log *slog.Logger) (*persistence.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	row := w.copy.row()
	report, err := w.copy.replay(w, d.frame)
	if err != nil {
		return nil, err
	}
	w.seq, w.last = report.Given, replica.Point(report.Has)
	w.epoch.Store(max(w.epoch.Load(), report.Epoch))
	w.unsaved.Store(report.Logged - report.NoOps)
	d.unsaved.Add(report.Logged - report.NoOps)
	w.copy.process.note(report.Time)
	if behind := report.Time - w.copy.process.wall(); behind > 0 {
		log.Warn("the clock is behind the newest time on disk, which this node now goes on from", "ms", behind)
	}
	if row.Epoch > 0 { // a lone node serves without a topology
		row.Epoch = max(row.Epoch, report.Epoch)
		w.copy.configure(row)
	}
	return report, nil
}

// replay applies the committed records of a log and holds the others in the suffix.
func (c *localCopy) replay(w *writer, frame func(n int) (before, after []byte)) (*persistence.Report, error) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	report, err := w.log.Recover(&recovery{copy: c, decoder: decoder{pool: w.pool, frame: frame, now: w.clock()}})
	if err != nil {
		return nil, err
	}
	c.index.syncCounts()
	var table replica.EpochTable
	for _, start := range w.log.Epochs() {
		table = append(table, replica.EpochStart(start))
	}
	if len(table) == 0 && report.Has.Seq > 0 { // without a log only snapshots tell an epoch
		table = replica.EpochTable{{Epoch: report.Has.Epoch, Seq: report.Has.Seq}}
	}
	c.doubtful, c.mustInstall = report.Doubtful, report.Doubtful
	c.begin(table, report.Has.Seq, report.Commit)
	return report, nil
}

// countReport counts and logs what the recovery of a shard has found.
func (d *Disk) countReport(report *persistence.Report, log *slog.Logger) {
	if report.Torn > 0 {
		d.counters.torn.Add(report.Torn)
		log.Warn("the end of a log was cut off: its last write was incomplete", "file", report.TornFile, "offset", report.TornAt, "bytes", report.Torn)
	}
	if report.Lost > 0 {
		d.counters.lost.Add(report.Lost)
		log.Warn("data after the end of a log was moved to the quarantine", "bytes", report.Lost)
	}
	for _, damage := range report.Damage {
		d.reportDamage(damage, log)
	}
}

// recovery applies the records of a log. The caller holds writer.mu and index.mu.
//
// It never drops an entry by the clock: the next record of the key may extend its deadline, and
// that record may still be on another node. Readers hide expired entries as always, and
// RemoveExpired removes them with a record once the shard is served.
type recovery struct {
	copy    *localCopy
	decoder decoder
}

// Put implements persistence.Handler.
func (r *recovery) Put(rec *persistence.Record, read func([]byte) error) error {
	ch, err := r.decoder.put(rec, read)
	if err == nil {
		r.copy.apply(&ch, rec.Epoch)
	}
	return err
}

// Delete implements persistence.Handler.
func (r *recovery) Delete(key []byte) { r.copy.apply(&change{kind: persistence.Delete, key: key}, 0) }

// Expire implements persistence.Handler.
func (r *recovery) Expire(key []byte, epoch, seq uint64, at int64) {
	if e := r.copy.index.get(key); e != nil {
		ch := r.decoder.expire(key, e, Version{epoch, seq}, at)
		r.copy.apply(&ch, 0)
	}
}

// Flush implements persistence.Handler.
func (r *recovery) Flush() { r.copy.apply(&change{kind: persistence.Flush}, 0) }

// Suffix implements persistence.Handler. The records may have to be taken back, so no client sees them before this copy
// learns that they are committed.
func (r *recovery) Suffix(rec *persistence.Record, read func([]byte) error) error {
	ch, err := r.decoder.change(rec, read, r.copy.find)
	if err == nil {
		r.copy.hold(&ch, rec.Epoch, rec.Seq+uint64(max(rec.Count, 1))-1, r.decoder.now)
	}
	return err
}

// Reset implements persistence.Handler.
func (r *recovery) Reset() {
	r.copy.truncate(0)
	r.copy.index.clear(0)
	r.copy.requests = requestLog{}
}

// Observe implements persistence.Handler. It remembers the outcomes of requests, whatever becomes
// of the values.
func (r *recovery) Observe(rec *persistence.Record) {
	now := r.copy.process.milliseconds()
	r.decoder.answers(rec, func(a answer) {
		r.copy.requests.remember(a, now)
		r.copy.requests.trim() // a log may have many more than a shard remembers
	})
	if rec.Type == persistence.Flush && rec.Reason == persistence.Stale {
		r.copy.requests = requestLog{}
	}
}
