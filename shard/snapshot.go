package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// snapshotter writes snapshots of one shard while writes go on. It does so whether the shard is
// served or not: a snapshot says what the copy has, and of which epoch and seq.
type snapshotter struct {
	shard  int
	writer *writer
	disk   *Disk

	// patience is how long a snapshot waits until what is in the log's present segment is committed. Otherwise it is written all the
	// same, and the segment goes with the next one. Once the store closes, no other copy commits anything, and none waits.
	patience time.Duration

	mu sync.Mutex // held from prepare until the snapshot is committed; comes before writer.mu
}

// write writes and commits a snapshot. Unless it is forced, it does nothing if nothing has changed
// since the last one. It gives up when the store begins to close.
func (n *snapshotter) write(force bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	snapshot, err := n.prepare(force, n.disk.ending.Err)
	if err == nil && snapshot == nil {
		return nil
	}
	if err == nil {
		err = snapshot.Commit()
	}
	return n.finish(err)
}

// prepare writes a snapshot and leaves it to the caller to commit it; nil if nothing has changed.
// The caller holds mu until then. Throttle is called now and then; an error that it returns ends
// the snapshot.
func (n *snapshotter) prepare(force bool, throttle func() error) (*persistence.Snapshot, error) {
	state, snapshot, err := n.capture(force)
	if err != nil || snapshot == nil {
		return nil, err
	}
	snapshot.Throttle = throttle
	if err := state.write(snapshot); err != nil {
		snapshot.Abort()
		return nil, err
	}
	return snapshot, nil
}

// finish counts the outcome of a snapshot. After an error the shard counts as changed, so that it
// is tried again.
func (n *snapshotter) finish(err error) error {
	if err == nil {
		n.disk.counters.snapshots.Add(1)
		return nil
	}
	n.writer.unsaved.Add(1)
	n.disk.unsaved.Add(1)
	// The first two mean that the node stops, the last one that what the snapshot shows has been taken back.
	if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, persistence.ErrCancelled) {
		n.disk.counters.snapshotErrors.Add(1)
	}
	return fmt.Errorf("snapshot of shard %d: %w", n.shard, err)
}

// shardState is what a shard has at one moment: all entries, each with a reference, and the
// outcomes of requests.
//
// It includes expired entries that are not freed yet: the clock may be set back, and until the
// record of its removal is in the log, another record may extend an entry's deadline.
type shardState struct {
	entries []*Entry
	answers []answer
	left    int64 // changes that are appended and not committed, so the next snapshot has them
}

// capture returns what is committed of the shard and begins the snapshot of exactly this state.
func (n *snapshotter) capture(force bool) (state shardState, snapshot *persistence.Snapshot, err error) {
	w := n.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unsaved.Load() == 0 && !force {
		return state, nil, nil
	}
	if err = w.log.Rotate(); err != nil {
		return state, nil, err
	}
	if leader, end := w.copy.gate.LeaderEpoch(), w.seq; !w.copy.gate.Alone() {
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(n.disk.ending, n.patience)
		awaitChange(ctx, w.copy, leader, end)
		cancel()
		w.mu.Lock()
	}
	if state, snapshot, err = w.copy.capture(w.log, replica.Point{Epoch: w.epoch.Load(), Seq: w.seq}); err == nil {
		now := w.clock()
		w.copy.process.note(now)
		snapshot.NotBefore(now)
		n.disk.unsaved.Add(state.left - w.unsaved.Swap(state.left))
	}
	return state, snapshot, err
}

// capture returns what is committed and begins the snapshot of it. End is that of the log, whose writer holds its lock: so
// no writer waits for the index, and readers go on.
func (c *localCopy) capture(log *persistence.Log, end replica.Point) (state shardState, snapshot *persistence.Snapshot, err error) {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	var blobs []persistence.BlobID
	state.entries = c.index.all()
	for _, e := range state.entries {
		if id := e.blob(); id != 0 {
			blobs = append(blobs, id)
		}
	}
	if !c.suffix.empty() {
		state.left = c.suffix.changed()
		end.Seq = c.applied
	}
	if epoch, known := c.rules.Table().At(end.Seq, c.rules.End().Seq); known { // records of other copies have epochs of other primaries
		end.Epoch = epoch
	}
	if snapshot, err = log.BeginSnapshot(end.Epoch, end.Seq, blobs); err != nil {
		return shardState{}, nil, err
	}
	for _, e := range state.entries {
		e.retain()
	}
	state.answers = c.requests.answers(c.process.milliseconds())
	return state, snapshot, nil
}

// write writes the state to a snapshot and releases the entries.
func (state *shardState) write(snapshot *persistence.Snapshot) (err error) {
	var x encoder
	for list := range slices.Chunk(state.answers, answersRecord) {
		if err == nil {
			err = snapshot.Write(&persistence.Record{Type: persistence.Delete, Meta: x.answers(list...)})
			x.reset()
		}
	}
	for _, e := range state.entries {
		if err == nil {
			err = writeEntry(&x, e, snapshot)
		}
		e.Release()
	}
	return err
}

func writeEntry(x *encoder, e *Entry, snapshot *persistence.Snapshot) error {
	defer x.reset()
	version := e.Version()
	r := persistence.Record{Type: persistence.Put, Epoch: version.Epoch, Seq: version.Seq, Key: e.Key()}
	x.value(&r, e, "")
	if r.Blob == 0 && r.Bytes >= persistence.BlobBytes { // without a log it has no blob yet
		id, err := snapshot.Stage(r.Payload)
		if err != nil {
			return err
		}
		r.Blob = id
	}
	return snapshot.Write(&r)
}
