package shard

import (
	"context"
	"sync/atomic"
	"time"
)

// scrubState is what the scrubber counts.
type scrubState struct{ bytes, shards, rounds atomic.Int64 }

// scrubPause is how long the scrubber waits when it has read everything, or has nothing to do.
const scrubPause = 10 * time.Second

// scrub reads cold files again, slowly, and compares their CRC32Cs, so that damage is found while memory still has the values.
func (s *Store) scrub(ctx context.Context) {
	for {
		if s.disk.config.Load().ScrubRate > 0 && !s.disk.Loading() {
			for _, sh := range s.shards {
				if ctx.Err() != nil {
					return
				}
				s.scrubShard(ctx, sh)
			}
			s.disk.scrubbing.rounds.Add(1)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(scrubPause):
		}
	}
}

// scrubShard reads the files of one shard, and repairs what is damaged.
func (s *Store) scrubShard(ctx context.Context, sh *Shard) {
	began, read := time.Now(), int64(0)
	damage, err := sh.log.Scrub(func(n int64) bool {
		s.disk.scrubbing.bytes.Add(n)
		read += n
		for {
			rate := s.disk.config.Load().ScrubRate
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
	})
	if err != nil {
		s.disk.log.Warn("a shard's files cannot be read", "shard", sh.id, "err", err)
	}
	s.disk.scrubbing.shards.Add(1)
	if len(damage) == 0 {
		return
	}
	for _, d := range damage {
		s.disk.damage.found.Add(1)
		s.disk.log.Error("damage on disk", "shard", sh.id, "file", d.File, "offset", d.Offset, "bytes", d.Bytes, "what", d.What)
	}
	repaired := sh.repairBlobs()
	if err := sh.snapshot(true); err != nil {
		s.disk.log.Error("damage cannot be repaired", "shard", sh.id, "err", err)
		return
	}
	s.disk.damage.repaired.Add(int64(len(damage)))
	s.disk.log.Info("damage is repaired: a snapshot of what memory has took the place of the files", "shard", sh.id, "blobs", repaired)
}

// repairBlobs gives the values of damaged blobs new ones.
func (s *Shard) repairBlobs() (repaired int) {
	for _, id := range s.log.DamagedBlobs() {
		var found *Entry
		s.mu.RLock()
		s.entries.each(func(e *Entry) bool {
			if e.blob() == id {
				e.retain()
				found = e
			}
			return found == nil
		})
		s.mu.RUnlock()
		if found == nil {
			continue // no value has it: it goes with its snapshot
		}
		v := Value{NPY: found.NPY(), Attrs: found.Attrs(), Parts: found.Parts()}
		err := found.Verify()
		if err == nil {
			err = s.log.RewriteBlob(id, v.payload(nil))
		}
		found.Release()
		if err != nil {
			s.store.disk.log.Error("a damaged file cannot be repaired", "shard", s.id, "blob", id.String(), "err", err)
			continue
		}
		repaired++
	}
	return repaired
}
