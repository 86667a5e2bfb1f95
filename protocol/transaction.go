package protocol

import (
	"errors"
	"unsafe"

	"github.com/ndring/ndring/cluster/topology"
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
	row *Command
	*resp.Kept
}

type watched struct {
	key  string
	mark shard.Mark
}

// queue keeps a command for EXEC.
func (c *conn) queue(row *Command) {
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
	t.writes = t.writes || row.Flags&Write != 0
	if row.Flags&DenyOOM != 0 {
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

func multi(c *call) {
	if c.tx.open {
		c.replies.Error(errNestedMulti)
		return
	}
	c.tx.open = true
	c.queueShown.Store(0)
	c.replies.OK()
}

func discard(c *call) {
	if !c.tx.open {
		c.replies.Error(errDiscardAlone)
		return
	}
	c.endTransaction()
	c.replies.OK()
}

func watch(c *call) {
	if c.tx.open {
		c.replies.Error(errWatchInMulti)
		return
	}
	keys := c.keys()
	cost := c.tx.cost
	for _, key := range keys {
		cost += len(key) + int(unsafe.Sizeof(watched{}))
	}
	if cost > maxWatched {
		c.replies.Error(errTooManyWatched)
		return
	}
	if len(c.tx.watched) > 0 && topology.Slot([]byte(c.tx.watched[0].key)) != c.slot {
		c.replies.Error(ErrCrossSlot)
		return
	}
	for _, key := range keys {
		c.tx.watched = append(c.tx.watched, watched{string(key), c.shard.Mark(key)})
	}
	c.tx.cost = cost
	c.replies.OK()
}

func unwatch(c *call) {
	c.tx.watched, c.tx.cost = nil, 0
	c.replies.OK()
}

func exec(c *call) {
	if !c.tx.open {
		c.replies.Error(errExecAlone)
		return
	}
	defer c.endTransaction()
	if c.tx.failed {
		c.replies.Error(ErrExecAbort)
		return
	}
	var keys [][]byte
	for _, w := range c.tx.watched {
		keys = append(keys, []byte(w.key))
	}
	for _, q := range c.tx.queue {
		keys = q.row.appendKeys(keys, q.Args)
	}
	slot, err := slotOf(keys)
	if err == nil && slot == noSlot {
		c.executeQueue(nil, slot)
		return
	}
	if err == nil {
		err = c.execInside(slot)
	}
	if err != nil {
		c.replies.Error(err)
	}
}

// execInside does what was queued in the shard of a slot, which may be another node's by now.
func (c *call) execInside(slot int) error {
	inside, err := c.server.enter(c.conn, slot)
	if err != nil {
		return err
	}
	defer inside.Release()
	before := c.replies.Out.Mark()
	err = inside.Update(c.tx.writes, func(tx *shard.Tx) { c.executeQueue(tx, slot) })
	if err != nil {
		c.replies.Out.Rollback(before) // nothing that the commands answered happened
	}
	return err
}

// executeQueue does what was queued, unless a watched key is not what it was.
func (c *call) executeQueue(held keyspace, slot int) {
	for _, w := range c.tx.watched {
		if held.Mark([]byte(w.key)) != w.mark {
			c.replies.NullArray()
			return
		}
	}
	c.replies.Array(len(c.tx.queue))
	failures := c.replies.Errors()
	defer func() { c.replies.SetErrors(failures) }() // EXEC has not failed where a command inside it has
	for _, q := range c.tx.queue {
		of := slot
		if q.row.Keys.Step == 0 {
			of = noSlot
		}
		c.server.execute(&call{conn: c.conn, row: q.row, args: q.Args, shard: held, slot: of})
	}
}
