package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// ErrNotWiped is returned for a shard that waits for something else than an operator's word to begin
// empty.
var ErrNotWiped = errors.New("it does not wait to begin empty")

// BeginEmpty lets shards begin empty whose last copies were wiped: the operator vouches that no
// process with those copies runs any more. Without shards it is about all that wait for it. It
// returns how many may begin empty now. If a shard that is named does not wait for it, nothing
// happens.
func (c *Cluster) BeginEmpty(ctx context.Context, shards ...topology.ShardID) (int, error) {
	t := c.fsm.current.Load()
	if t.Cluster == "" {
		return 0, ErrNoCluster
	}
	ops, err := beginEmptyOps(t, shards)
	if err != nil || len(ops) == 0 {
		return 0, err
	}
	errs, err := c.proposer.propose(ctx, topology.Command{Ops: ops})
	if err != nil {
		return 0, err
	}
	began := 0
	var refused error
	for i, err := range errs {
		switch {
		case err == nil:
			began++
		case len(shards) > 0:
			refused = errors.Join(refused, fmt.Errorf("shard %d: %w", ops[i].Shard, err))
		}
	}
	return began, refused
}

// beginEmptyOps returns the ops that let shards begin empty, or all that wait for it without shards.
func beginEmptyOps(t *topology.Topology, shards []topology.ShardID) (ops []topology.Op, err error) {
	add := func(id topology.ShardID) bool {
		row := t.Shards[id]
		wait, waits := row.Wait()
		if !waits || wait.Reason != topology.WaitsForEmpty {
			return false
		}
		ops = append(ops, topology.Op{Kind: topology.BeginEmpty, Shard: id, Epoch: row.Epoch})
		return true
	}
	if len(shards) == 0 {
		for i := range t.Shards {
			add(topology.ShardID(i))
		}
		return ops, nil
	}
	for i, id := range shards {
		if slices.Contains(shards[:i], id) {
			continue
		}
		if id < 0 || int(id) >= len(t.Shards) {
			return nil, fmt.Errorf("%w: %d", topology.ErrUnknownShard, id)
		}
		if !add(id) {
			return nil, fmt.Errorf("shard %d: %w", id, ErrNotWiped)
		}
	}
	return ops, nil
}
