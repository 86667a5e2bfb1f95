package protocol

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

// dispatch executes a command, or queues it within a transaction, and writes its reply.
func (s *Server) dispatch(c *conn, args []resp.Arg) {
	k := &c.request
	k.begin(args)
	ref, err := s.prepare(c, k)
	if err != nil && k.row == nil && speaksHTTP(args[0].Bytes()) {
		s.endHTTP(c)
		return
	}
	if err != nil {
		c.refuseCommand(k.row, err)
		return
	}
	if c.tx.open && k.row.Flags&command.Control == 0 {
		c.queue(k.row)
		return
	}
	switch {
	case ref.fresh != 0:
		s.executeOnCopy(c, k, ref)
		return
	case k.slot != noSlot:
		s.executeInside(c, k, ref)
		return
	}
	if c.unsettled.changes > 0 && k.row.Name == "exec" { // it must see what the client has changed before
		c.settle()
		s.tracker.tell(c)
	}
	s.execute(c, k)
}

// prepare finds the command's row and its shard, and returns an error if it cannot be executed.
func (s *Server) prepare(c *conn, k *call) (ref shardRef, err error) {
	c.login.follow()
	row, err := s.table.LookUp(k.args)
	if err == nil {
		k.row = row
		if !row.ArityMatches(len(k.args)) {
			err = row.ArityError()
		}
	}
	switch {
	case !c.authenticated && (row == nil || row.Flags&command.NoAuth == 0):
		return ref, ErrNoAuth
	case err != nil:
		return ref, err
	case c.tx.open && row.Flags&command.NoMulti != 0:
		return ref, errNoMulti
	}
	if row.Keys.Step != 0 {
		k.keys = c.keys.of(row, k.args)
	}
	if err := c.login.authorize(k); err != nil {
		return ref, err
	}
	if err := c.reserved.admit(c, row); err != nil {
		return ref, err
	}
	c.waitForPause(row)
	switch {
	case row.Flags&command.DenyOOM != 0:
		if err := s.evictFor(resp.SmallBytes(k.args)); err != nil {
			return ref, err
		}
	case row.Name == "exec" && c.tx.copyBytes > 0:
		if err := s.evictFor(c.tx.copyBytes); err != nil {
			return ref, err
		}
	}
	if row.Keys.Step == 0 {
		if row.Flags&command.Loading == 0 && s.store.Disk().Loading() {
			return ref, ErrLoading
		}
		return ref, nil
	}
	slot, err := slotOf(k.keys)
	if err == nil && slot != noSlot {
		k.slot = slot
		if ref, err = s.router.locate(&c.origin, slot); err != nil {
			if local, ok := s.router.locateCopy(c, row, slot); ok {
				return local, nil
			}
			c.routed(err)
		}
	}
	return ref, err
}

// executeInside executes a command on keys while it holds their shard. A client sees what it has changed:
// a command that only reads first waits for the commit of the client's own changes. One that writes need
// not: its conditions see what is appended.
func (s *Server) executeInside(c *conn, k *call, ref shardRef) {
	inside := ref.shard
	if k.row.Flags&command.Write == 0 && c.unsettled.hide(inside) {
		c.settle()
		s.tracker.tell(c)
	}
	if !ref.acquire() {
		var err error
		if inside, err = c.enter(k.slot); err != nil {
			c.refuseCommand(k.row, err)
			return
		}
	}
	c.keys.held.hold(inside)
	defer c.keys.held.leave() // also after a panic
	c.keys.shard = &c.keys.held
	s.tracker.reads(c, k, inside)
	s.execute(c, k)
	c.routed(nil)
}

// execute calls the handler of a command and records its result, at once unless the reply must be settled.
// The shard of the command's keys is held.
func (s *Server) execute(c *conn, k *call) {
	began := c.now
	if began.IsZero() { // otherwise the command arrived together with the last one, which has just ended
		began = time.Now()
	}
	c.used(k.row, began)
	errorsBefore, outer := c.replies.Errors(), c.replyFrom
	c.replyFrom = c.sent + c.replies.Out.Len()
	s.run(c, k)
	from, to := c.replyFrom, c.sent+c.replies.Out.Len()
	c.replyFrom = outer // of EXEC, if this command was queued
	took := time.Since(began)
	c.now = began.Add(took) // cheaper than reading the clock again
	c.quit = c.quit || k.close
	failed, bytesIn := c.replies.Errors() > errorsBefore, int64(0)
	if k.slot != noSlot {
		bytesIn = resp.WireSize(k.args)
	}
	if k.row.Flags&command.Audited != 0 {
		s.audit(c, k, failed)
	}
	if k.row.Flags&command.Write != 0 {
		c.written.add(k, &c.keys.held, s.router)
	}
	if k.mustSettle(&c.keys.held) {
		c.unsettled.add(k, result{k.row, k.slot, began, took, failed, bytesIn, to - from}, from, to)
		return
	}
	s.statistics.observe(k.row, k.slot, took, failed, bytesIn, to-from)
	s.recordSlow(c, k.row, began, took, func() []string { return shown(k) })
}

// mustSettle reports whether the reply to a command that has just ended must wait for a commit, needs a
// lease, or comes from a copy that may grow old before it is sent.
func (k *call) mustSettle(h *heldShard) bool {
	if k.copy.fresh != 0 {
		return true
	}
	if h.Shard != nil {
		if h.future.Shard() != nil {
			k.future = h.future
		} else if !h.Alone() {
			k.read = h.Shard
		}
	}
	return k.futures != nil || k.read != nil || k.future.Shard() != nil
}

// result is what became of a command whose reply must be settled.
type result struct {
	row               *command.Spec
	slot              int // of its keys, or noSlot
	began             time.Time
	took              time.Duration
	failed            bool
	bytesIn, bytesOut int64 // of a command with keys
}

// recordSlow adds a command to the slow log and to the latency events if it took long. Args returns what the
// slow log shows of it.
func (s *Server) recordSlow(c *conn, row *command.Spec, began time.Time, took time.Duration, args func() []string) {
	config := s.config.Load()
	if config.SlowlogSlowerThan >= 0 && took >= config.SlowlogSlowerThan && row.Flags&command.NoSlowlog == 0 {
		s.slowlog.add(slowEntry{at: began, took: took, args: args(), addr: c.origin.address(), name: c.identity.Load().name}, config.SlowlogMaxLen)
	}
	if config.LatencyThreshold > 0 && took >= config.LatencyThreshold {
		s.latency.add(row, began, took)
	}
}

// refuseCommand answers a command that is not executed; row is nil if it is unknown. The transaction that
// it was to join fails.
func (c *conn) refuseCommand(row *command.Spec, err error) {
	c.tx.failed = c.tx.open
	if row != nil {
		c.server.statistics.commands[row.Index].rejected.Add(1)
		if row.Name == "exec" && !errors.Is(err, ErrNoAuth) {
			c.endTransaction()
			err = fmt.Errorf("%w: %s", errExecRejected, strings.TrimPrefix(wireError(err), "ERR "))
		}
	}
	c.replies.Error(err)
}
