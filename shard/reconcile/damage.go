package reconcile

import (
	"context"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// damageOps returns what the node must propose because a start has found copies damaged: that their rows call them unclean,
// and before that, where such a copy was made the primary meanwhile, that it resigns. Until that is decided, raft might
// promote such a copy as a clean one, so it reports nothing.
//
// The cluster notices all damage once it has this start of the node, each shard has been read and taken to its row, and
// nothing is left to propose. Then damageOps calls Config.Noticed, once.
func (r *Reconciler) damageOps() (ops []topology.Op) {
	copies, complete := r.copies.get()
	if r.noticed || !complete {
		return nil
	}
	for _, c := range copies {
		of := r.config.Store.Shard(int(c.shard))
		if of.Serving() {
			continue
		}
		if op, damaged := r.damageOp(c.shard, of.Role().Proposal()); damaged {
			ops = append(ops, op)
		}
	}
	if len(ops) == 0 {
		r.noticed = true
		r.config.Noticed()
	}
	return ops
}

// damageOp returns a proposal as an op, if only a damaged copy that does not serve makes it.
func (r *Reconciler) damageOp(id topology.ShardID, p *replica.Proposal) (op topology.Op, damaged bool) {
	if p == nil {
		return op, false
	}
	op = topology.Op{Shard: id, Epoch: p.Epoch, Node: r.config.Self}
	switch p.Kind {
	case replica.MarkUnclean:
		op.Kind, op.Incarnation = topology.MarkUnclean, r.config.Incarnation
	case replica.Resign:
		op.Kind = topology.Resign
	default:
		return op, false
	}
	return op, true
}

// propose proposes ops once. Those that are refused, or whose outcome is unknown, are proposed again while the copies ask
// for it.
func (r *Reconciler) propose(ctx context.Context, ops []topology.Op) {
	errs, err := r.config.Propose(ctx, topology.Command{Ops: ops})
	marked := 0
	for i, refused := range errs {
		if refused != nil {
			err = refused
		} else if ops[i].Kind == topology.MarkUnclean {
			marked++
		}
	}
	if err != nil {
		r.config.Log.Debug("the cluster does not know yet that copies are damaged", "shards", len(ops)-marked, "err", err)
	}
	if marked > 0 {
		r.config.Log.Warn("told the cluster that copies of shards are damaged: they may lack writes", "shards", marked)
	}
}
