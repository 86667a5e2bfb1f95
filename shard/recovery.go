package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
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
	report, err := d.replay(&sh.writer)
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
func (d *Disk) replay(w *writer) (*persistence.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	report, err := w.log.Recover(&recovery{index: w.index, requests: &w.requests, pool: w.pool, frame: d.frame, now: w.clock()})
	if err != nil {
		return nil, err
	}
	w.seq = report.Given
	w.epoch.Store(max(w.epoch.Load(), report.Epoch))
	w.unsaved.Store(report.Logged)
	d.unsaved.Add(report.Logged)
	w.index.syncCounts()
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
	index    *index
	requests *requestLog
	pool     *memory.Pool
	frame    func(n int) (before, after []byte)
	now      int64 // when requests are remembered
	scratch  []byte
}

// inlineNPY is the largest .npy file that is stored within its entry.
const inlineNPY = 16 << 10 // bytes

// Put implements persistence.Handler.
func (r *recovery) Put(rec *persistence.Record, read func([]byte) error) error {
	v, err := r.value(rec, read)
	if err != nil {
		v.Release()
		return skipExpired(err, rec, r.now)
	}
	e := newEntry(r.pool, rec.Key, &v, rec.Blob, r.now)
	h := e.head()
	h.version, h.expireAt = Version{rec.Epoch, rec.Seq}, rec.Expiry
	r.index.put(e)
	return nil
}

// value reads a payload. The caller releases the value even after an error.
func (r *recovery) value(rec *persistence.Record, read func([]byte) error) (v Value, err error) {
	meta, err := parseMeta(rec.Meta, rec.Bytes)
	if err != nil {
		return v, err
	}
	v.CRC = rec.CRC
	v.Before, v.After = r.frame(meta.npy)
	if cap(r.scratch) < inlineNPY+meta.attrs {
		r.scratch = make([]byte, inlineNPY+meta.attrs)
	}
	if meta.npy > inlineNPY {
		v.Buffer = r.pool.NewFramed(len(v.Before), meta.npy, len(v.After))
		framed := v.Buffer.Framed()
		copy(framed, v.Before)
		copy(framed[len(v.Before)+meta.npy:], v.After)
		v.NPY = v.Buffer.Bytes()
	} else {
		v.NPY = r.scratch[:meta.npy]
	}
	v.Attrs = r.scratch[inlineNPY:][:meta.attrs]
	if err := read(v.NPY); err != nil {
		return v, err
	}
	if err := read(v.Attrs); err != nil {
		return v, err
	}
	for _, p := range meta.parts {
		name := make([]byte, p.name)
		if err := read(name); err != nil {
			return v, err
		}
		data := r.pool.New(p.data)
		v.Parts = append(v.Parts, Part{string(name), data})
		if err := read(data.Bytes()); err != nil {
			return v, err
		}
	}
	return v, nil
}

// Delete implements persistence.Handler.
func (r *recovery) Delete(key []byte) { r.index.forget(key) }

// Expire implements persistence.Handler.
func (r *recovery) Expire(key []byte, epoch, seq uint64, at int64) {
	e := r.index.get(key)
	switch {
	case e == nil:
	case e.Version() != Version{epoch, seq}:
		r.index.forget(bytes.Clone(key))
	default:
		r.index.put(e.withDeadline(r.pool, at))
	}
}

// Flush implements persistence.Handler.
func (r *recovery) Flush() { r.index.clear() }

// Suffix implements persistence.Handler. A shard of one copy commits what it appends, so what no
// commit index covers counts as well.
func (r *recovery) Suffix(rec *persistence.Record, read func([]byte) error) error {
	r.Observe(rec)
	switch rec.Type {
	case persistence.Put:
		return r.Put(rec, read)
	case persistence.Delete:
		r.Delete(rec.Key)
	case persistence.Expire:
		epoch, seq := rec.Of()
		r.Expire(rec.Key, epoch, seq, rec.Expiry)
	case persistence.Flush:
		r.Flush()
	}
	return nil
}

// Reset implements persistence.Handler.
func (r *recovery) Reset() {
	r.index.clear()
	*r.requests = requestLog{}
}

// Observe implements persistence.Handler. It remembers the outcomes of requests, whatever becomes
// of the values.
func (r *recovery) Observe(rec *persistence.Record) {
	switch rec.Type {
	case persistence.Put:
		if meta, err := parseMeta(rec.Meta, rec.Bytes); err == nil && meta.requestID != "" {
			r.requests.remember(answer{requestOf(rec.Key, meta.requestID), Outcome{true, Version{rec.Epoch, rec.Seq}}}, r.now)
		}
	case persistence.Delete:
		parseAnswers(rec.Meta, func(a answer) { r.requests.remember(a, r.now) })
	case persistence.Flush:
		if rec.Reason == persistence.Stale {
			*r.requests = requestLog{}
		}
	}
}
