package shard

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/replica"
)

// Primary is a shard as the copy that sends what it appends to the others.
type Primary struct{ s *Shard }

// Primary returns the shard as the copy that sends what it appends to the others.
func (s *Shard) Primary() Primary { return Primary{s} }

// Wish is what a copy wants from the cluster after a tick. It wants it again at each tick until its row has another epoch.
type Wish struct {
	Report   bool          // it hears no primary
	End      replica.Point // of its log, for the report
	Proposal *replica.Proposal

	expands bool // a copy may come into the ISR
}

// Tick tells the copy that a tick of 25 ms has passed. Now is the time of Store.Monotonic, and tick is what Store.CountTick
// returned.
func (r *Role) Tick(now int64, tick uint64, raftLeader bool) (w Wish) {
	if !r.ready.Load() {
		return w
	}
	w, turn := leading{r.writer.copy}.tick(now, tick, raftLeader)
	if turn {
		r.turnGateSoon()
	}
	if w.expands && r.expanding.CompareAndSwap(false, true) { // beside the ticks, which must not wait for a write
		go r.expand()
	}
	return w
}

// expand makes the primary propose a copy for the ISR. It holds off what is appended: a primary that is alone commits that at
// once, until the proposal.
func (r *Role) expand() {
	defer r.expanding.Store(false)
	r.writer.underway.awaitQuiet(context.Background())
	w := r.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.copy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	e := c.rules.Expand(c.heard, c.process.mono())
	c.follow(&e)
	c.gate.alone.Store(c.rules.Primary() && c.rules.Alone())
}

// turnGateSoon is turnGate for a caller that must not wait: while a row takes effect, or a handover begins, mu is held for as
// long as commands are inside.
func (r *Role) turnGateSoon() {
	if r.mu.TryLock() {
		defer r.mu.Unlock()
		r.turnGate()
	} else if r.turning.CompareAndSwap(false, true) {
		go func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.turning.Store(false)
			r.turnGate()
		}()
	}
}

// Proposal returns what the copy proposes to raft, for the caller to repeat until the row has another epoch; nil for nothing. A copy
// that a start has found damaged proposes that its row says so, and reports nothing before.
func (r *Role) Proposal() *replica.Proposal { return r.writer.copy.proposal() }

// Acked tells the primary what another copy has acknowledged.
func (r *Role) Acked(from replica.Process, ack replica.Ack) {
	if (leading{r.writer.copy}).acked(from, ack) {
		r.turnGateSoon()
	}
}

// Contact tells the primary that another copy has acknowledged a heartbeat, and with progress that it has taken bytes of a large
// value.
func (r *Role) Contact(from replica.Process, progress bool) {
	c := r.writer.copy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	c.rules.Contact(from, progress)
}

// Sync answers what another copy says about its log before it may append: Take and the seq behind which it truncates, Rebuild if it
// must install a whole copy, or Stale for no answer. A member of the ISR that must install is proposed for removal: writes would
// wait for it.
func (r *Role) Sync(from replica.Process, q SyncRequest) (after uint64, v replica.Verdict) {
	c := r.writer.copy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	after, v = c.rules.Sync(from, q.Epoch, q.Leader, q.Table, q.End)
	if v == replica.Take && q.Install {
		v = replica.Rebuild
	}
	if v == replica.Rebuild {
		c.rules.Forget(from)
		e := c.rules.Lagging(from)
		c.follow(&e)
	}
	return after, v
}

// Remove makes the primary propose that another copy leaves the ISR.
func (r *Role) Remove(from replica.Process) {
	c := r.writer.copy
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	e := c.rules.Lagging(from)
	c.follow(&e)
}

// How a handover goes: once the gate is closed, replies that were looked up before have replyTime to leave, as long as the
// lease lasts. Then other copies have handoverTime to acknowledge what is appended.
const (
	replyTime    = 5 * time.Millisecond
	handoverTime = 200 * time.Millisecond
)

// Transfer hands the shard over to a clean member of the ISR, or resigns if to is zero. It returns once that is proposed, or with an
// error after which the shard is served as before. In another epoch than that in which the caller has chosen the member it returns
// ErrOtherEpoch: there raft may refuse the handover for ever, for example because the member is leaving, and the shard would wait for it
// closed.
func (r *Role) Transfer(ctx context.Context, epoch uint64, to replica.Process) error {
	r.writer.underway.awaitQuiet(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("shard %d was not handed over: %w", r.shard, err)
	}
	if err := r.beginTransfer(epoch, to); err != nil {
		return err
	}
	limit := time.NewTimer(handoverTime)
	defer limit.Stop()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		if p := r.Proposal(); p != nil {
			return r.handedOver(p)
		}
		select {
		case <-look.C:
			continue
		case <-limit.C:
		case <-ctx.Done():
		}
		return r.endTransfer()
	}
}

