package protocol

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/protocol/command"
)

// identity is what a client says about itself. It is replaced, never changed, so that others may read it.
type identity struct {
	name, library, libraryVersion string
	proto                         int // 2 or 3
	noEvict, noTouch, readOnly    bool
	tracking, broadcast           bool // CLIENT TRACKING
}

// activity is what CLIENT LIST shows of a connection to other clients.
type activity struct {
	since       time.Time
	identity    atomic.Pointer[identity]
	lastCommand atomic.Pointer[command.Spec]
	lastUse     atomic.Int64 // Unix time in ms
	lastServed  atomic.Int64 // when a command for a key last found its shard here, Unix time in ms
	redirected  atomic.Int64 // when the client last got a redirect, Unix time in ms
	queueShown  atomic.Int64 // commands between MULTI and EXEC, -1 outside

	killed     atomic.Bool // by CLIENT KILL, which counts a connection once
	descriptor int         // of the socket, -1 for none
	usage
}

// usage is the memory of a connection, in bytes, when it last waited for its client.
type usage struct {
	unread, free         atomic.Int64 // of the read buffer
	args, queued         atomic.Int64 // of the command that is being read, and of those queued for EXEC
	replies, replyBuffer atomic.Int64 // not sent yet, and the memory that holds them
	replyPeak            atomic.Int64 // the most that was sent at once
}

// change replaces the identity with an edited copy. Only the connection's goroutine calls it.
func (a *activity) change(edit func(*identity)) {
	changed := *a.identity.Load()
	edit(&changed)
	a.identity.Store(&changed)
}

// used records that a command is being executed.
func (a *activity) used(row *command.Spec, now time.Time) {
	a.lastCommand.Store(row)
	a.lastUse.Store(now.UnixMilli())
}

// routed records whether a command for a key found its shard here, or was redirected.
func (a *activity) routed(err error) {
	var to redirect
	switch {
	case err == nil:
		a.lastServed.Store(a.lastUse.Load())
	case errors.As(err, &to):
		a.redirected.Store(time.Now().UnixMilli())
	}
}

// unaware reports whether the client may still take this node for the primary of shards that other nodes serve since then: it has
// used this node within a time before, and was not redirected after. One that uses shards that have stayed here does not count.
func (a *activity) unaware(since time.Time, within time.Duration) bool {
	served := a.lastServed.Load()
	return served >= since.Add(-within).UnixMilli() && served <= since.UnixMilli() && a.redirected.Load() <= since.UnixMilli()
}
