package shard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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
	clock       Clock
	pool        *memory.Pool // of the entries
	tablePool   memory.Pool  // of their indexes
	shards      []*Shard
	tables      tables
	memory      Memory
	pausedUntil atomic.Int64 // Unix time in ns until which nothing expires or is evicted; 0 for no pause
	disk        Disk
	context     context.Context // of what Open started
	stop        context.CancelFunc
	done        sync.WaitGroup
}

// NewStore returns a store of n empty shards that are all served, in one epoch, as a node alone does. The epoch is the first half of each version; it must be higher at
// each start, so that versions never repeat.
func NewStore(n int, epoch uint64, clock Clock, pool *memory.Pool) *Store {
	s := NewClosedStore(n, clock, pool)
	for _, sh := range s.shards {
		sh.epoch.Store(epoch)
		sh.role.gate.open()
	}
	return s
}

// NewClosedStore returns a store of n empty shards whose entries lie in pool. None is served before it is opened.
func NewClosedStore(n int, clock Clock, pool *memory.Pool) *Store {
	s := &Store{clock: clock, pool: pool, shards: make([]*Shard, n), stop: func() {}}
	s.memory.init(pool, &s.tablePool)
	s.disk.store = s
	s.disk.kick = make(chan struct{}, 1)
	s.disk.frame = unframed
	s.disk.config.Store(&DiskConfig{Fsync: FsyncEverysec})
	for i := range s.shards {
		s.shards[i] = &Shard{id: i, clock: clock, store: s}
		s.shards[i].role.init(s.shards[i])
	}
	return s
}

// Open starts the freeing of expired entries and of memory that nobody needs.
func (s *Store) Open(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	s.context = ctx
	s.openDisk(ctx)
	s.memory.measure()
	s.done.Go(func() {
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
					for sh.role.ready.Load() && sh.RemoveExpired(expiryBatch) && ctx.Err() == nil {
					}
				}
				if !s.disk.Loading() {
					s.EvictFor(0)
				}
			case <-trim.C:
				s.forgetRequests()
				s.Trim(false)
			}
		}
	})
}

// Close ends what Open started. With a data folder, everything is synced; save says that snapshots are written too, as long as ctx lasts. The
// entries stay readable, and nothing can be written any more.
func (s *Store) Close(ctx context.Context, save bool) error {
	s.stop()
	s.done.Wait()
	return s.closeDisk(ctx, save)
}

// Trim gives memory back to the system that nobody has needed for some seconds, or at once: that of the pools, and that of the Go heap. Called once a second, it
// also moves entries together that lie scattered.
func (s *Store) Trim(atOnce bool) {
	s.memory.trim(atOnce)
	if s.pool.Evacuating() {
		for _, sh := range s.shards {
			if sh.role.ready.Load() {
				sh.compact()
			}
		}
	}
}

// compact moves entries out of slabs that are mostly empty.
func (s *Shard) compact() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, slot := range s.entries.slots {
		if slot == 0 {
			continue
		}
		e := s.entries.entry(uint64(i))
		if !e.buffer().Evacuating() || e.buffer().Shared() {
			continue
		}
		moved := (*Entry)(s.store.pool.Copy(e.buffer().Bytes())) // with the references to its other buffers
		s.account(e, -1)
		s.account(moved, 1)
		if e.ExpireAt() != 0 {
			s.deadlines.replace(e, moved)
		}
		s.entries.slots[i] = slot>>refBits<<refBits | uint64(moved.buffer().Addr())
		e.buffer().Release()
	}
}

// Now returns the Unix time in ms by which the store hides what has expired.
func (s *Store) Now() int64 { return s.clock() }

// PauseRemovals keeps all keys until the given time: none expires or is evicted, so that clients can be moved or nodes compared. Reads still hide expired keys.
// The zero time ends the pause.
func (s *Store) PauseRemovals(until time.Time) {
	if until.IsZero() {
		s.pausedUntil.Store(0)
		return
	}
	s.pausedUntil.Store(until.UnixNano())
}

func (s *Store) removalsPaused() bool {
	until := s.pausedUntil.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// Memory returns what the store knows about the memory of the process.
func (s *Store) Memory() *Memory { return &s.memory }

// Shard returns a shard by its number.
func (s *Store) Shard(id int) *Shard { return s.shards[id] }

// Flush removes all keys of the shards that this node serves. After an error some of them may be left.
func (s *Store) Flush() error {
	var err error
	for _, sh := range s.shards {
		if sh.role.acquireSettled() {
			err = errors.Join(err, sh.Flush())
			sh.Release()
		}
	}
	return err
}

// Release lets all entries go, without a word to the log. Nobody uses the store afterwards.
func (s *Store) Release() {
	for _, sh := range s.shards {
		sh.writing.Lock()
		sh.mu.Lock()
		sh.entries.each(func(e *Entry) bool {
			e.Release()
			return true
		})
		sh.entries.release()
		sh.deadlines = nil
		sh.mu.Unlock()
		sh.writing.Unlock()
	}
	s.memory.trimPools(true)
}
