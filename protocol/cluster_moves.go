package protocol

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
	"github.com/ndring/ndring/protocol/resp"
)

// Placements is the part of Cluster that is about where copies of shards should be.
type Placements interface {
	// PlanMoves returns what would carry a wish out. It asks all nodes, or until ctx is done, for their room and their sizes.
	PlanMoves(context.Context, topology.Wish) (*view.Plan, error)
	// CarryMoves carries a wish out if the placement is that of an index; 0 is any. It returns how many shards get other places, when that
	// is decided, or ctx is done.
	CarryMoves(context.Context, topology.Wish, uint64) (int, error)
	// Stay makes a node stay that leaves or is drained. It returns when that is decided, or ctx is done.
	Stay(context.Context, topology.NodeID) error
	// Moves returns the copies on their way, and those that wait. It asks all nodes, or until ctx is done, how far they are.
	Moves(context.Context) *view.Moves
	// Load returns what this node says about its room and its shards.
	Load() topology.Load
}

// order is a command about moves: what is wished, and how.
type order struct {
	wish topology.Wish
	plan bool   // only show what would move
	base uint64 // index of the placement that the plan was made from; 0: any
}

// parseOrder reads what follows the operands of a command about moves: [PLAN | AT index].
func parseOrder(c *call, from int, wish topology.Wish) (o order, err error) {
	o.wish = wish
	switch left := len(c.args) - from; {
	case left == 0:
	case left == 1 && c.option(from) == "PLAN":
		o.plan = true
	case left == 2 && c.option(from) == "AT":
		n, ok := resp.ParseInt(c.arg(from + 1))
		if !ok || n < 0 {
			return o, fmt.Errorf("Invalid index of a placement: %.64s", c.arg(from+1))
		}
		o.base = uint64(n)
	default:
		return o, errSyntax
	}
	return o, nil
}

// run carries an order out, or shows what it would move.
func (o order) run(c *call, r *router) {
	if _, member := r.cluster.Topology().Node(r.cluster.Self()); !member {
		c.replies.Error(r.notInCluster())
		return
	}
	if !o.plan {
		r.decide(c, func(ctx context.Context) error {
			_, err := r.cluster.CarryMoves(ctx, o.wish, o.base)
			return err
		})
		return
	}
	var plan *view.Plan
	err := r.decision(func(ctx context.Context) (err error) { plan, err = r.cluster.PlanMoves(ctx, o.wish); return err })
	if err != nil {
		c.replies.Error(err)
		return
	}
	writeJSON(c, plan.Encode)
}

func writeJSON(c *call, encode func() ([]byte, error)) {
	text, err := encode()
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Text(string(text))
}

// runOrder parses the rest of a command, and runs it.
func runOrder(c *call, r *router, from int, wish topology.Wish) {
	o, err := parseOrder(c, from, wish)
	if err != nil {
		c.replies.Error(err)
		return
	}
	o.run(c, r)
}

// clusterRebalance gives each node its share of the shards.
func clusterRebalance(c *call, r *router) { runOrder(c, r, 2, topology.Wish{Rebalance: true}) }

// named returns the node whose id is an argument. It writes an error if there is none.
func (r *router) named(c *call, i int) (topology.NodeID, bool) {
	id := topology.NodeID(c.arg(i))
	if _, known := r.cluster.Topology().Node(id); !known {
		c.replies.Error(errUnknownNode(c.arg(i)))
		return "", false
	}
	return id, true
}

// clusterDrain takes all copies from a node, which stays a member.
func clusterDrain(c *call, r *router) {
	if id, ok := r.named(c, 2); ok {
		runOrder(c, r, 3, topology.Wish{Drain: id})
	}
}

// clusterUndrain makes a node stay that leaves or is drained.
func clusterUndrain(c *call, r *router) {
	id, ok := r.named(c, 2)
	if !ok {
		return
	}
	if n, _ := r.cluster.Topology().Node(id); n.State == topology.Active {
		c.replies.Error(fmt.Errorf("%s is neither drained nor leaving", label(n)))
		return
	}
	r.decide(c, func(ctx context.Context) error { return r.cluster.Stay(ctx, id) })
}

// clusterReplace gives the copies of a node, which leaves, to another one.
func clusterReplace(c *call, r *router) {
	old, ok := r.named(c, 2)
	if !ok {
		return
	}
	if c.option(3) != "WITH" {
		c.replies.Error(errSyntax)
		return
	}
	if with, ok := r.named(c, 4); ok {
		runOrder(c, r, 5, topology.Wish{Replace: old, With: with})
	}
}

// clusterMove makes a copy of a shard move to another node.
func clusterMove(c *call, r *router) {
	shard, err := parseShard(c, 3)
	switch {
	case c.option(2) != "SHARD" || c.option(4) != "TO":
		c.replies.Error(errSyntax)
		return
	case err != nil:
		c.replies.Error(err)
		return
	}
	to, ok := r.named(c, 5)
	if !ok {
		return
	}
	move, next := &topology.MoveTo{Shard: shard, To: to}, 6
	if len(c.args) > 7 && c.option(6) == "FROM" {
		if move.From, ok = r.named(c, 7); !ok {
			return
		}
		next = 8
	}
	runOrder(c, r, next, topology.Wish{Move: move})
}

// parseShard reads the number of a shard.
func parseShard(c *call, i int) (topology.ShardID, error) {
	n, ok := resp.ParseInt(c.arg(i))
	if !ok || n < 0 || n >= topology.MaxShards {
		return 0, fmt.Errorf("Invalid shard number: %.64s", c.arg(i))
	}
	return topology.ShardID(n), nil
}

// clusterMoves shows the copies on their way, or pauses, resumes or cancels them.
func clusterMoves(c *call, r *router) {
	if len(c.args) == 2 {
		var moves *view.Moves
		if err := r.decision(func(ctx context.Context) error { moves = r.cluster.Moves(ctx); return nil }); err != nil {
			c.replies.Error(err)
			return
		}
		writeJSON(c, moves.Encode)
		return
	}
	switch option := c.option(2); {
	case (option == "PAUSE" || option == "RESUME") && len(c.args) == 3:
		value := map[string]string{"PAUSE": "paused", "RESUME": "on"}[option]
		r.decide(c, func(ctx context.Context) error {
			return r.cluster.ChangeClusterSettings(ctx, []Setting{{Name: "moves", Value: value}})
		})
	case option == "CANCEL" && len(c.args)%2 == 1:
		cancel := &topology.Cancels{}
		for i := 3; i < len(c.args); i += 2 {
			shard, err := parseShard(c, i+1)
			if err == nil && !strings.EqualFold(string(c.arg(i)), "SHARD") {
				err = errSyntax
			}
			if err != nil {
				c.replies.Error(err)
				return
			}
			cancel.Shards = append(cancel.Shards, shard)
		}
		cancelled := 0
		err := r.decision(func(ctx context.Context) (err error) {
			cancelled, err = r.cluster.CarryMoves(ctx, topology.Wish{Cancel: cancel}, 0)
			return err
		})
		if err != nil {
			c.replies.Error(err)
			return
		}
		c.replies.Int(int64(cancelled))
	default:
		c.replies.Error(errSyntax)
	}
}

var errNoLoad = errors.New("the node belongs to no cluster yet")

// clusterLoad shows what the node says about its room and its shards.
func clusterLoad(c *call, r *router) {
	if r.cluster.Topology().Cluster == "" {
		c.replies.Error(errNoLoad)
		return
	}
	writeJSON(c, func() ([]byte, error) { load := r.cluster.Load(); return load.Encode() })
}
