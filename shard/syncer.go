package shard

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	syncInterval  = time.Second
	lazyInterval  = 30 * time.Second // with FsyncNo, to free files that are no longer needed
	checkInterval = 100 * time.Millisecond
	marksInterval = time.Minute // between two writes of all marks
)

// syncer syncs the logs, checks the free space and writes the marks, once a second.
type syncer struct {
	disk        *Disk
	delayed     atomic.Int64 // syncs that took too long
	marksFailed atomic.Bool
}

func (y *syncer) loop(ctx context.Context) {
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	d := y.disk
	last := time.Now()
	marked := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		interval := syncInterval
		if d.fsync() == FsyncNo {
			interval = lazyInterval
		}
		if time.Since(last) < interval && !d.guard.mustThrottle() {
			continue
		}
		last = time.Now()
		d.guard.check()
		d.folder.SyncAll()
		if y.writeMarks(last.Sub(marked) >= marksInterval) {
			marked = last
		}
		if took := time.Since(last); took > 2*syncInterval {
			y.delayed.Add(1)
			d.log.Warn("slow disk: syncing the logs took longer than the two seconds of writes that may be lost", "seconds", took.Seconds())
		}
	}
}

// writeMarks records how far the logs are on disk, if that has changed, and reports whether it
// recorded all of them. After an error the next call tries again.
func (y *syncer) writeMarks(all bool) bool {
	err := y.disk.folder.WriteMarks(all)
	if failed := err != nil; failed != y.marksFailed.Swap(failed) && failed {
		y.disk.log.Warn("cannot write the marks that would reveal a lost log", "err", err)
	}
	return all && err == nil
}
