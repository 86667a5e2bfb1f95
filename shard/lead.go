package shard

import (
	"fmt"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
)

// lead takes the copy to a row that names this process as the primary. In a new leader epoch the gate is closed.
func (w *writer) lead(row replica.Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.epoch.Swap(row.Epoch)
	e := w.copy.configure(row)
	w.send = e.Send
	if e.NoOp {
		w.noOps.askedIn = row.LeaderEpoch
	}
	w.noOps.asked = e.NoOp || w.noOps.askedIn == row.LeaderEpoch && w.noOps.leader != row.LeaderEpoch
	var err error
	if before < row.Born {
		err = w.clearStale()
	}
	if err == nil && w.noOps.asked {
		_, err = w.commit(nil, w.clock())
	}
	if err != nil {
		w.epoch.Store(before)
	}
	return err
}

// follow takes the copy to a row of which this process is not the primary. The gate is closed.
func (w *writer) follow(row replica.Config) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.copy.configure(row)
	w.send, w.noOps.asked = nil, false
}

// truncate carries out what the primary has told this member: the two logs share what is up to a seq. What is behind it
// goes from the log and from the suffix. It is not committed, so no client has seen it; the requests of these changes never
// happened.
func (w *writer) truncate(after uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	end, any := w.copy.truncated(after)
	if !any {
		return nil
	}
	if w.logged {
		if err := w.log.Truncate(persistence.Point(end)); err != nil {
			w.copy.damaged()
			return fmt.Errorf("shard %d: %w", w.shard, err)
		}
	}
	w.copy.cut(after)
	w.seq, w.last = after, end
	return nil
}

// clearStale removes everything the shard has, in its present epoch. The gate is closed, and
// writer.mu is held.
//
// The Flush survives the end of the process. A loss of power may lose it, but then also everything
// that follows it in the log: what comes back is of the old epoch and stale again.
func (w *writer) clearStale() error {
	all := []change{{kind: persistence.Flush, reason: persistence.Stale}}
	if w.seq == 0 { // the log has no record, of entries or of requests
		w.copy.clear()
		return nil
	}
	_, err := w.commit(all, w.clock())
	return err
}

// startOver empties a copy that this node does not serve, as if it had been installed empty: a record of its own would have
// the seq of one that the primary writes. The copy keeps its epoch.
func (w *writer) startOver() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.copy.nothing() {
		return nil
	}
	if w.log != nil && w.seq > 0 {
		empty, err := w.log.Install(persistence.Point{Epoch: w.epoch.Load(), Seq: w.seq}, nil)
		if err != nil {
			return err
		}
		if err := empty.Commit(); err != nil {
			return err
		}
	}
	w.last = replica.Point{Epoch: w.epoch.Load(), Seq: w.seq}
	w.copy.startOver(w.last)
	return nil
}
