package shard

import (
	"context"
	"fmt"

	"github.com/ndring/ndring/persistence"
)

// Future is a handle on a change that is appended: it completes when the change is committed and, under
// appendfsync always, synced. The zero Future is complete.
//
// A Future is a value. Waiting takes no lock for longer than a moment, so whoever holds the shard's gate
// leaves it first: a later epoch may have to close it before the wait can end.
type Future struct {
	shard *Shard
	end   persistence.Position // of the log that must be synced; 0 for none
}

// Shard returns the shard of the change; nil for the zero Future.
func (f Future) Shard() *Shard { return f.shard }

// Visible reports whether the change is committed, though perhaps not synced.
func (f Future) Visible() bool { return true }

// Done reports whether the future is complete, without waiting, and with which error.
func (f Future) Done() (bool, error) {
	if f.shard == nil {
		return true, nil
	}
	synced, err := f.shard.writer.log.Synced(f.end)
	if synced || err == nil {
		return synced, nil
	}
	return true, errUnsynced(err)
}

// Wait returns when the future is complete: nil if the change is committed, and ErrUncertain if it may be
// lost. It returns ErrUncertain when ctx is done as well.
func (f Future) Wait(ctx context.Context) error {
	if f.shard == nil {
		return nil
	}
	if err := f.shard.writer.log.Sync(f.end); err != nil {
		return errUnsynced(err)
	}
	return nil
}

func errUnsynced(err error) error {
	return fmt.Errorf("%w: the write is done, but a restart may lose it: %w", ErrUncertain, err)
}
