package shard

import (
	"time"

	"github.com/ndring/ndring/replica"
)

// Replicator carries changes to the other copies of shards. A store without one has only shards of one copy.
type Replicator interface {
	// Enqueue sends a batch behind the record prev to a process. The order of the calls is the order on the wire. It is
	// called while the shard's writes are locked, so it must not wait, and it copies what it keeps.
	Enqueue(to replica.Process, shard int, prev replica.Point, batch []change)
	// Room returns a channel that is closed when there may be room for more changes of a shard; nil if there is room now.
	Room(shard int) <-chan struct{}
	// Heard returns when the newest heartbeat that a process has acknowledged for a leader epoch left, by
	// Store.Monotonic; math.MinInt64 for none.
	Heard(from replica.Process, leader uint64) int64
}

// UseReplicator makes the store send changes to other copies. Call it before the first Role.Configure.
func (p *process) UseReplicator(r Replicator) { p.replicator = r }

// How long a writer waits for room, and how often it looks meanwhile whether its shard is being closed.
const (
	roomWait = 5 * time.Second
	roomStep = 5 * time.Millisecond
)

// awaitRoom returns when the replicator has room for a change of the shard. It stops waiting when the gate closes. The
// caller holds no lock.
func (r *Role) awaitRoom() error {
	replicator := r.store.replicator
	if replicator == nil {
		return nil
	}
	for began := time.Now(); !r.gate.Alone(); {
		room := replicator.Room(r.shard)
		if room == nil {
			return nil
		}
		if !r.gate.isOpen() || time.Since(began) > roomWait {
			return ErrTryAgain
		}
		timer := time.NewTimer(roomStep)
		select {
		case <-room:
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}
