package shard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
)

const (
	expiryInterval = 100 * time.Millisecond // between two rounds that free expired entries
	expiryBatch    = 256                    // entries freed under one lock of a shard
	trimInterval   = time.Second            // between two looks for idle memory
)

// Store is all the shards of a node.
type Store struct {
	process
	clock       Clock
	pool        *memory.Pool // for entries
	tablePool   memory.Pool  // for hash tables
	shards      []*Shard
	stats       storeStats
	memory      Memory
	evictor     evictor
	disk        Disk
	room        room
	pausedUntil atomic.Int64 // Unix time in ns until which nothing expires or is evicted; 0 for no pause

	context context.Context // of the goroutines that Open started
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// NewStore returns a store of n empty shards that are all served in one epoch, as a lone node
// serves them. The epoch is the first half of every version; it must be higher at each start, or
// versions repeat.
func NewStore(n int, epoch uint64, clock Clock, pool *memory.Pool) *Store {
	s := NewClosedStore(n, clock, pool)
	for _, sh := range s.shards {
		_ = sh.role.Open(epoch, 0) // no epoch is over, and there is no disk that could fail
	}
	return s
}

// NewClosedStore returns a store of n empty shards that are all closed. Entries live in pool.
func NewClosedStore(n int, clock Clock, pool *memory.Pool) *Store {
	s := &Store{pool: pool, shards: make([]*Shard, n), stop: func() {}}
	s.process.init(clock)
	s.clock = s.process.now
	s.memory.init(pool, &s.tablePool)
	s.disk.init(s)
	for i := range s.shards {
		s.shards[i] = newShard(i, s)
	}
	s.evictor = evictor{shards: s.shards, clock: s.clock}
	return s
}

// Open starts the background work: it frees expired entries and idle memory, and looks after the
// files.
func (s *Store) Open(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.context = ctx
	s.disk.open(ctx)
	s.memory.measure()
	s.done.Go(func() { freeLoop(s, ctx) })
}

func freeLoop(s *Store, ctx context.Context) {
	tick, trim := time.NewTicker(expiryInterval), time.NewTicker(trimInterval)
	defer tick.Stop()
	defer trim.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.memory.measure()
			for _, sh := range s.shards {
				for sh.Ready() && RemoveExpired(sh, expiryBatch) && ctx.Err() == nil {
				}
			}
			if !s.disk.Loading() {
				s.EvictFor(0)
			}
		case <-trim.C:
			expireRequests(s)
			s.Trim(false)
		}
	}
}

// Close ends what Open started. With a data folder it syncs everything and, if save is true, writes
// snapshots until ctx is done. Entries stay readable; writes fail.
func (s *Store) Close(ctx context.Context, save bool) error {
	s.stop()
	s.disk.end()
	s.done.Wait()
	return s.disk.close(ctx, save)
}

// Trim returns memory to the system that has been idle for some seconds, or at once. Called once a
// second, it also defragments the entries.
func (s *Store) Trim(atOnce bool) {
	s.memory.trim(atOnce)
	if !s.pool.Evacuating() {
		return
	}
	for _, sh := range s.shards {
		if sh.Ready() {
			sh.writer.mu.Lock()
			sh.index.mu.Lock()
			sh.index.defragment()
			sh.index.mu.Unlock()
			sh.writer.mu.Unlock()
		}
	}
}

// expireRequests frees the memory of expired requests. It skips shards that are in use until the next round.
func expireRequests(s *Store) {
	for _, sh := range s.shards {
		if sh.Ready() && sh.index.mu.TryLock() {
			sh.requests.expire(s.milliseconds())
			sh.index.mu.Unlock()
		}
	}
}

// Now returns the Unix time in ms by which the store hides expired keys.
func (s *Store) Now() int64 { return s.clock() }

// PauseRemovals keeps all keys until the given time: none expires or is evicted, so that clients
// can be moved or nodes compared. Reads still hide expired keys. The zero time ends the pause.
func (s *Store) PauseRemovals(until time.Time) {
	if until.IsZero() {
		s.pausedUntil.Store(0)
		return
	}
	s.pausedUntil.Store(until.UnixNano())
}

func removalsPaused(s *Store) bool {
	until := s.pausedUntil.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// Memory returns what the store knows about the memory of the process.
func (s *Store) Memory() *Memory { return &s.memory }

// Shard returns a shard by its number.
func (s *Store) Shard(id int) *Shard { return s.shards[id] }

// Count returns the number of shards.
func Count(s *Store) int { return len(s.shards) }

// shardOf returns the shard of a slot.
func shardOf(s *Store, slot int) *Shard { return s.shards[topology.ShardOf(slot, len(s.shards))] }

// Epoch returns the newest epoch that this node knows of any shard. All shards must be Ready.
func (s *Store) Epoch() (newest uint64) {
	for _, sh := range s.shards {
		newest = max(newest, sh.Epoch())
	}
	return newest
}

// Flush removes all keys of the shards that this node serves. After an error some of them may be left.
func (s *Store) Flush() (futures []Future, err error) {
	for _, sh := range s.shards {
		if sh.role.acquireSettled() {
			f, failed := sh.Flush()
			sh.Release()
			err = errors.Join(err, failed)
			if f != (Future{}) {
				futures = append(futures, f)
			}
		}
	}
	return futures, err
}

// Release frees all entries without logging it. The store must not be used afterwards.
func (s *Store) Release() {
	for _, sh := range s.shards {
		sh.writer.mu.Lock()
		sh.index.mu.Lock()
		sh.truncate(0)
		sh.index.release()
		sh.index.mu.Unlock()
		sh.writer.mu.Unlock()
	}
	s.memory.trimPools(true)
}
