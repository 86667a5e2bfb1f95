package reconcile

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// tickInterval is that of the ticks that package replica counts, and reportInterval is how often a report is repeated
// until the row has another epoch.
const (
	tickInterval   = 25 * time.Millisecond
	reportInterval = 100 * time.Millisecond
)

// copies are the copies of this node that count in their rows.
type copies struct {
	changed chan struct{} // the list was set; capacity 1

	mu       sync.Mutex // guards all below
	list     []countedCopy
	waiting  []countedCopy // those of list for which time matters
	complete bool          // every shard was read and taken to a row of a topology that has this incarnation of the node
}

// countedCopy is a copy in the ISR, or a learner, whose shard was taken to a row.
type countedCopy struct {
	shard topology.ShardID
	epoch uint64 // of the row
	leads bool   // the row names this node as the primary
	alone bool   // the row has no other copy
}

func (c *copies) set(list, waiting []countedCopy, complete bool) {
	c.mu.Lock()
	c.list, c.waiting, c.complete = list, waiting, complete
	c.mu.Unlock()
	notify(c.changed)
}

func (c *copies) get() (list []countedCopy, complete bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list, c.complete
}

func (c *copies) getWaiting() []countedCopy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// waiting returns the copies for which time matters: all but those of open shards that are alone in their ISR, which are
// most. Only the goroutine of Run makes another copy of one of these, by another row.
func (r *Reconciler) waiting(list []countedCopy) (waiting []countedCopy) {
	for _, c := range list {
		if of := r.config.Store.Shard(int(c.shard)); !of.Serving() || !of.Alone() || !c.alone {
			waiting = append(waiting, c)
		}
	}
	return waiting
}

// copiesOf returns the copies that a process has by a topology, of the shards that have been read.
func copiesOf(t *topology.Topology, self replica.Process, state func(topology.ShardID) shardState) (list []countedCopy) {
	if node, known := t.Node(topology.NodeID(self.Node)); !known || node.Incarnation != self.Incarnation {
		return nil
	}
	id := topology.NodeID(self.Node)
	for i := range t.Shards {
		row := &t.Shards[i]
		counts := slices.Contains(row.ISR, id) || slices.Contains(row.Learners, id)
		if counts && state(topology.ShardID(i)).ready {
			list = append(list, countedCopy{topology.ShardID(i), row.Epoch, row.Primary == id, len(row.ISR)+len(row.Learners) == 1})
		}
	}
	return list
}

// Tick ticks the node's copies until ctx is done, and sends what they report: at once when that changes, and again
// while it lasts. A copy that learns of a row looks at once whether it must report, so that a node that restarts alone
// does not wait for a tick. While time matters to no copy, nothing ticks: a node that only serves need not wake up.
func (r *Reconciler) Tick(ctx context.Context) {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	defer r.proposals.background.Wait()
	var (
		tick  uint64
		ticks = true // the ticker runs
		last  []topology.Report
		sent  time.Time
	)
	for {
		learned := false
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			tick = r.config.Store.CountTick()
		case <-r.copies.changed:
			learned = true
		}
		waiting := r.copies.getWaiting()
		reports, ops := r.tick(waiting, tick, learned)
		if len(reports) > 0 && (!slices.Equal(reports, last) || time.Since(sent) >= reportInterval) {
			r.config.Report(reports)
			sent = time.Now()
		}
		last = reports
		r.proposals.propose(ctx, ops)
		r.notice()
		needed := len(waiting) > 0 || !r.noticed
		switch {
		case needed && !ticks:
			ticker.Reset(tickInterval)
		case !needed && ticks:
			ticker.Stop()
		}
		ticks = needed
	}
}

// tick tells copies that time has passed, and returns what they report and propose. With learned, no tick has passed: only copies
// that may report are asked.
func (r *Reconciler) tick(waiting []countedCopy, tick uint64, learned bool) (reports []topology.Report, ops []topology.Op) {
	var now int64
	raftLeader := false
	opened := false
	for _, c := range waiting {
		of := r.config.Store.Shard(int(c.shard))
		open := of.Serving()
		if open && of.Alone() && c.alone { // it has opened since
			continue
		}
		if learned && c.leads { // there is nothing to report
			if p := of.Role().Proposal(); p != nil {
				ops = append(ops, r.opOf(c.shard, p))
			}
			continue
		}
		if now == 0 {
			now, raftLeader = r.config.Store.Monotonic(), r.config.HearsLeader()
		}
		wish := of.Role().Tick(now, tick, raftLeader)
		if wish.Report { // the copy may be in a later epoch by now; then the report counts for nothing
			reports = append(reports, topology.Report{
				Node: r.config.Self, Incarnation: r.config.Incarnation,
				Shard: c.shard, Epoch: c.epoch, Point: topology.Point{Epoch: wish.End.Epoch, Seq: wish.End.Seq},
			})
		}
		if wish.Proposal != nil {
			ops = append(ops, r.opOf(c.shard, wish.Proposal))
		}
		opened = opened || !open && of.Serving()
	}
	if opened {
		r.Wake()
	}
	return reports, ops
}
