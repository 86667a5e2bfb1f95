package shard

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
)

// Recover reads all shards back, several at once; each can be used as soon as it is there. It is called once, after UseDisk and before Open or beside
// it. After an error some shards never become ready.
func (d *Disk) Recover(ctx context.Context, log *slog.Logger) error {
	s := d.store
	began := time.Now()
	s.disk.loading.Store(&loading{began: began})
	for _, damage := range s.disk.Damage() {
		s.disk.noteDamage(damage, log)
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	failures := make([]error, recoverers)
	for i := range failures {
		workers.Go(func() {
			for failures[i] == nil && ctx.Err() == nil {
				id := int(next.Add(1)) - 1
				if id >= len(s.shards) {
					return
				}
				failures[i] = s.shards[id].recover(log)
			}
		})
	}
	stop := make(chan struct{})
	var reporter sync.WaitGroup
	reporter.Go(func() { s.reportLoading(stop, log) })
	workers.Wait()
	close(stop)
	reporter.Wait()
	if err := errors.Join(append(failures, ctx.Err())...); err != nil {
		return fmt.Errorf("cannot recover the shards: %w", err)
	}
	if len(s.disk.Damage()) > 0 { // it is reported once
		s.disk.writeMarks(true)
	}
	done, _ := s.disk.Progress()
	s.disk.loading.Store(nil)
	if stats := s.Stats(); done > 0 {
		log.Info("the shards are loaded", "keys", stats.Keys+stats.KeysNotServed, "bytes", done, "seconds", time.Since(began).Seconds())
	}
	return nil
}

// recoverers is how many shards are read at once.
const recoverers = 4

// loading is a recovery that goes on.
type loading struct{ began time.Time }

// reportLoading writes the progress to the log, every two seconds.
func (s *Store) reportLoading(stop chan struct{}, log *slog.Logger) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			p := s.disk.LoadProgress()
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
	l := d.loading.Load()
	if l == nil {
		return p
	}
	p.Began = l.began
	p.Done, p.Total = d.Progress()
	if p.Done > 0 {
		p.Left = time.Duration(float64(time.Since(l.began)) * float64(max(p.Total-p.Done, 0)) / float64(p.Done))
	}
	return p
}

// Loading reports whether there are shards that cannot be used yet.
func (d *Disk) Loading() bool { return d.loading.Load() != nil }

// recover reads the shard back.
func (s *Shard) recover(log *slog.Logger) error {
	s.writing.Lock()
	s.mu.Lock()
	handler := &recovery{Shard: s, now: s.clock()}
	report, err := s.log.Recover(handler)
	if err == nil {
		s.seq = report.Seq
		s.epoch.Store(max(s.epoch.Load(), report.Epoch))
		s.unsaved.Store(report.Logged)
		s.store.disk.unsaved.Add(report.Logged)
		s.recount()
	}
	s.mu.Unlock()
	s.writing.Unlock()
	if err != nil {
		return fmt.Errorf("shard %d: %w", s.id, err)
	}
	s.store.disk.note(s.id, report, log)
	_, _, files := s.log.Sizes()
	if len(report.Damage) > 0 || !s.logs && files > 0 {
		// What is left of damaged files has to be kept in whole ones. And without a log, what an earlier run logged would grow stale.
		switch err := s.snapshot(true); {
		case persistence.NoSpace(err): // what is whole can be read; the damaged files stay, and the next start, or snapshot, finds them
			log.Error("the disk is too full to repair the damage", "shard", s.id, "err", err)
		case err != nil:
			return fmt.Errorf("shard %d: cannot write a snapshot of what was recovered: %w", s.id, err)
		}
	}
	s.role.ready.Store(true)
	return nil
}

// recovery takes what a log gives. The shard is held.
//
// It drops nothing by the clock: the next record of a key may give it more time, and the last one may still be on another node. What has expired is hidden from
// readers as ever, and goes with a record of its own once the shard is served (RemoveExpired).
type recovery struct {
	*Shard
	now     int64 // from which on answers are remembered
	scratch []byte
}

// inlineNPY is the largest .npy file that lies within its entry.
const inlineNPY = 16 << 10 // bytes

var errMeta = errors.New("the description of the value makes no sense")

// Put implements persistence.Handler.
func (r *recovery) Put(rec *persistence.Record, read func([]byte) error) error {
	v, err := r.value(rec, read)
	if err != nil {
		v.Release()
		return skipExpired(err, rec, r.now)
	}
	e := newEntry(r.store.pool, rec.Key, &v, rec.Blob, r.now)
	h := e.head()
	h.version, h.expireAt = Version{rec.Epoch, rec.Seq}, rec.Expiry
	r.put(e)
	return nil
}

