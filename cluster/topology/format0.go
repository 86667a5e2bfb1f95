package topology

import (
	"fmt"
	"slices"
)

// The rules of format 0, in which the controller promotes by what gossip sees. They stay as they were, because
// the log of a cluster may begin with such entries, and they must come to the same topology as when they were
// decided.

// format0 is an edit by these rules.
type format0 struct{ *edit }

// onShard applies an op on a shard by the rules of format 0.
func (e format0) onShard(row *Shard, op Op) error {
	switch op.Kind {
	case Assign:
		return change{&e.t, row, op}.assign()
	case Promote:
		return e.promote(row, op)
	case Resign:
		return resign0(row, op)
	case ShrinkISR:
		return shrink0(row, op)
	case AddLearner:
		return change{&e.t, row, op}.addLearner()
	case ExpandISR:
		return e.expand(row, op)
	case TransferPrimary:
		return e.transfer(row, op)
	}
	return refused("unknown kind of op %q", op.Kind)
}

// startEmpty0 makes the shard start empty on one node in the next epoch.
func (s *Shard) startEmpty0(on NodeID) {
	s.Epoch++
	s.EmptySince, s.Primary, s.ISR, s.Learners = s.Epoch, on, []NodeID{on}, nil
}

func (e format0) promote(row *Shard, op Op) error {
	if _, err := e.t.process(op.Node, op.Incarnation); err != nil {
		return err
	}
	if op.Empty {
		if len(row.ISR) > 0 {
			return refused("the shard is not empty: it has copies on %v", row.ISR)
		}
		row.startEmpty0(op.Node)
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

func resign0(row *Shard, op Op) error {
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

func shrink0(row *Shard, op Op) error {
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

func (e format0) expand(row *Shard, op Op) error {
	if _, err := e.t.process(op.Node, op.Incarnation); err != nil {
		return err
	}
	if row.Primary == "" || !slices.Contains(row.Learners, op.Node) {
		return refused("the shard has no primary, or %s is not a learner", op.Node)
	}
	row.ISR, row.Learners = with(row.ISR, op.Node), without(row.Learners, op.Node)
	row.Epoch++
	return nil
}

func (e format0) transfer(row *Shard, op Op) error {
	n, err := e.t.process(op.Node, op.Incarnation)
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
		row.startEmpty0(op.Node)
		return nil
	case !slices.Contains(row.ISR, op.Node):
		return refused("%s is not in the ISR", op.Node)
	}
	row.Primary = op.Node
	row.Epoch++
	return nil
}

func (e format0) restarted(id NodeID, wiped, renamed bool) {
	for i := range e.t.Shards {
		row := e.t.Shards[i]
		if row.Primary == id {
			row.Primary = ""
		} else if renamed && slices.Contains(row.ISR, id) {
			e.shard(i).Epoch++
		}
		if wiped {
			row.ISR, row.Learners = without(row.ISR, id), without(row.Learners, id)
		}
		e.replace(i, row)
	}
}

// forget gives up the copies of a node that was forgotten.
func (e format0) forget(id NodeID) {
	for i := range e.t.Shards {
		row := e.t.Shards[i]
		if row.Primary == id {
			row.Primary = ""
		}
		row.ISR, row.Assigned, row.Learners = without(row.ISR, id), without(row.Assigned, id), without(row.Learners, id)
		e.replace(i, row)
	}
}

// replace replaces a row, in the next epoch if the primary or the ISR differs.
func (e format0) replace(i int, row Shard) {
	was := e.t.Shards[i]
	if row.Primary != was.Primary || len(row.ISR) != len(was.ISR) {
		row.Epoch = was.Epoch + 1
	} else if len(row.Assigned) == len(was.Assigned) && len(row.Learners) == len(was.Learners) {
		return
	}
	*e.shard(i) = row
}

// promote0 promotes a live copy of each shard without a primary. A shard without any copy starts empty on
// an assigned node, or else on any.
func (p *planner) promote0() {
	for i, row := range p.t.Shards {
		if row.Primary != "" {
			continue
		}
		op := Op{Kind: Promote, Shard: ShardID(i), Epoch: row.Epoch}
		if len(row.ISR) > 0 {
			op.Members = p.live(row.ISR)
			op.Node = p.best(op.Members, p.assigned[i])
		} else {
			op.Empty = true
			op.Node = p.best(p.live(p.active()), p.assigned[i])
		}
		if op.Node == "" {
			continue // until a copy comes back or is forgotten
		}
		n, _ := p.t.Node(op.Node)
		op.Incarnation = n.Incarnation
		p.load[op.Node]++
		p.ops = append(p.ops, op)
	}
}
