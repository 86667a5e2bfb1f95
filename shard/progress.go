package shard

import "github.com/ndring/ndring/replica"

// Progress returns the seq of the newest record of this copy, and, if this node leads the shard, how far the other copies
// are.
func (r *Role) Progress() (end uint64, others []replica.Progress) {
	if !r.ready.Load() {
		return 0, nil
	}
	c := r.writer.copy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.End().Seq, c.rules.Progress()
}
