package shard

import (
	"context"
	"sync"
	"time"
)

const (
	compactors    = 4
	retryInterval = 5 * time.Second // after a snapshot that failed

	// snapshotCost is what a snapshot costs besides the bytes of its values: a few files and syncs,
	// in bytes that could be written meanwhile.
	snapshotCost = 256 << 10
	// snapshotSpace is what a snapshot takes on disk besides its values.
	snapshotSpace = 16 << 10
	// minGain is the least gain for which a shard is compacted: bytes freed per byte written.
	minGain = 0.25
)

// compactor compacts shards: it writes a snapshot of a shard, after which the older log and blobs
// can go.
type compactor struct {
	disk *Disk
	busy sync.Map // shards that are being compacted
}

// compactShards compacts shards until the folder is small enough or no shard is worth it; on a full
// disk, as long as that frees anything. Snapshots mostly wait for the disk, so several are written
// at once when writes are close to being throttled.
func (c *compactor) compactShards(ctx context.Context) {
	var workers sync.WaitGroup
	for i := range compactors {
		workers.Go(func() {
			for ctx.Err() == nil && c.disk.guard.mayCompact(i) {
				sh := c.pickShard()
				if sh == nil {
					return
				}
				err := sh.snapshots.write(false)
				c.busy.Delete(sh)
				if err != nil && ctx.Err() == nil {
					c.disk.log.Error("cannot compact a shard, its log stays", "err", err)
					select {
					case <-ctx.Done():
					case <-time.After(retryInterval):
					}
				}
			}
		})
	}
	workers.Wait()
}

// pickShard returns the shard whose snapshot gains the most, and marks it as busy; nil if no
// snapshot would gain enough.
func (c *compactor) pickShard() *Shard {
	var best *Shard
	most := minGain
	guard := &c.disk.guard
	for _, sh := range c.disk.shards {
		w := &sh.writer
		if _, busy := c.busy.Load(sh); busy || !w.logged || !sh.Ready() || w.unsaved.Load() == 0 || w.log.Err() != nil {
			continue
		}
		_, _, all := w.log.Sizes()
		live := w.index.counts.liveBytes.Load()
		if guard.full.Load() && live+snapshotSpace > guard.free.Load() {
			continue // it does not fit
		}
		if gain := float64(all-live) / float64(snapshotCost+live); gain > most {
			best, most = sh, gain
		}
	}
	if best != nil {
		if _, busy := c.busy.LoadOrStore(best, true); busy { // another worker has just picked it
			return c.pickShard()
		}
	}
	return best
}