// beginTransfer closes the gate and gives up the lease (R8).
func (r *Role) beginTransfer(epoch uint64, to replica.Process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := leading{r.writer.copy}
	if now := c.row().Epoch; now != epoch {
		return fmt.Errorf("shard %d: %w: it was planned for epoch %d, and it is epoch %d", r.shard, ErrOtherEpoch, epoch, now)
	}
	if !r.gate.isOpen() || r.handoverPending || r.closed || !c.mayTransfer(to) {
		return fmt.Errorf("shard %d cannot be handed over to %s now", r.shard, to.Node)
	}
	r.gate.close()
	time.Sleep(replyTime)
	if !c.transfer(to) {
		r.turnGate()
		return fmt.Errorf("shard %d cannot be handed over to %s now", r.shard, to.Node)
	}
	return nil
}

// endTransfer serves the shard again, unless the handover is proposed.
func (r *Role) endTransfer() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !(leading{r.writer.copy}).reopen() {
		return r.handedOver(r.Proposal())
	}
	r.turnGate()
	return fmt.Errorf("shard %d was not handed over: its other copies are too far behind", r.shard)
}

// handedOver returns nil if a proposal, or its outcome, ends a handover as it should. The removal of a copy that has lagged may come before
// the handover: the next epoch then opens the shard again.
func (r *Role) handedOver(p *replica.Proposal) error {
	if p != nil && p.Kind != replica.Handover && p.Kind != replica.Resign {
		return fmt.Errorf("shard %d was not handed over: a copy that lags is being removed first", r.shard)
	}
	return nil
}

// leading is a copy as Role uses it while its node may be the primary.
type leading struct{ *localCopy }

// tick passes a tick on to the rules, and reports whether the gate is to be looked at.
func (c leading) tick(now int64, tick uint64, raftLeader bool) (w Wish, turn bool) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	e := c.rules.Tick(now, tick, raftLeader)
	c.follow(&e)
	leads := c.rules.Primary()
	w = Wish{Report: c.rules.Reporting(), End: c.rules.End(), Proposal: c.rules.Proposal()}
	w.expands = leads && c.rules.MayExpand(c.heard, now)
	return w, leads && c.gateDiffers()
}

// gateDiffers reports whether the gate is open and should not be, or should be and is not.
func (c leading) gateDiffers() bool { return (c.opens && !c.closes) != c.gate.isOpen() }

// acked passes an acknowledgement on to the rules, and reports whether the gate differs from what they say.
func (c leading) acked(from replica.Process, ack replica.Ack) (turn bool) {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	e := c.rules.Acked(from, ack)
	c.follow(&e)
	return c.rules.Primary() && c.gateDiffers()
}

// mayTransfer reports whether the rules would hand over.
func (c leading) mayTransfer(to replica.Process) bool {
	c.index.mu.RLock()
	defer c.index.mu.RUnlock()
	return c.rules.MayTransfer(to)
}

// transfer makes the rules hand over, and reports whether they do.
func (c leading) transfer(to replica.Process) bool {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if !c.rules.MayTransfer(to) {
		return false
	}
	e := c.rules.Transfer(to)
	c.follow(&e)
	return true
}

// reopen ends a handover that is not proposed, and reports whether it did.
func (c leading) reopen() bool {
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if c.rules.Proposal() != nil {
		return false
	}
	e := c.rules.Reopen()
	c.follow(&e)
	return true
}

// Fresh returns the commit index, and whether the primary has the lease at a time: then nothing is committed beyond it.
func (p Primary) Fresh(now int64) (commit uint64, leased bool) {
	s := p.s
	_, leased = s.Leased(now)
	return s.commitIndex(), leased
}

// stuckTime is how long a write to the log may take before the primary gives up its leases (R9).
const stuckTime = time.Second

// Stuck reports whether the shard cannot be written to: its log has failed, or a write to it has been under way for long.
func (p Primary) Stuck() bool {
	s := p.s
	writing, now := s.writer.writing.Load(), s.store.mono()
	switch {
	case writing == 0 || s.stuck.seq.Load() != writing:
		s.stuck.seq.Store(writing)
		s.stuck.since.Store(now)
	case now-s.stuck.since.Load() > int64(stuckTime):
		return true
	}
	return s.writer.logged && s.writer.log.Err() != nil
}

// stuck is the write to the log that Stuck has seen under way, and since when.
type stuck struct {
	seq   atomic.Uint64
	since atomic.Int64
}
