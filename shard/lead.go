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
	stale := following{w.copy}.outdated(row.Born)
	before := w.epoch.Swap(row.Epoch)
	e := w.copy.configure(row)
	w.send = e.Send
	if e.NoOp {
		w.noOps.askedIn = row.LeaderEpoch
	}
	w.noOps.asked = e.NoOp || w.noOps.askedIn == row.LeaderEpoch && w.noOps.leader != row.LeaderEpoch
	w.tellReplicator(row)
	var err error
	if stale {
		err = w.clearStale()
	}
	if err == nil && w.noOps.asked {
		err = w.commitNow(nil, w.clock())
	}
	if err != nil {
		w.epoch.Store(before)
	}
	return err
}

// follow takes the copy to a row of which this process is not the primary. The gate is closed. A copy of a time before the
// shard last began empty is stale, and is emptied first.
func (w *writer) follow(row replica.Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.send, w.noOps.asked = nil, false
	if (following{w.copy}).outdated(row.Born) {
		if err := w.startOver(); err != nil {
			return fmt.Errorf("cannot empty the stale copy of shard %d: %w", w.shard, err)
		}
	}
	w.copy.configure(row)
	w.tellReplicator(row)
	return nil
}

// tellReplicator tells the replicator to whom this process sends.
func (w *writer) tellReplicator(row replica.Config) {
	if r := w.copy.process.replicator; r != nil {
		r.Configure(w.shard, row, w.send)
	}
}

// truncate carries out what the primary has told this member: the two logs share what is up to a seq. What is behind it
// goes from the log and from the suffix. It is not committed, so no client has seen it; the requests of these changes never
// happened. The caller holds writer.mu.
func (w *writer) truncate(after uint64) error {
	end, any := following{w.copy}.truncated(after)
	if !any {
		return nil
	}
	if w.logged {
		if err := w.log.Truncate(persistence.Point(end)); err != nil {
			following{w.copy}.cannotFollow()
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
	return w.commitNow(all, w.clock())
}

// startOver empties a copy that this node does not serve, as if it had never had a record: a record of its own would have
// the seq of one that the primary writes. The caller holds writer.mu.
func (w *writer) startOver() error {
	if err := emptyLog(w); err != nil {
		return err
	}
	w.seq, w.last = 0, replica.Point{}
	following{w.copy}.startOver()
	return nil
}
