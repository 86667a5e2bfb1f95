package shard

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/ndring/ndring/internal/waitlock"
	"github.com/ndring/ndring/replica"
)

var (
	// ErrEpoch is returned when a shard is to be opened in an epoch that is over.
	ErrEpoch = errors.New("the epoch is over")
	// ErrOtherEpoch is returned when a shard is in another epoch than the one for which a handover was planned.
	ErrOtherEpoch = errors.New("the handover is out of date")
	// ErrHandoverPending is returned when a shard is to be opened in the epoch in which
	// CloseIfEmpty closed it: only Reopen, or a later epoch, opens it again.
	ErrHandoverPending = errors.New("the shard is being handed over in this epoch")
	// ErrNotRecovered is returned when a shard is to be opened or cleared before it has been read
	// from disk.
	ErrNotRecovered = errors.New("the shard is still being read from disk")
)

// Role says whether this node serves a shard, and in which epoch. The reconciler sets it; commands
// enter through its gate.
type Role struct {
	shard  int
	store  *Store
	writer *writer
	gate   *gate
	ready  atomic.Bool // the shard has been recovered; until then only the recovery touches its data

	expanding atomic.Bool // expand is running or about to
	turning   atomic.Bool // a goroutine waits for mu to turn the gate

	mu              waitlock.Lock // held to open or close the gate, also while that waits; guards all below
	handoverPending bool          // CloseIfEmpty closed the gate
	closed          bool          // the gate stays closed until the next row, whatever the rules of the copy say
}

func (r *Role) init(shard int, store *Store, w *writer, g *gate) {
	r.shard, r.store, r.writer, r.gate = shard, store, w, g
	r.mu = waitlock.New()
	r.gate.init(&store.process.feed)
	r.ready.Store(true)
}

// Open makes this node serve a shard of which it has the only copy, in an epoch that is not over: a leader epoch of its
// own. EmptySince is the epoch in which the shard last began empty.
func (r *Role) Open(epoch, emptySince uint64) error {
	self := r.store.self
	return r.Configure(replica.Config{Epoch: epoch, LeaderEpoch: epoch, Born: emptySince, Primary: self, ISR: []replica.Process{self}})
}

// Configure takes this copy of the shard to a row. The caller passes each row that it learns, in order; rows may be
// missing.
//
// If the row names this process as the primary in a new leader epoch, the gate closes, as Close does it, and opens when the
// rules of package replica allow it. A copy older than the epoch in which the shard last began empty is stale and
// cleared first; if it cannot be cleared, the gate stays closed. A later epoch of the same leader epoch takes
// effect while commands are inside. If the row names another primary, the gate closes, and those who wait for a commit
// learn that its outcome is uncertain.
func (r *Role) Configure(row replica.Config) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ready.Load() {
		return fmt.Errorf("shard %d: %w", r.shard, ErrNotRecovered)
	}
	if row.LeaderEpoch == 0 { // rows of programs before this one have none
		row.LeaderEpoch = row.Epoch
	}
	w := r.writer
	before := w.copy.row()
	if sameRow(&before, &row) && !r.handoverPending && !r.closed && r.gate.isOpen() == w.copy.mayOpen() {
		return nil
	}
	if row.Primary != r.store.self {
		return r.follow(row, before.Epoch)
	}
	newest := max(w.epoch.Load(), before.Epoch, row.Born, 1)
	goesOn := before.Primary == r.store.self && before.LeaderEpoch == row.LeaderEpoch
	switch {
	case row.Epoch < newest:
		return fmt.Errorf("shard %d: %w: the newest is %d, requested %d", r.shard, ErrEpoch, newest, row.Epoch)
	case row.Epoch == w.epoch.Load() && r.handoverPending:
		return fmt.Errorf("shard %d: %w", r.shard, ErrHandoverPending)
	case !goesOn:
		r.gate.close()
	}
	r.handoverPending = false
	if err := w.lead(row); err != nil {
		r.gate.close()
		r.closed = true
		return fmt.Errorf("cannot serve shard %d: %w", r.shard, err)
	}
	r.closed = false
	r.turnGate()
	return nil
}

// sameRow reports whether two rows differ in nothing.
func sameRow(a, b *replica.Config) bool {
	return a.Epoch == b.Epoch && a.LeaderEpoch == b.LeaderEpoch && a.Born == b.Born && a.Primary == b.Primary &&
		a.Relinquished == b.Relinquished && a.Unsealed == b.Unsealed &&
		slices.Equal(a.ISR, b.ISR) && slices.Equal(a.Unclean, b.Unclean) && slices.Equal(a.Learners, b.Learners) && slices.Equal(a.Assigned, b.Assigned)
}

// follow takes the copy to a row of which this process is not the primary. The caller holds mu.
func (r *Role) follow(row replica.Config, newest uint64) error {
	r.gate.close()
	r.handoverPending = false
	if row.Epoch < newest {
		return fmt.Errorf("shard %d: %w: the newest is %d, requested %d", r.shard, ErrEpoch, newest, row.Epoch)
	}
	return r.writer.follow(row)
}

// turnGate opens or closes the gate as the rules of the copy say. The caller holds mu.
func (r *Role) turnGate() {
	switch may := r.writer.copy.mayOpen() && !r.handoverPending && !r.closed; {
	case may && !r.gate.isOpen():
		r.gate.open()
	case !may && r.gate.isOpen():
		r.gate.close()
	}
}

// Close closes the gate and returns when the last command has left.
func (r *Role) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate.close()
	r.handoverPending, r.closed = false, true
}

// CloseIfEmpty closes a shard that is open in the given epoch and has no entry, expired or not, so
// that it can be handed over. When it returns true, no command is inside and the shard holds no
// acknowledged value. Reopen undoes it. A shard in a later epoch stays open: nothing would reopen
// it.
func (r *Role) CloseIfEmpty(epoch uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	copy := r.writer.copy
	if !r.gate.isOpen() || !r.gate.Alone() || r.writer.epoch.Load() != epoch || !copy.idle() { // this needs no wait for the commands inside
		return false
	}
	r.gate.close()
	if r.handoverPending = copy.idle(); !r.handoverPending {
		r.gate.open()
	}
	return r.handoverPending
}

// Reopen opens a shard that CloseIfEmpty closed, unless Close or Open was called since.
func (r *Role) Reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handoverPending {
		r.handoverPending = false
		r.gate.open()
	}
}

// acquireSettled is Shard.Acquire for a walk over all shards: it waits for a shard that is moving
// from one epoch to the next instead of skipping it. The caller holds no shard.
func (r *Role) acquireSettled() bool {
	if r.gate.enter() {
		return true
	}
	r.mu.Lock() // another holder is about to open or close the gate
	defer r.mu.Unlock()
	return r.gate.enter()
}

// Role returns the role of this node for the shard.
func (s *Shard) Role() *Role { return &s.role }

// Acquire reports whether this node serves the shard. If so, it serves it in the same epoch until
// the caller's Release. Every read or write for a client happens in between. Acquire never waits.
func (s *Shard) Acquire() bool { return s.gate.enter() }

// Release ends what Acquire began.
func (s *Shard) Release() { s.gate.leave() }

// Serving reports whether this node serves the shard now.
func (s *Shard) Serving() bool { return s.gate.isOpen() }

// WhenOpen returns a channel that is closed when the gate next opens.
func (r *Role) WhenOpen() <-chan struct{} { return r.gate.whenOpen() }

// Ready reports whether the shard has been recovered.
func (s *Shard) Ready() bool { return s.role.ready.Load() }
