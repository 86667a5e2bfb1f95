package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// snapshot writes the shard to a snapshot, as it is now, while writes go on. Unless it is forced, it does nothing when there is nothing new. Whether the shard
// is served does not matter: a snapshot says what the copy has already, and of which epoch and seq that is.
func (s *Shard) snapshot(force bool) error { return s.snapshotPaced(force, nil) }

func (s *Shard) snapshotPaced(force bool, pace func()) error {
	s.snapshotting.Lock()
	defer s.snapshotting.Unlock()
	state, snapshot, err := s.beginSnapshot(force)
	if err == nil && snapshot == nil {
		return nil
	}
	if err == nil {
		snapshot.Pace = pace
		if err = state.write(snapshot); err == nil {
			err = snapshot.Commit()
		} else {
			snapshot.Abort()
		}
	}
	if err != nil {
		s.unsaved.Add(1) // so that it is tried again
		s.store.disk.unsaved.Add(1)
		s.store.disk.counters.snapshotErrors.Add(1)
		return fmt.Errorf("snapshot of shard %d: %w", s.id, err)
	}
	s.store.disk.counters.snapshots.Add(1)
	return nil
}

// savedState is what a shard has at one moment: all entries, each with a reference, and the answers that a repeated request has to get.
//
// Entries that have expired and are not freed yet belong to it: the clock may go back, and until the record that takes an entry away is in the log, another one may
// give it more time.
type savedState struct {
	entries []*Entry
	answers []answer
}

func (s *Shard) beginSnapshot(force bool) (state savedState, snapshot *persistence.Snapshot, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.unsaved.Load() == 0 && !force {
		return state, nil, nil
	}
	var blobs []persistence.BlobID
	state.entries = make([]*Entry, 0, s.entries.count)
	s.entries.each(func(e *Entry) bool {
		state.entries = append(state.entries, e)
		if id := e.blob(); id != 0 {
			blobs = append(blobs, id)
		}
		return true
	})
	if snapshot, err = s.log.BeginSnapshot(s.epoch.Load(), s.seq, blobs); err != nil {
		return state, nil, err
	}
	for _, e := range state.entries {
		e.retain()
	}
	s.requests.forget(s.clock())
	state.answers = s.requests.answers()
	s.store.disk.unsaved.Add(-s.unsaved.Swap(0))
	return state, snapshot, nil
}

// write writes the state to a snapshot and releases the entries.
func (state *savedState) write(snapshot *persistence.Snapshot) (err error) {
	var x encoder
	for list := range slices.Chunk(state.answers, answersRecord) {
		if err == nil {
			err = snapshot.Write(&persistence.Record{Type: persistence.Delete, Meta: x.answers(list...)})
			x.reset()
		}
	}
	for _, e := range state.entries {
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

const (
	savers           = 4
	backgroundSavers = 1 // so that clients notice little
)

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