// skipExpired returns what a handler answers to an error with which a value could not be read. Programs before this one removed the file of a value that had expired while
// nothing ran, and left its record: that is no damage.
func skipExpired(err error, rec *persistence.Record, now int64) error {
	if errors.Is(err, persistence.ErrNoBlob) && rec.Expiry != 0 && now >= rec.Expiry {
		return persistence.ErrSkip
	}
	return err
}

// value reads a payload. The value's references are the caller's even after an error.
func (r *recovery) value(rec *persistence.Record, read func([]byte) error) (v Value, err error) {
	npy, attrs, parts, _, err := parseMeta(rec.Meta, rec.Bytes)
	if err != nil {
		return v, err
	}
	v.CRC = rec.CRC
	v.Before, v.After = r.store.disk.frame(npy)
	if cap(r.scratch) < inlineNPY+attrs {
		r.scratch = make([]byte, inlineNPY+attrs)
	}
	if npy > inlineNPY {
		v.Buffer = r.store.pool.NewFramed(len(v.Before), npy, len(v.After))
		framed := v.Buffer.Framed()
		copy(framed, v.Before)
		copy(framed[len(v.Before)+npy:], v.After)
		v.NPY = v.Buffer.Bytes()
	} else {
		v.NPY = r.scratch[:npy]
	}
	v.Attrs = r.scratch[inlineNPY:][:attrs]
	if err := read(v.NPY); err != nil {
		return v, err
	}
	if err := read(v.Attrs); err != nil {
		return v, err
	}
	for _, p := range parts {
		name := make([]byte, p.name)
		if err := read(name); err != nil {
			return v, err
		}
		data := r.store.pool.New(p.data)
		v.Parts = append(v.Parts, Part{string(name), data})
		if err := read(data.Bytes()); err != nil {
			return v, err
		}
	}
	return v, nil
}

// partMeta are the lengths of a part.
type partMeta struct{ name, data int }

// parseMeta reads what appendMeta wrote. All lengths together are those of the payload.
func parseMeta(b []byte, payload uint64) (npy, attrs int, parts []partMeta, requestID string, err error) {
	bad := false
	left := payload
	length := func() int {
		n, size := binary.Uvarint(b)
		if size <= 0 || n > left {
			bad = true
			return 0
		}
		b, left = b[size:], left-n
		return int(n)
	}
	octet := func() int {
		if len(b) == 0 {
			bad = true
			return 0
		}
		n := b[0]
		b = b[1:]
		return int(n)
	}
	npy, attrs = length(), length()
	for range min(octet(), MaxParts+1) {
		p := partMeta{name: octet()}
		if uint64(p.name) > left {
			bad = true
			break
		}
		left -= uint64(p.name)
		p.data = length()
		parts = append(parts, p)
	}
	if bad || left != 0 || attrs > MaxAttrs || len(parts) > MaxParts {
		return 0, 0, nil, "", errMeta
	}
	return npy, attrs, parts, string(b), nil
}

// Delete implements persistence.Handler.
func (r *recovery) Delete(key []byte) { r.forget(key) }

// Expire implements persistence.Handler.
func (r *recovery) Expire(key []byte, epoch, seq uint64, at int64) {
	e := r.entries.get(key)
	switch {
	case e == nil:
	case e.Version() != Version{epoch, seq}:
		r.forget(bytes.Clone(key))
	default:
		r.put(e.withDeadline(r.store.pool, at))
	}
}

// Flush implements persistence.Handler.
func (r *recovery) Flush() { r.clear() }

// Reset implements persistence.Handler.
func (r *recovery) Reset() {
	r.clear()
	r.requests = requestLog{}
}

// Observe implements persistence.Handler: it remembers the answers to requests, whatever becomes of the values that came with them.
func (r *recovery) Observe(rec *persistence.Record) {
	switch rec.Type {
	case persistence.Put:
		if _, _, _, id, err := parseMeta(rec.Meta, rec.Bytes); err == nil && id != "" {
			r.requests.remember(answer{requestOf(rec.Key, id), Outcome{true, Version{rec.Epoch, rec.Seq}}}, r.now)
		}
	case persistence.Delete:
		parseAnswers(rec.Meta, func(a answer) { r.requests.remember(a, r.now) })
	case persistence.Flush:
		if rec.Reason == persistence.Stale {
			r.requests = requestLog{}
		}
	}
}

// unframed is the frame of values that nobody sends.
func unframed(int) (before, after []byte) { return nil, nil }
