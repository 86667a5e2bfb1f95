package shard

import (
	"context"
	"sync"
	"time"
)

// How often expired entries are freed, and how many of a shard before its lock is let go for others.
const (
	expiryInterval = 100 * time.Millisecond
	expiryBatch    = 256
)

// Store is all the shards of a node.
type Store struct {
	clock  Clock
	shards []*Shard
	tables tables
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// NewStore returns a store of n empty shards. The epoch is the first half of each version; a node without a log must
// give a higher one at each start, so that versions never repeat.
func NewStore(n int, epoch uint64, clock Clock) *Store {
	s := &Store{clock: clock, shards: make([]*Shard, n), stop: func() {}}
	for i := range s.shards {
		s.shards[i] = &Shard{clock: clock, epoch: epoch, tables: &s.tables, entries: make(map[string]*Entry)}
	}
	return s
}

// Open starts the freeing of expired entries.
func (s *Store) Open(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.done.Go(func() {
		tick := time.NewTicker(expiryInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				for _, sh := range s.shards {
					for sh.RemoveExpired(expiryBatch) && ctx.Err() == nil {
					}
				}
			}
		}
	})
}

// Close ends what Open started. The entries stay readable.
func (s *Store) Close() {
	s.stop()
	s.done.Wait()
}

// Now returns the Unix time in ms by which the store hides what has expired.
func (s *Store) Now() int64 { return s.clock() }

// Shard returns a shard by its number.
func (s *Store) Shard(id int) *Shard { return s.shards[id] }

// Flush removes all keys of all shards.
func (s *Store) Flush() {
	for _, sh := range s.shards {
		sh.Flush()
	}
}
