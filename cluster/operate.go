package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// Placements is a node's part in what operators want to be moved.
type Placements struct{ c *Cluster }

// PlacementsOf returns a node's part in placements.
func PlacementsOf(c *Cluster) Placements { return Placements{c} }

// ErrPlaced is returned for a plan that is out of date.
var ErrPlaced = errors.New("the shards are assigned to other nodes since the plan was made: look at a new plan")

// Plan returns what would carry a wish out. It asks all nodes for their room and for the sizes of their shards.
func (p Placements) Plan(ctx context.Context, w topology.Wish) (*view.Plan, error) {
	_, plan, err := p.plan(ctx, w)
	return plan, err
}

func (p Placements) plan(ctx context.Context, w topology.Wish) (topology.Command, *view.Plan, error) {
	t := p.c.fsm.current.Load()
	if t.Cluster == "" {
		return topology.Command{}, nil, ErrNoCluster
	}
	command, _, err := t.Carry(w, p.gone(t))
	if err != nil {
		return command, nil, err
	}
	then, errs := t.Apply(t.Index+1, command)
	if err := errors.Join(errs...); err != nil {
		return command, nil, err
	}
	return command, view.PlanOf(t, then, p.c.loads.gather(ctx)), nil
}

// gone returns the nodes that have been dead for so long that others get their copies.
func (p Placements) gone(t *topology.Topology) map[topology.NodeID]bool {
	gone := map[topology.NodeID]bool{}
	after := p.c.config.Moves().ReplaceAfter
	for _, n := range t.Nodes {
		alive, since, known := p.c.Liveness(n.ID)
		gone[n.ID] = after > 0 && !alive && (!known || time.Since(since) >= after)
	}
	return gone
}

// Carry carries a wish out, if the placement is that of base; 0 is any. It returns how many shards get other places once that is decided.
func (p Placements) Carry(ctx context.Context, w topology.Wish, base uint64) (int, error) {
	command, plan, err := p.plan(ctx, w)
	switch {
	case err != nil:
		return 0, err
	case base != 0 && plan.Base != base:
		return 0, ErrPlaced
	case w.Cancel == nil && len(plan.Problems) > 0:
		return 0, fmt.Errorf("%w: %s", topology.ErrRefused, plan.Problems[0])
	}
	return p.propose(ctx, command)
}

// propose proposes a command, all of whose ops are refused if one is.
func (p Placements) propose(ctx context.Context, command topology.Command) (shards int, err error) {
	errs, err := p.c.proposer.propose(ctx, command)
	if err != nil {
		return 0, err
	}
	for i, err := range errs {
		if err != nil {
			return 0, fmt.Errorf("%w (%w)", ErrPlaced, err)
		}
		shards += len(command.Ops[i].Places)
	}
	return shards, nil
}

// Stay makes a node that leaves or is drained stay.
func (p Placements) Stay(ctx context.Context, id topology.NodeID) error {
	return p.c.proposer.proposeOne(ctx, topology.Op{Kind: topology.NodeStay, Node: id})
}

// Moves returns the copies on their way, and those that wait.
func (p Placements) Moves(ctx context.Context) *view.Moves {
	c := p.c
	t, settings := c.fsm.current.Load(), c.config.Moves()
	loads := c.loads.gather(ctx)
	waiting := t.Waiting(topology.View{Now: time.Now().UnixMilli(), Nodes: c.members.liveness(), Paused: settings.Paused, Loads: loads})
	return view.MovesOf(t, waiting, loads, settings.Paused)
}

// Load returns what this node says about its room and its shards.
func (p Placements) Load() topology.Load { return p.c.host.Load() }
