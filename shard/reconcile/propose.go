package reconcile

import (
	"context"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// How often a proposal is repeated until the row has another epoch, how long one attempt may take, and how many are under way at
// once.
const (
	proposeInterval = 100 * time.Millisecond
	proposeTime     = 2 * time.Second
	maxProposals    = 8
)

// proposals takes what copies propose to raft's leader, and repeats it while they do: a refusal does not end a proposal,
// since an earlier attempt may still be under way. Only another epoch of the row does.
type proposals struct {
	config     *Config
	sent       map[topology.ShardID]sentProposal
	slots      chan struct{}
	background sync.WaitGroup
}

type sentProposal struct {
	op topology.Op
	at time.Time
}

// propose sends what is new or due again. Ops are all that copies propose now.
func (p *proposals) propose(ctx context.Context, ops []topology.Op) {
	if len(ops) == 0 {
		clear(p.sent)
		return
	}
	var due []topology.Op
	now := time.Now()
	for _, op := range ops {
		last, known := p.sent[op.Shard]
		if known && last.op.Kind == op.Kind && last.op.Epoch == op.Epoch && last.op.Node == op.Node && now.Sub(last.at) < proposeInterval {
			continue
		}
		due = append(due, op)
	}
	if len(due) == 0 {
		return
	}
	select {
	case p.slots <- struct{}{}:
	default:
		return // the next tick tries again
	}
	for _, op := range due {
		p.sent[op.Shard] = sentProposal{op, now}
	}
	p.background.Go(func() {
		defer func() { <-p.slots }()
		p.send(ctx, due)
	})
}

// send proposes ops once.
func (p *proposals) send(ctx context.Context, ops []topology.Op) {
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	errs, err := p.config.Propose(ctx, topology.Command{Ops: ops})
	marked, refused := 0, 0
	for i, e := range errs {
		switch {
		case e != nil:
			err = e
			refused++
		case ops[i].Kind == topology.MarkUnclean:
			marked++
		}
	}
	if err != nil {
		p.config.Log.Debug("proposals of copies were not decided", "proposals", len(ops), "refused", refused, "err", err)
	}
	if marked > 0 {
		p.config.Log.Warn("told the cluster that copies of shards are damaged: they may lack writes", "shards", marked)
	}
}

// opOf returns a proposal of a copy as an op.
func (r *Reconciler) opOf(id topology.ShardID, p *replica.Proposal) (op topology.Op) {
	op = topology.Op{Shard: id, Epoch: p.Epoch, Node: topology.NodeID(p.Target.Node), Incarnation: p.Target.Incarnation}
	switch p.Kind {
	case replica.Shrink:
		op.Kind, op.Incarnation = topology.ShrinkISR, 0
	case replica.Expand:
		op.Kind = topology.ExpandISR
	case replica.Handover:
		op.Kind = topology.TransferPrimary
	case replica.Resign:
		op.Kind, op.Node, op.Incarnation = topology.Resign, r.config.Self, 0
	case replica.MarkUnclean:
		op.Kind, op.Node, op.Incarnation = topology.MarkUnclean, r.config.Self, r.config.Incarnation
	}
	return op
}

// notice calls Config.Noticed, once: when the cluster knows which copies a start has found damaged. That is so once it has this
// start of the node, each shard has been read and taken to its row, and no copy that does not serve proposes anything.
func (r *Reconciler) notice() {
	copies, complete := r.copies.get()
	if r.noticed || !complete {
		return
	}
	for _, c := range copies {
		of := r.config.Store.Shard(int(c.shard))
		if of.Serving() {
			continue
		}
		if p := of.Role().Proposal(); p != nil && (p.Kind == replica.MarkUnclean || p.Kind == replica.Resign) {
			return
		}
	}
	r.noticed = true
	r.config.Noticed()
}
