package shard

import (
	"context"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/ndring/ndring/memory"
)

// How often expired entries are freed, and how many of a shard before its lock is let go for others; how often memory that nobody needs is
// looked for.
const (
	expiryInterval = 100 * time.Millisecond
	expiryBatch    = 256
	trimInterval   = time.Second
)

// Store is all the shards of a node.
type Store struct {
	clock     Clock
	pool      *memory.Pool // of the entries
	tablePool memory.Pool  // of their indexes
	shards    []*Shard
	tables    tables
	eviction  eviction
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// NewStore returns a store of n empty shards whose entries lie in pool. The epoch is the first half of each version; a node without a log must
// give a higher one at each start, so that versions never repeat.
func NewStore(n int, epoch uint64, clock Clock, pool *memory.Pool) *Store {
	s := &Store{clock: clock, pool: pool, shards: make([]*Shard, n), stop: func() {}}
	s.eviction.config.Store(&MemoryConfig{Policy: NoEviction, Samples: DefaultSamples, LFULogFactor: DefaultLFULogFactor, LFUDecay: DefaultLFUDecay})
	for i := range s.shards {
		s.shards[i] = &Shard{clock: clock, epoch: epoch, store: s}
	}
	return s
}

// Open starts the freeing of expired entries and of memory that nobody needs.
func (s *Store) Open(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.measure()
	s.done.Go(func() {
		tick, trim := time.NewTicker(expiryInterval), time.NewTicker(trimInterval)
		defer tick.Stop()
		defer trim.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.measure()
				for _, sh := range s.shards {
					for sh.RemoveExpired(expiryBatch) && ctx.Err() == nil {
					}
				}
				s.MakeRoom(0)
			case <-trim.C:
				s.Trim(false)
			}
		}
	})
}

// Close ends what Open started. The entries stay readable.
func (s *Store) Close() {
	s.stop()
	s.done.Wait()
}

// Trim gives memory back to the system that nobody has needed for some seconds, or at once. Called once a second, it also moves entries together that
// lie scattered.
func (s *Store) Trim(atOnce bool) {
	s.pool.Trim(atOnce)
	s.tablePool.Trim(atOnce)
	if s.pool.Leaving() {
		for _, sh := range s.shards {
			sh.compact()
		}
	}
}

// compact moves entries out of slabs that are mostly empty.
func (s *Shard) compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, slot := range s.entries.slots {
		if slot == 0 {
			continue
		}
		e := s.entries.entry(uint64(i))
		if !e.buffer().Sparse() || e.buffer().Shared() {
			continue
		}
		moved := (*Entry)(s.store.pool.Copy(e.buffer().Bytes())) // with the references to its other buffers
		s.account(e, -1)
		s.account(moved, 1)
		if e.ExpireAt() != 0 {
			s.deadlines.replace(e, moved)
		}
		s.entries.slots[i] = slot>>refBits<<refBits | uint64(moved.buffer().Ref())
		e.buffer().Release()
	}
}

// measure finds out what the program itself needs, beside its buffers.
func (s *Store) measure() {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	other := int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
	if memory.OnGoHeap {
		other = max(0, other-s.pool.Allocated()-s.tablePool.Allocated())
	}
	_, files := memory.Process()
	s.eviction.other.Store(other + files)
	s.Peak()
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
