package reconcile

import (
	"context"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// confess returns what the node must propose because a start has found copies damaged: that their rows call them unclean.
// Until that is decided, raft might promote such a copy as a clean one, so it reports nothing.
//
// The cluster notices all damage once it has this start of the node, each shard has been read and taken to its row, and
// nothing is left to propose. Then confess calls Config.Noticed, once.
func (r *Reconciler) confess() (ops []topology.Op) {
	copies, complete := r.copies.get()
	if r.noticed || !complete {
		return nil
	}
	for _, c := range copies {
		p := r.config.Store.Shard(int(c.shard)).Role().Proposal()
		if p != nil && p.Kind == replica.MarkUnclean {
			ops = append(ops, topology.Op{Kind: topology.MarkUnclean, Shard: c.shard, Epoch: p.Epoch, Node: r.config.Self, Incarnation: r.config.Incarnation})
		}
	}
	if len(ops) == 0 {
		r.noticed = true
		r.config.Noticed()
	}
	return ops
}

// propose proposes ops once. Those that are refused, or whose outcome is unknown, are proposed again while the copies ask
// for it.
func (r *Reconciler) propose(ctx context.Context, ops []topology.Op) {
	_, err := r.config.Propose(ctx, topology.Command{Ops: ops})
	if err != nil {
		r.config.Log.Debug("the cluster does not know yet that copies are damaged", "shards", len(ops), "err", err)
		return
	}
	r.config.Log.Warn("told the cluster that copies of shards are damaged: they may lack writes", "shards", len(ops))
}
