package shard

import (
	"context"
	"errors"
	"fmt"
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
	entries, snapshot, err := s.beginSnapshot(force)
	if err != nil || snapshot == nil {
		return nil, err
	}
	snapshot.Pace = pace
	if err := s.writeEntries(entries, snapshot); err != nil {
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

// beginSnapshot returns all entries, each with a reference, at one moment.
func (s *Shard) beginSnapshot(force bool) (entries []*Entry, snapshot *persistence.Snapshot, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.unsaved.Load() == 0 && !force {
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
	if snapshot, err = s.log.BeginSnapshot(s.epoch.Load(), s.seq, blobs); err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		e.retain()
	}
	s.store.disk.unsaved.Add(-s.unsaved.Swap(0))
	return entries, snapshot, nil
}

// writeEntries writes entries and releases them.
func (s *Shard) writeEntries(entries []*Entry, snapshot *persistence.Snapshot) (err error) {
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
