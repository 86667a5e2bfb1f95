package shard

import (
	"errors"
	"fmt"

	"github.com/ndring/ndring/persistence"
)

var (
	// ErrEpoch is returned when a shard is to be opened in an epoch that is over.
	ErrEpoch = errors.New("the shard has been in a later epoch")
	// ErrOffered is returned when a shard is to be opened in the epoch in which it was closed to be handed over: only Reopen, or a later epoch, takes that back.
	ErrOffered = errors.New("the shard is being handed over in this epoch")
	// ErrNotRecovered is returned when a shard is to be opened or cleared that is not yet read from disk.
	ErrNotRecovered = errors.New("the shard is still being read from disk")
)

// Open lets this node serve the shard, in an epoch that is not over. Born is the epoch in which the shard last began empty: a copy that has nothing of it or
// of a later one is void, and is cleared before anybody enters. A shard that is open in an earlier epoch is closed first, as by Close, and
// stays so if the copy cannot be cleared.
func (s *Shard) Open(epoch, born uint64) error {
	g := &s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch last := s.epoch.Load(); {
	case !s.ready.Load():
		return fmt.Errorf("shard %d: %w", s.id, ErrNotRecovered)
	case epoch < max(last, born, 1):
		return fmt.Errorf("shard %d: %w: %d comes after %d", s.id, ErrEpoch, max(last, born), epoch)
	case epoch == last && g.isOpen():
		return nil
	case epoch == last && g.offered:
		return fmt.Errorf("shard %d: %w", s.id, ErrOffered)
	}
	g.close()
	g.offered = false
	if err := s.begin(epoch, born); err != nil {
		return fmt.Errorf("shard %d cannot be served: %w", s.id, err)
	}
	g.open()
	return nil
}

// Close keeps everybody out, and returns when all that were inside have left.
func (s *Shard) Close() {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	s.gate.close()
	s.gate.offered = false
}

// CloseIfEmpty closes a shard that is open in an epoch and has no entry, expired or not, to hand it over: when it returns true, nobody is inside, and nothing that was
// acknowledged is left. Reopen takes it back. A shard that is in a later epoch by now is left alone: nobody would open it again.
func (s *Shard) CloseIfEmpty(epoch uint64) bool {
	g := &s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen() || s.epoch.Load() != epoch || s.counts.keys.Load() > 0 { // those inside need not be waited for to see that
		return false
	}
	g.close()
	if g.offered = s.counts.keys.Load() == 0; !g.offered {
		g.open()
	}
	return g.offered
}

// Reopen opens the shard again that CloseIfEmpty has closed, unless Close or Open came in between.
func (s *Shard) Reopen() {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	if s.gate.offered {
		s.gate.offered = false
		s.gate.open()
	}
}

// Enter reports whether this node serves the shard; then it does so, in the same epoch, until the caller's Leave. Whoever reads or writes for a client
// does it in between. Enter never waits.
func (s *Shard) Enter() bool { return s.gate.enter() }

// enterSettled is Enter for who walks all shards: one that only goes from one epoch to the next is waited for, and not passed over. The caller is within no shard.
func (s *Shard) enterSettled() bool {
	if s.gate.enter() {
		return true
	}
	s.gate.mu.Lock() // while it is held by another one, the gate is about to be open or closed
	defer s.gate.mu.Unlock()
	return s.gate.enter()
}

// Leave ends what Enter began.
func (s *Shard) Leave() { s.gate.leave() }

// Serving reports whether this node serves the shard now.
func (s *Shard) Serving() bool { return s.gate.isOpen() }

// WhenOpen returns a channel that is closed when the gate opens the next time.
func (s *Shard) WhenOpen() <-chan struct{} { return s.gate.whenOpen() }

// Epoch returns the newest epoch that the shard has been in here: that in which it is served, or was last, or what was read from disk. It does not change
// between Enter and Leave.
func (s *Shard) Epoch() uint64 { return s.epoch.Load() }

// Newest returns the epoch of the local copy, and the seq of its newest change. The shard must be Ready.
func (s *Shard) Newest() (epoch, seq uint64) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.epoch.Load(), s.seq
}

// Epoch returns the newest epoch that any shard has been in here. All shards must be Ready.
func (s *Store) Epoch() (newest uint64) {
	for _, sh := range s.shards {
		newest = max(newest, sh.Epoch())
	}
	return newest
}

// begin takes the shard to an epoch. Its gate is closed.
func (s *Shard) begin(epoch, born uint64) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	void := s.epoch.Load() < born
	if before := s.epoch.Swap(epoch); void {
		if err := s.clearVoid(); err != nil {
			s.epoch.Store(before)
			return err
		}
	}
	return nil
}

// ClearVoid clears a copy of a shard that this node does not serve if it is older than born, the epoch in which the shard last began empty: nobody will want
// it, and it takes memory. It stays in its epoch, and so void: that it is empty does not make it a copy of what others have stored since.
func (s *Store) ClearVoid(shard int, born uint64) error {
	sh := s.shards[shard]
	sh.gate.mu.Lock()
	defer sh.gate.mu.Unlock()
	switch {
	case !sh.ready.Load():
		return fmt.Errorf("shard %d: %w", shard, ErrNotRecovered)
	case sh.gate.isOpen() || sh.epoch.Load() >= born:
		return nil
	}
	sh.gate.offered = false
	sh.writing.Lock()
	defer sh.writing.Unlock()
	if sh.entries.count == 0 && len(sh.requests.index) == 0 {
		return nil
	}
	if err := sh.clearVoid(); err != nil {
		return fmt.Errorf("the void copy of shard %d cannot be cleared: %w", shard, err)
	}
	return nil
}

// clearVoid takes all away that the shard has, in the epoch that it is in. The shard is held for writing, its gate is closed.
//
// The Flush survives the end of the process. After a loss of power it may be missing, but then so is all that came behind it in the log: what comes back is of the
// old epoch, and void again.
func (s *Shard) clearVoid() error {
	if s.seq > 0 { // then there are records, of entries or of requests
		if _, err := s.record(change{kind: persistence.Flush, reason: persistence.Stale}); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.requests = requestLog{}
	return nil
}
