package topology

import (
	"fmt"
	"slices"
)

// onShard applies an op that is a compare-and-swap on the epoch of one shard.
func (e *edit) onShard(op Op) error {
	if op.Shard < 0 || int(op.Shard) >= len(e.t.Shards) {
		return fmt.Errorf("%w: %d", ErrUnknownShard, op.Shard)
	}
	row := e.t.Shards[op.Shard]
	if row.Epoch != op.Epoch {
		return fmt.Errorf("%w: shard %d is in epoch %d, not %d", ErrStale, op.Shard, row.Epoch, op.Epoch)
	}
	var err error
	switch op.Kind {
	case Assign:
		err = e.assign(&row, op)
	case Promote:
		err = e.promote(&row, op)
	case Resign:
		err = resign(&row, op)
	case ShrinkISR:
		err = shrink(&row, op)
	case AddLearner:
		err = e.addLearner(&row, op)
	case ExpandISR:
		err = e.expand(&row, op)
	case TransferPrimary:
		err = e.transfer(&row, op)
	}
	if err != nil {
		return fmt.Errorf("shard %d: %w", op.Shard, err)
	}
	if was := e.t.Shards[op.Shard]; !was.equal(row) {
		*e.shard(int(op.Shard)) = row
	}
	return nil
}

// member returns the node that an op names, in the incarnation that the op expects.
func (e *edit) member(op Op) (Node, error) {
	i, ok := find(e.t.Nodes, op.Node)
	if !ok {
		return Node{}, fmt.Errorf("%w: %s", ErrUnknownNode, op.Node)
	}
	n := e.t.Nodes[i]
	if n.Incarnation != op.Incarnation {
		return Node{}, fmt.Errorf("%w: %s is in incarnation %d, not %d", ErrStale, op.Node, n.Incarnation, op.Incarnation)
	}
	return n, nil
}

// startEmpty makes the shard start empty on one node in the next epoch. All other copies, those of learners
// included, are stale from then on.
func (s *Shard) startEmpty(on NodeID) {
	s.Epoch++
	s.EmptySince, s.Primary, s.ISR, s.Learners = s.Epoch, on, []NodeID{on}, nil
}

func (e *edit) assign(row *Shard, op Op) error {
	for _, id := range op.Members {
		if _, ok := find(e.t.Nodes, id); !ok {
			return fmt.Errorf("%w: %s", ErrUnknownNode, id)
		}
	}
	if !distinct(op.Members) {
		return refused("duplicate node in %v", op.Members)
	}
	row.Assigned = slices.Clone(op.Members)
	return nil
}

func (e *edit) promote(row *Shard, op Op) error {
	if _, err := e.member(op); err != nil {
		return err
	}
	if op.Empty {
		if len(row.ISR) > 0 {
			return refused("the shard is not empty: it has copies on %v", row.ISR)
		}
		row.startEmpty(op.Node)
		return nil
	}
	isr := op.Members
	if len(isr) == 0 {
		isr = []NodeID{op.Node}
	}
	switch {
	case !slices.Contains(row.ISR, op.Node):
		return refused("%s is not in the ISR", op.Node)
	case !distinct(isr) || !within(isr, row.ISR) || !slices.Contains(isr, op.Node):
		return refused("the new ISR %v must be a subset of %v with %s", isr, row.ISR, op.Node)
	case row.Primary == op.Node && len(isr) == len(row.ISR):
		return fmt.Errorf("%w: %s is the primary", ErrStale, op.Node)
	}
	row.Primary, row.ISR = op.Node, slices.Clone(isr)
	row.Epoch++
	return nil
}

// resign keeps the last copy in the ISR: no other copy is ahead of it.
func resign(row *Shard, op Op) error {
	if row.Primary == "" || row.Primary != op.Node {
		return refused("%s is not the primary", op.Node)
	}
	row.Primary = ""
	if len(row.ISR) > 1 {
		row.ISR = without(row.ISR, op.Node)
	}
	row.Epoch++
	return nil
}

// shrink never removes the last copy: only NodeForget and a wiped disk do.
func shrink(row *Shard, op Op) error {
	switch {
	case !slices.Contains(row.ISR, op.Node):
		return refused("%s is not in the ISR", op.Node)
	case row.Primary == op.Node || len(row.ISR) == 1:
		return refused("%s is the primary, or has the last copy", op.Node)
	}
	row.ISR = without(row.ISR, op.Node)
	row.Epoch++
	return nil
}

func (e *edit) addLearner(row *Shard, op Op) error {
	if _, err := e.member(op); err != nil {
		return err
	}
	if slices.Contains(row.ISR, op.Node) {
		return refused("%s is in the ISR", op.Node)
	}
	if !slices.Contains(row.Learners, op.Node) {
		row.Learners = with(row.Learners, op.Node)
	}
	return nil
}

// expand needs a primary: only the primary knows that a copy has caught up.
func (e *edit) expand(row *Shard, op Op) error {
	if _, err := e.member(op); err != nil {
		return err
	}
	if row.Primary == "" || !slices.Contains(row.Learners, op.Node) {
		return refused("the shard has no primary, or %s is not a learner", op.Node)
	}
	row.ISR, row.Learners = with(row.ISR, op.Node), without(row.Learners, op.Node)
	row.Epoch++
	return nil
}

func (e *edit) transfer(row *Shard, op Op) error {
	n, err := e.member(op)
	switch {
	case err != nil:
		return err
	case row.Primary == "":
		return refused("the shard has no primary")
	case n.State == Leaving:
		return refused("%s is leaving", op.Node)
	case row.Primary == op.Node:
		return fmt.Errorf("%w: %s is the primary", ErrStale, op.Node)
	case op.Empty:
		row.startEmpty(op.Node)
		return nil
	case !slices.Contains(row.ISR, op.Node):
		return refused("%s is not in the ISR", op.Node)
	}
	row.Primary = op.Node
	row.Epoch++
	return nil
}
