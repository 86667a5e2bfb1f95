package topology

import (
	"fmt"
	"slices"
)

// onShard applies an op on one shard: a compare-and-swap on its epoch, except for MarkUnclean.
func (e *edit) onShard(op Op) error {
	if op.Shard < 0 || int(op.Shard) >= len(e.t.Shards) {
		return fmt.Errorf("%w: %d", ErrUnknownShard, op.Shard)
	}
	row := e.t.Shards[op.Shard]
	if row.Epoch != op.Epoch && op.Kind != MarkUnclean {
		return fmt.Errorf("%w: shard %d is in epoch %d, not %d", ErrStale, op.Shard, row.Epoch, op.Epoch)
	}
	apply := change{&e.t, &row, op}.apply
	if e.t.Format == Format0 {
		apply = func() error { return format0{e}.onShard(&row, op) }
	}
	if err := apply(); err != nil {
		return fmt.Errorf("shard %d: %w", op.Shard, err)
	}
	if was := e.t.Shards[op.Shard]; !was.equal(row) {
		*e.shard(int(op.Shard)) = row
	}
	return nil
}

// change is an op on one row.
type change struct {
	t   *Topology // for its nodes and PossibleLosses
	row *Shard
	op  Op
}

func (c change) apply() error {
	switch c.op.Kind {
	case Assign:
		return c.assign()
	case Promote:
		return c.promote()
	case Resign:
		return c.resign()
	case ShrinkISR:
		return c.shrink()
	case AddLearner:
		return c.addLearner()
	case DropLearner:
		return c.dropLearner()
	case ExpandISR:
		return c.expand()
	case TransferPrimary:
		return c.transfer()
	case MarkUnclean:
		return c.markUnclean()
	case BeginEmpty:
		return c.beginEmpty()
	}
	return refused("unknown kind of op %q", c.op.Kind)
}

// member returns the node that the op names, in the incarnation that the op expects.
func (c change) member() (Node, error) { return c.t.process(c.op.Node, c.op.Incarnation) }

