package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ndring/ndring/persistence"
)

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

// snapshot writes the shard to a snapshot, as it is now, while writes go on. Unless it is forced, it does nothing when there is nothing new. Whether the shard
// is served does not matter: a snapshot says what the copy has already, and of which epoch and seq that is.
func (s *Shard) snapshot(force bool) error {
	s.snapshotting.Lock()
	defer s.snapshotting.Unlock()
	snapshot, err := s.writeSnapshot(force, nil)
	if err == nil && snapshot == nil {
		return nil
	}
	if err == nil {
		err = snapshot.Commit()
	}
	return s.noteSnapshot(err)
}

// writeSnapshot writes all that a snapshot has, and leaves it to be committed; nil if there is nothing new. Snapshotting is held until then.
func (s *Shard) writeSnapshot(force bool, pace func() error) (*persistence.Snapshot, error) {
	state, snapshot, err := s.beginSnapshot(force)
	if err != nil || snapshot == nil {
		return nil, err
	}
	snapshot.Throttle = pace
	if err := state.write(snapshot); err != nil {
		snapshot.Abort()
		return nil, err
	}
	return snapshot, nil
}

// noteSnapshot counts what has become of a snapshot. One that failed is tried again.
func (s *Shard) noteSnapshot(err error) error {
	if err == nil {
		s.store.disk.counters.snapshots.Add(1)
		return nil
	}
	s.unsaved.Add(1)
	s.store.disk.unsaved.Add(1)
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) { // a stop
		s.store.disk.counters.snapshotErrors.Add(1)
	}
	return fmt.Errorf("snapshot of shard %d: %w", s.id, err)
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
