package shard

import (
	"sync/atomic"
	"time"
)

// diskGuard keeps the files of a store within bounds: it refuses values on a full disk and
// throttles writes when compaction falls behind.
//
// The files of a store take at most three times its live bytes and 512 MiB. From compactAt on, the
// shards with the most garbage are compacted; from throttleAt on, writes wait for that. The rest is
// for snapshots being written and values on their way.
type diskGuard struct {
	disk      *Disk
	live      *atomic.Int64 // bytes that the present values take
	full      atomic.Bool   // less than the reserve is free
	free      atomic.Int64  // bytes free on the file system, as of the last check
	throttled atomic.Int64  // writes that had to wait
	kick      chan struct{} // wakes the compaction loop
	testSlack float64       // bytes that a test takes off the bounds
}

var (
	compactAt  = diskBound{1.75, 192 << 20}
	throttleAt = diskBound{2.5, 320 << 20}
)

// diskBound is a number of bytes: some for each live byte, and some more.
type diskBound struct{ factor, extra float64 }

// diskWait is how long a write waits before it is refused.
const diskWait = 30 * time.Second

// check finds out whether the disk is too full for more values.
func (g *diskGuard) check() {
	d := g.disk
	free, err := d.folder.Free()
	if err != nil {
		d.log.Warn("cannot measure the free space on disk", "err", err)
		return
	}
	g.free.Store(free)
	reserve := d.config.Load().Reserve
	spent := d.folder.RefillReserve(free, reserve)
	switch full := free < reserve || spent; {
	case full && !g.full.Swap(true):
		d.log.Error("disk full: values are refused until disk-reserve and the space kept back for deletes are free", "free", free, "disk-reserve", reserve)
	case !full && g.full.Swap(false):
		d.log.Info("the disk has space again", "free", free)
	}
}

// checkFull returns ErrDiskFull while no values may be written.
func (g *diskGuard) checkFull() error {
	if g.full.Load() {
		return ErrDiskFull
	}
	return nil
}

// mayCompact reports whether a worker is to compact a shard: the first worker from compactAt on,
// the last one well before throttleAt.
func (g *diskGuard) mayCompact(worker int) bool {
	part := float64(worker) / compactors / 2
	return g.full.Load() || g.above(compactAt.factor+part*(throttleAt.factor-compactAt.factor), compactAt.extra+part*(throttleAt.extra-compactAt.extra))
}

func (g *diskGuard) mustThrottle() bool { return g.above(throttleAt.factor, throttleAt.extra) }

func (g *diskGuard) above(factor, extra float64) bool {
	return float64(g.disk.folder.Bytes()-g.disk.folder.Staged()) > factor*float64(g.live.Load())+extra-g.testSlack
}

// wait returns when a write may go on. It stops waiting when the shard is closed. The caller holds
// no lock.
func (g *diskGuard) wait(role *Role) error {
	if !g.disk.logged || !g.mustThrottle() { // without a log, writes do not go to the disk
		return nil
	}
	g.throttled.Add(1)
	for began := time.Now(); g.mustThrottle(); {
		if time.Since(began) > diskWait || !role.gate.isOpen() {
			return ErrDiskBusy
		}
		select {
		case g.kick <- struct{}{}:
		default: // the loop is awake already
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}
