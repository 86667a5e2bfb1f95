package protocol

import (
	"context"
	"slices"
	"time"

	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// How long a connection waits for the commit of what it changed, and for the leases of the shards that it
// read; how often it looks at the leases meanwhile, at first and then; and how long it still waits once the server stops.
const (
	commitWait = 5 * time.Second
	leaseWait  = time.Second
	roundStep  = 100 * time.Microsecond
	leaseStep  = 5 * time.Millisecond
	stopWait   = 500 * time.Millisecond
)

// settle waits until the unsettled replies are settled, and replaces those that turned out wrong by
// errors. The connection holds no shard.
func (c *conn) settle() {
	u := &c.unsettled
	if len(u.replies) == 0 {
		return
	}
	u.awaitCommits(c.server)
	u.awaitLeases(c.server)
	now := time.Now()
	var edits []resp.Edit
	for i := range u.replies {
		r := &u.replies[i]
		if err := r.outcome(c); err != nil {
			r.failed = true
			c.server.counters.unsettled.Add(1)
			if r.from < r.to {
				edits = append(edits, resp.Edit{From: r.from - c.sent, To: r.to - c.sent, Err: err})
			}
		}
		r.took = now.Sub(r.began)
		c.server.statistics.observe(r.row, r.slot, r.took, r.failed, r.bytesIn, r.bytesOut)
		c.server.recordSlow(c, r.row, r.began, r.took, func() []string { return u.args(r) })
	}
	before := c.replies.Out.Len()
	c.replies.ReplaceWithErrors(edits)
	c.replyFrom += c.replies.Out.Len() - before
	c.now = time.Time{}
	u.reset()
}

// outcome returns nil if the reply may be sent, and otherwise the error that the client gets in its
// place.
func (r *unsettledReply) outcome(c *conn) error {
	err := outcomeOf(r.future)
	for _, f := range r.futures {
		if err == nil {
			err = outcomeOf(f)
		}
	}
	switch {
	case err == nil && r.read != nil && !r.leased:
		return shard.ErrTryAgain
	case err == nil && r.copy.fresh != 0 && r.stale(c.server, c.server.store.Monotonic()):
		return c.server.router.redirectFor(&c.origin, c.server.router.cluster.Topology(), r.slot)
	}
	return err
}

func outcomeOf(f shard.Future) error {
	done, err := f.Done()
	if !done && err == nil {
		return shard.ErrLate
	}
	return err
}

// awaitCommits waits until all futures are complete, or for as long as a client waits. It begins with the newest ones: when the newest
// change of a shard is committed, so are those before it.
func (u *unsettled) awaitCommits(s *Server) {
	for i := len(u.replies) - 1; i >= 0; i-- {
		r := &u.replies[i]
		for _, f := range slices.Backward(r.futures) {
			u.latch.Add(f)
		}
		u.latch.Add(r.future)
	}
	u.latch.Wait(u.waits, time.Duration(s.commitWait.Load()))
}

// awaitLeases waits, within a limit, until all shards that were read have their lease, or their round to the ISR is over. A lease that has
// returned in the same leader epoch holds for earlier look-ups too.
func (u *unsettled) awaitLeases(s *Server) {
	if u.checkLeases(s.store.Monotonic()) {
		return
	}
	ctx, end := context.WithTimeout(u.waits, leaseWait)
	defer end()
	wait := roundStep
	step := time.NewTimer(wait)
	defer step.Stop()
	for {
		select {
		case <-step.C:
			if u.checkLeases(s.store.Monotonic()) {
				return
			}
			wait = min(2*wait, leaseStep)
			step.Reset(wait)
		case <-ctx.Done():
			return
		}
	}
}

// checkLeases notes which shards that were read have their lease at a time, and reports whether waiting
// is of no use for any of the others.
func (u *unsettled) checkLeases(now int64) (settled bool) {
	settled = true
	for i := range u.replies {
		r := &u.replies[i]
		if r.read == nil {
			continue
		}
		r.leased = r.read.Copies().Answers(r.asked, now)
		if r.read.LeaderEpoch() != r.epoch { // looked at last: the lease may be that of a later leader epoch
			r.leased = false
		} else if !r.leased {
			settled = false
		}
	}
	return settled
}