// process returns a node in an expected incarnation.
func (t *Topology) process(id NodeID, incarnation uint64) (Node, error) {
	i, ok := find(t.Nodes, id)
	if !ok {
		return Node{}, fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	n := t.Nodes[i]
	if n.Incarnation != incarnation {
		return Node{}, fmt.Errorf("%w: %s is in incarnation %d, not %d", ErrStale, id, n.Incarnation, incarnation)
	}
	return n, nil
}

// setPrimary makes a node the primary in the next epoch, which becomes its leader epoch.
func (s *Shard) setPrimary(id NodeID) {
	s.Epoch++
	s.Primary, s.LeaderEpoch, s.Relinquished = id, s.Epoch, false
}

// setISR replaces the ISR. Nodes that leave it become learners while the shard is assigned to them: their
// copies need only what they missed.
func (s *Shard) setISR(isr []NodeID) {
	for _, id := range s.ISR {
		if !slices.Contains(isr, id) && slices.Contains(s.Assigned, id) && !slices.Contains(s.Learners, id) {
			s.Learners = with(s.Learners, id)
		}
	}
	s.ISR = isr
	s.keepUnclean(isr)
}

// keepUnclean takes all nodes but those of a list out of Unclean.
func (s *Shard) keepUnclean(of []NodeID) {
	for _, id := range s.Unclean {
		if !slices.Contains(of, id) {
			s.Unclean = without(s.Unclean, id)
		}
	}
	s.Lossy = s.Lossy && len(s.Unclean) > 0
}

// addUnclean marks a member of the ISR as unclean.
func (s *Shard) addUnclean(id NodeID, lossy bool) {
	if !slices.Contains(s.Unclean, id) {
		s.Unclean = with(s.Unclean, id)
	}
	s.Lossy = s.Lossy || lossy
}

// startEmpty makes the shard start empty on one node in the next epoch. All other copies, those of learners
// included, are stale from then on.
func (s *Shard) startEmpty(on NodeID) {
	s.setPrimary(on)
	s.EmptySince, s.ISR, s.Learners, s.Wiped = s.Epoch, []NodeID{on}, nil, nil
	s.keepUnclean(nil)
}

func (c change) assign() error {
	for _, id := range c.op.Members {
		if _, ok := find(c.t.Nodes, id); !ok {
			return fmt.Errorf("%w: %s", ErrUnknownNode, id)
		}
	}
	if !distinct(c.op.Members) {
		return refused("duplicate node in %v", c.op.Members)
	}
	c.row.Assigned = slices.Clone(c.op.Members)
	return nil
}

// resign keeps the last clean copy in the ISR: no other copy is ahead of it.
func (c change) resign() error {
	if c.row.Primary == "" || c.row.Primary != c.op.Node {
		return refused("%s is not the primary", c.op.Node)
	}
	c.row.Primary, c.row.Relinquished = "", true
	if len(c.row.Clean()) > 1 {
		c.row.setISR(without(c.row.ISR, c.op.Node))
	}
	c.row.Epoch++
	return nil
}

// shrink never removes the last copy: only NodeForget and a wiped disk do.
func (c change) shrink() error {
	switch {
	case !slices.Contains(c.row.ISR, c.op.Node):
		return refused("%s is not in the ISR", c.op.Node)
	case c.row.Primary == c.op.Node || len(c.row.ISR) == 1:
		return refused("%s is the primary, or has the last copy", c.op.Node)
	case c.row.Primary == "":
		return refused("the shard has no primary")
	}
	c.row.setISR(without(c.row.ISR, c.op.Node))
	c.row.Epoch++
	return nil
}

func (c change) addLearner() error {
	if _, err := c.member(); err != nil {
		return err
	}
	if slices.Contains(c.row.ISR, c.op.Node) {
		return refused("%s is in the ISR", c.op.Node)
	}
	if !slices.Contains(c.row.Learners, c.op.Node) {
		c.row.Learners = with(c.row.Learners, c.op.Node)
	}
	return nil
}

// dropLearner raises the epoch: the primary may be proposing this learner for the ISR.
func (c change) dropLearner() error {
	if !slices.Contains(c.row.Learners, c.op.Node) {
		return refused("%s is not a learner", c.op.Node)
	}
	c.row.Learners = without(c.row.Learners, c.op.Node)
	c.row.Epoch++
	return nil
}

// expand needs a primary: only the primary knows that a copy has caught up.
func (c change) expand() error {
	if _, err := c.member(); err != nil {
		return err
	}
	unclean := slices.Contains(c.row.Unclean, c.op.Node)
	if c.row.Primary == "" || !unclean && !slices.Contains(c.row.Learners, c.op.Node) {
		return refused("the shard has no primary, or %s is neither a learner nor unclean", c.op.Node)
	}
	if unclean {
		c.row.keepUnclean(without(c.row.Unclean, c.op.Node))
	} else {
		c.row.ISR, c.row.Learners = with(c.row.ISR, c.op.Node), without(c.row.Learners, c.op.Node)
	}
	c.row.Unsealed = false
	c.row.Epoch++
	return nil
}

func (c change) transfer() error {
	n, err := c.member()
	switch {
	case err != nil:
		return err
	case c.row.Primary == "":
		return refused("the shard has no primary")
	case n.State != Active:
		return refused("%s is %s", c.op.Node, n.State)
	case c.row.Primary == c.op.Node:
		return fmt.Errorf("%w: %s is the primary", ErrStale, c.op.Node)
	case c.op.Empty && len(c.row.ISR) > 1:
		return refused("the shard has copies on %v: only its last copy is handed over empty", c.row.ISR)
	case c.op.Empty:
		c.row.startEmpty(c.op.Node)
	case !slices.Contains(c.row.ISR, c.op.Node):
		return refused("%s is not in the ISR", c.op.Node)
	case slices.Contains(c.row.Unclean, c.op.Node):
		return refused("%s is unclean", c.op.Node)
	default:
		c.row.setPrimary(c.op.Node)
	}
	c.row.Unsealed = false
	return nil
}

// markUnclean records damage that a member found in its copy. A primary resigns first. It
// applies in any epoch, because the damage does not go away with one.
func (c change) markUnclean() error {
	if _, err := c.member(); err != nil {
		return err
	}
	switch {
	case !slices.Contains(c.row.ISR, c.op.Node):
		return refused("%s is not in the ISR", c.op.Node)
	case c.row.Primary == c.op.Node:
		return refused("%s is the primary: it must resign first", c.op.Node)
	}
	was := *c.row
	if c.row.addUnclean(c.op.Node, true); !was.equal(*c.row) {
		c.row.Epoch++
	}
	return nil
}
