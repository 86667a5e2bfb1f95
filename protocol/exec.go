package protocol

import "github.com/ndring/ndring/shard"

// exec executes what was queued.
func exec(c *call, x *conn) {
	if !x.tx.open {
		c.replies.Error(errExecAlone)
		return
	}
	defer x.endTransaction()
	if x.tx.failed {
		c.replies.Error(ErrExecAbort)
		return
	}
	var keys [][]byte
	for _, w := range x.tx.watched {
		keys = append(keys, []byte(w.key))
	}
	for _, q := range x.tx.queue {
		keys = q.row.AppendKeys(keys, q.Args)
	}
	slot, err := slotOf(keys)
	if err == nil && slot == noSlot {
		x.executeQueue(c, nil, nil, slot)
		return
	}
	if err == nil {
		err = x.execInside(c, slot)
	}
	if err != nil {
		c.replies.Error(err)
	}
}

// execInside executes the queue in the shard of a slot. Another node may serve the slot by now.
func (x *conn) execInside(c *call, slot int) error {
	inside, err := x.enter(slot)
	if err != nil {
		return err
	}
	defer inside.Release()
	before := c.replies.Out.Mark()
	c.future, err = inside.Update(x.tx.writes, func(tx *shard.Tx) {
		tx.By = x.id
		x.executeQueue(c, tx, inside, slot)
	})
	if x.tx.writes {
		x.written.change(inside, c.future)
	}
	if err != nil {
		c.replies.Out.Rollback(before) // nothing that the commands answered happened
	}
	return err
}

// executeQueue executes the queue, unless a watched key has changed.
func (x *conn) executeQueue(c *call, held keyspace, inside *shard.Shard, slot int) {
	for _, w := range x.tx.watched {
		if held.Mark([]byte(w.key)) != w.mark {
			c.replies.NullArray()
			return
		}
	}
	c.replies.Array(len(x.tx.queue))
	failures := c.replies.Errors()
	x.keys.shard = held
	defer func() {
		c.replies.SetErrors(failures) // a failed command does not make EXEC fail
		x.keys.shard = nil            // held ends with EXEC
	}()
	for _, q := range x.tx.queue {
		k := &call{row: q.row, args: q.Args, slot: noSlot, replies: c.replies, from: c.from}
		if q.row.Keys.Step != 0 {
			k.slot, k.keys = slot, x.keys.of(q.row, q.Args)
		}
		if err := x.login.permitQueued(k); err != nil {
			c.replies.Error(err)
			continue
		}
		if q.row.Keys.Step != 0 {
			x.server.tracker.reads(x, k, inside)
		}
		x.server.execute(x, k)
	}
}
