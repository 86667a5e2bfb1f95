package shard

import (
	"fmt"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// Dropped is what a copy had that was dropped.
type Dropped struct{ Keys, Bytes int64 }

// MayDrop reports whether this node has something of the shard that it need not keep: by its newest row it should have nothing, and all nodes
// that should have a copy do.
func MayDrop(s *Shard) bool {
	r := &s.role
	return r.ready.Load() && !r.gate.isOpen() && r.writer.copy.mayDrop()
}

// Drop empties the copy of a shard, in memory and on disk, if MayDrop still says so.
func Drop(s *Shard) (Dropped, error) {
	w := &s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if !MayDrop(s) {
		return Dropped{}, nil
	}
	if err := emptyLog(w); err != nil {
		return Dropped{}, fmt.Errorf("cannot drop the copy of shard %d: %w", w.shard, w.disk.countWrite(err, true))
	}
	w.seq, w.last = 0, replica.Point{}
	keys, bytes := following{w.copy}.drop()
	w.disk.unsaved.Add(-w.unsaved.Swap(0))
	return Dropped{keys, bytes}, nil
}

// emptyLog puts an empty log in the place of the shard's own. A kill leaves one of the two. The caller holds writer.mu.
func emptyLog(w *writer) error {
	if w.log == nil || w.seq == 0 {
		return nil
	}
	empty, err := w.log.Install(persistence.Point{}, nil)
	if err != nil {
		return err
	}
	return empty.Commit()
}
