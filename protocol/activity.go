package protocol

import (
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/protocol/command"
)

// identity is what a client has said of itself. It is replaced, never changed, so that others may read it.
type identity struct {
	name, library, libraryVersion string
	proto                         int // 2 or 3
	noEvict, noTouch, readOnly    bool
}

// activity is what CLIENT LIST tells of a connection to others.
type activity struct {
	since       time.Time
	identity    atomic.Pointer[identity]
	lastCommand atomic.Pointer[command.Spec]
	lastUse     atomic.Int64 // Unix time in ms
	queueShown  atomic.Int64 // commands between MULTI and EXEC, -1 outside

	killed     atomic.Bool // by CLIENT KILL, which counts a connection once
	descriptor int         // of the socket, -1 for none
	usage
}

// usage is the memory of a connection, in bytes, as of the last time that it waited for its client.
type usage struct {
	unread, free         atomic.Int64 // of the read-ahead buffer
	args, queued         atomic.Int64 // of the command that is on its way in, and of those between MULTI and EXEC
	replies, replyBuffer atomic.Int64 // what is not handed over for sending, and the memory that it lies in
	replyPeak            atomic.Int64 // the most that was handed over at once
}

// change replaces the identity by one that edit has changed. Only the connection's own goroutine calls it.
func (a *activity) change(edit func(*identity)) {
	changed := *a.identity.Load()
	edit(&changed)
	a.identity.Store(&changed)
}

// used notes that a command is being executed.
func (a *activity) used(row *command.Spec, now time.Time) {
	a.lastCommand.Store(row)
	a.lastUse.Store(now.UnixMilli())
}
