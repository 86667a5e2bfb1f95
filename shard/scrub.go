package shard

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/persistence"
)

// scrubber reads cold files slowly and compares their CRC32Cs, to find damage while memory still
// has the values.
type scrubber struct {
	disk                  *Disk
	bytes, shards, rounds atomic.Int64 // totals
}

// scrubPause is the time between two rounds.
const scrubPause = 10 * time.Second

func (c *scrubber) loop(ctx context.Context) {
	for {
		if c.disk.config.Load().ScrubRate > 0 && !c.disk.Loading() {
			for _, sh := range c.disk.shards {
				if ctx.Err() != nil {
					return
				}
				c.scrubShard(ctx, sh)
			}
			c.rounds.Add(1)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(scrubPause):
		}
	}
}

// scrubShard reads the files of one shard and repairs damage.
func (c *scrubber) scrubShard(ctx context.Context, sh *Shard) {
	log := c.disk.log.With("shard", sh.id)
	damage, err := sh.writer.log.Scrubber().Scrub(c.throttle(ctx))
	if err != nil {
		log.Warn("cannot read the files of a shard", "err", err)
	}
	c.shards.Add(1)
	if len(damage) == 0 {
		return
	}
	for _, d := range damage {
		c.disk.reportDamage(d, log)
	}
	repaired := c.repairBlobs(sh)
	if err := sh.snapshots.write(true); ctx.Err() != nil {
		return // the next start repairs it
	} else if err != nil {
		log.Error("cannot repair the damage", "err", err)
		return
	}
	c.disk.counters.damageRepaired.Add(int64(len(damage)))
	log.Info("damage repaired: a snapshot of the values in memory has replaced the files", "blobs", repaired)
}

// throttle returns a function that keeps to the scrub rate. It returns false to end the scrub.
func (c *scrubber) throttle(ctx context.Context) func(n int64) bool {
	began, read := time.Now(), int64(0)
	return func(n int64) bool {
		c.bytes.Add(n)
		read += n
		for {
			rate := c.disk.config.Load().ScrubRate
			if rate <= 0 {
				return false
			}
			ahead := time.Duration(float64(read)/float64(rate)*float64(time.Second)) - time.Since(began)
			if ahead <= 0 {
				return ctx.Err() == nil
			}
			select {
			case <-ctx.Done():
				return false
			case <-time.After(min(ahead, time.Second)):
			}
		}
	}
}

// repairBlobs rewrites the damaged blobs of a shard from memory and returns how many it has
// repaired. It skips blobs without an entry: they are deleted with their snapshot.
func (c *scrubber) repairBlobs(sh *Shard) (repaired int) {
	for _, id := range sh.writer.log.Scrubber().DamagedBlobs() {
		e := sh.index.byBlob(id)
		if e == nil {
			continue
		}
		v := Value{NPY: e.NPY(), Attrs: e.Attrs(), Parts: e.Parts()}
		err := e.Verify()
		if err == nil {
			err = sh.writer.log.Scrubber().RewriteBlob(id, v.payload(nil))
		}
		e.Release()
		if err != nil {
			c.disk.log.Error("cannot repair a damaged blob", "shard", sh.id, "blob", id.String(), "err", err)
			continue
		}
		repaired++
	}
	return repaired
}

// byBlob returns the entry that has a blob, with a reference; nil if there is none.
func (x *index) byBlob(id persistence.BlobID) (found *Entry) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.table.each(func(e *Entry) bool {
		if e.blob() == id {
			e.retain()
			found = e
		}
		return found == nil
	})
	return found
}
