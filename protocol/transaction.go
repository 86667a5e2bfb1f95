package protocol

import (
	"errors"
	"unsafe"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

var (
	// ErrExecAbort is returned by EXEC when a command was refused as it was queued.
	ErrExecAbort = errors.New("Transaction discarded because of previous errors.")

	errExecRejected   = errors.New("Transaction discarded because of")
	errNoMulti        = errors.New("Command not allowed inside a transaction")
	errNestedMulti    = errors.New("MULTI calls can not be nested")
	errWatchInMulti   = errors.New("WATCH inside MULTI is not allowed")
	errExecAlone      = errors.New("EXEC without MULTI")
	errDiscardAlone   = errors.New("DISCARD without MULTI")
	errTooManyQueued  = errors.New("too many commands in one transaction")
	errTooManyWatched = errors.New("the watched keys have too many bytes")
)

// Bounds of what one connection may have waiting for its EXEC.
const (
	maxQueued  = 64 << 10  // commands
	maxWatched = 256 << 10 // bytes of watched keys, and what each costs beside
)

// transaction is what lies between MULTI, or WATCH, and EXEC. All keys of one are of one slot: EXEC holds the one shard that they are in, so
// that nothing of others comes in between. Only the connection's own goroutine uses it.
type transaction struct {
	open    bool  // after MULTI
	failed  bool  // a command was refused: EXEC will be
	writes  bool  // a queued command writes
	stores  int64 // bytes that the queued commands would have the store copy
	queue   []queued
	watched []watched
	cost    int // of watched, in bytes
}

type queued struct {
	row *command.Spec
	*resp.Kept
}

type watched struct {
	key  string
	mark shard.Mark
}

// queue keeps a command for EXEC.
func (c *conn) queue(row *command.Spec) {
	t := &c.tx
	kept, err := (*resp.Kept)(nil), errTooManyQueued
	if len(t.queue) < maxQueued {
		kept, err = c.reader.Keep()
	}
	if err != nil {
		t.failed = true
		c.replies.Error(err)
		return
	}
	t.queue = append(t.queue, queued{row, kept})
	t.writes = t.writes || row.Flags&command.Write != 0
	if row.Flags&command.DenyOOM != 0 {
		t.stores += resp.SmallBytes(kept.Args)
	}
	c.queueShown.Store(int64(len(t.queue)))
	c.replies.Simple("QUEUED")
}

// endTransaction forgets all that was queued and watched.
func (c *conn) endTransaction() {
	for _, q := range c.tx.queue {
		c.reader.Drop(q.Kept)
	}
	c.tx = transaction{}
	c.queueShown.Store(-1)
}

func multi(c *call, x *conn) {
	if x.tx.open {
		c.replies.Error(errNestedMulti)
		return
	}
	x.tx.open = true
	x.queueShown.Store(0)
	c.replies.OK()
}

func discard(c *call, x *conn) {
	if !x.tx.open {
		c.replies.Error(errDiscardAlone)
		return
	}
	x.endTransaction()
	c.replies.OK()
}

func watch(c *call, x *conn) {
	if x.tx.open {
		c.replies.Error(errWatchInMulti)
		return
	}
	keys := c.keys
	cost := x.tx.cost
	for _, key := range keys {
		cost += len(key) + int(unsafe.Sizeof(watched{}))
	}
	if cost > maxWatched {
		c.replies.Error(errTooManyWatched)
		return
	}
	if len(x.tx.watched) > 0 && topology.Slot([]byte(x.tx.watched[0].key)) != c.slot {
		c.replies.Error(ErrCrossSlot)
		return
	}
	for _, key := range keys {
		x.tx.watched = append(x.tx.watched, watched{string(key), x.keys.shard.Mark(key)})
	}
	x.tx.cost = cost
	c.replies.OK()
}

func unwatch(c *call, x *conn) {
	x.tx.watched, x.tx.cost = nil, 0
	c.replies.OK()
}
