package topology

import (
	"fmt"
	"slices"
)

// inFormat2 applies the ops that came with Format2. Programs that know no later format than Format1 refuse them as unknown.
func (e *edit) inFormat2(op Op) error {
	if e.t.Format < Format2 {
		return refused("unknown kind of op %q", op.Kind)
	}
	switch op.Kind {
	case NodeDrain:
		return e.nodeState(op, Draining)
	case NodeStay:
		return e.nodeState(op, Active)
	}
	return e.place(op)
}

// place changes which nodes should have copies: a compare-and-swap on the placement, whatever the epochs of the rows.
func (e *edit) place(op Op) error {
	if op.Base != e.t.Placement.At {
		return errPlacement(op.Base, e.t.Placement.At)
	}
	for _, p := range op.Places {
		if p.Shard < 0 || int(p.Shard) >= len(e.t.Shards) {
			return fmt.Errorf("%w: %d", ErrUnknownShard, p.Shard)
		}
		for _, id := range p.Members {
			if _, ok := find(e.t.Nodes, id); !ok {
				return fmt.Errorf("%w: %s", ErrUnknownNode, id)
			}
		}
		if !distinct(p.Members) {
			return refused("duplicate node in %v", p.Members)
		}
	}
	for _, p := range op.Places {
		if !slices.Equal(e.t.Shards[p.Shard].Assigned, p.Members) {
			e.shard(int(p.Shard)).Assigned = slices.Clone(p.Members)
		}
	}
	e.t.Placement = op.Placement
	e.t.Placement.At = e.t.Index
	return nil
}

func errPlacement(expected, is uint64) error {
	return fmt.Errorf("%w: the placement is that of entry %d, not of %d", ErrStale, is, expected)
}
