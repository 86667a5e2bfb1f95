package shard

import (
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
	w.noOps.asked = w.noOps.asked && w.noOps.leader == row.LeaderEpoch || e.NoOp
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
func (w *writer) follow(row replica.Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.copy.configure(row)
	w.send, w.noOps.asked = nil, false
	if e.Truncate != nil {
		return w.truncate(*e.Truncate)
	}
	return nil
}

// truncate removes the records behind a seq from the log and from the suffix: the primary has others in their place, or none. They
// are not committed, so nobody has seen them.
func (w *writer) truncate(after uint64) error {
	w.copy.truncate(after)
	w.seq = min(w.seq, after)
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

// startOver empties a copy that this node does not serve. It keeps its epoch.
func (w *writer) startOver() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.copy.nothing() {
		return nil
	}
	flush := []change{{kind: persistence.Flush, reason: persistence.Stale}}
	if w.seq > 0 {
		if _, err := w.append(nil, flush); err != nil {
			return err
		}
	}
	w.copy.startOver(flush)
	return nil
}
