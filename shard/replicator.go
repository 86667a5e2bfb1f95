package shard

import (
	"context"
	"log/slog"
	"time"

	"github.com/ndring/ndring/replica"
)

// Replicator carries changes to the other copies of shards. A store without one has only shards of one copy.
type Replicator interface {
	// Configure takes a shard to a row: this process is its primary and sends what it appends to the members, or it is not
	// and there are none. In another leader epoch a member is first asked what it has.
	Configure(shard int, row replica.Config, members []replica.Process)
	// Enqueue sends a batch to a process, once Send is called, or much is enqueued, or a heartbeat leaves. The order of the
	// calls is the order on the wire. It is called while the shard's writes are locked, so it must not wait, and it copies
	// what it keeps.
	Enqueue(to replica.Process, shard int, batch *Batch)
	// Send sends what is enqueued for the processes that get the batches of a shard.
	Send(shard int)
	// Upload sends a value to the members of the ISR ahead of its record, and returns when they have it. A member that cannot be
	// reached, or not before ctx ends, is left out: it gets the value when it catches up. An error says that a member refuses it.
	Upload(ctx context.Context, shard int, value Large) error
	// Room returns a channel that is closed when there may be room for more changes of a shard; nil if there is room now.
	Room(shard int) <-chan struct{}
	// Full returns what is exhausted at members of a shard's ISR: AckMemoryFull, AckDiskFull, both or neither. Each write asks, so it takes no lock.
	Full(shard int) replica.AckFlags
	// Heard returns when the newest heartbeat that a process has acknowledged for a shard in a leader epoch left, by
	// Store.Monotonic; math.MinInt64 for none.
	Heard(from replica.Process, shard int, leader uint64) int64
	// Round sends a heartbeat to each process that the shard is sent to. It returns at once.
	Round(shard int)
}

// UseReplicator makes the store send changes to other copies. Frame is as in UseDisk. Call it before the first Role.Configure.
func (s *Store) UseReplicator(r Replicator, frame func(n int) (before, after []byte), log *slog.Logger) {
	s.replicator = r
	s.disk.frame, s.disk.log = frame, log
}

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
		room, crowded := replicator.Room(r.shard), r.writer.copy.crowded()
		if room == nil && !crowded {
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

// upload sends the large values of prepared writes to the other copies ahead of their records. It stops waiting when the gate
// closes. On an error it gives the values back. The caller holds no lock.
func upload(s *Shard, writes ...*Write) (err error) {
	r := s.store.replicator
	if r == nil || s.Alone() {
		return nil
	}
	waited := false
	for _, w := range writes {
		if err == nil && payloadBytes(w.entry) > UploadBytes && mayHappen(s, w) {
			w.upload = s.store.nextUpload()
			if !waited {
				s.writer.underway.awaitProposed()
				waited = true
			}
			ctx, cancel := s.gate.whileOpen()
			err = r.Upload(ctx, s.id, Large{w.upload, w.entry})
			cancel()
		}
	}
	if err != nil {
		for _, w := range writes {
			s.writer.discard(w.entry, true)
		}
	}
	return err
}

// mayHappen reports whether the condition of a write holds now. If it does not, the value need not travel. Should it hold when the write is
// decided, the value follows as in a catch-up.
func mayHappen(s *Shard, w *Write) bool {
	if w.Condition == Always {
		return true
	}
	c := &s.localCopy
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	old, _ := c.find(w.Key)
	return w.conditionHolds(old)
}

func uploadAll(s *Shard, writes []Write) error {
	all := make([]*Write, len(writes))
	for i := range writes {
		all[i] = &writes[i]
	}
	return upload(s, all...)
}

// whileOpen returns a context that ends soon after the gate begins to close.
func (g *gate) whileOpen() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		step := time.NewTicker(roomStep)
		defer step.Stop()
		for ctx.Err() == nil && g.isOpen() {
			select {
			case <-step.C:
			case <-ctx.Done():
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// sendNow makes what a shard has appended leave for the other copies at once.
func (p *process) sendNow(shard int) {
	if p.replicator != nil {
		p.replicator.Send(shard)
	}
}
