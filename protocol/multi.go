package protocol

import (
	"unsafe"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

// queue queues a command for EXEC.
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
		t.copyBytes += resp.SmallBytes(kept.Args)
	}
	c.queueShown.Store(int64(len(t.queue)))
	c.replies.Simple("QUEUED")
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
