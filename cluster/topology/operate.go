package topology

import (
	"fmt"
	"slices"
)

// What operators want to be moved, as commands: each is refused if the placement has changed since.

// Wish says what an operator wants. Exactly one of its fields but From and With is set.
type Wish struct {
	Rebalance bool     // each node gets its share
	Drain     NodeID   // the node has no copies, and stays a member
	Leave     NodeID   // the same, and it is forgotten then
	Replace   NodeID   // With gets the copies of this node, which leaves
	With      NodeID   // of Replace
	Move      *MoveTo  // one copy goes to another node
	Cancel    *Cancels // copies that do not move yet, or not entirely, stay where they are
}

// MoveTo says where a copy of a shard should be.
type MoveTo struct {
	Shard ShardID
	To    NodeID // it becomes the preferred primary if it takes the place of that
	From  NodeID // the node that gives its copy up; empty: the preferred primary
}

// Cancels says which moves are cancelled.
type Cancels struct {
	Shards []ShardID // none: all
}

// Carry returns the command that carries a wish out, and how many shards it is about. An error says why it cannot be.
func (t *Topology) Carry(w Wish, gone map[NodeID]bool) (c Command, shards int, err error) {
	if t.Format < Format2 {
		return c, 0, fmt.Errorf("%w: not all nodes run a program that knows how to do this: upgrade them first", ErrRefused)
	}
	switch {
	case w.Rebalance:
		nodes, _ := holders(t, gone)
		c.Ops = []Op{t.placement(nodes, true)}
	case w.Drain != "":
		err = wishes{t}.without(&c, Op{Kind: NodeDrain, Node: w.Drain}, gone)
	case w.Leave != "":
		err = wishes{t}.without(&c, Op{Kind: NodeLeave, Node: w.Leave}, gone)
	case w.Replace != "":
		err = wishes{t}.replace(&c, w.Replace, w.With, gone)
	case w.Move != nil:
		err = wishes{t}.moveTo(&c, *w.Move)
	case w.Cancel != nil:
		err = wishes{t}.cancel(&c, w.Cancel.Shards)
	default:
		err = refused("nothing is wished for")
	}
	for _, op := range c.Ops {
		shards += len(op.Places)
	}
	return c, shards, err
}

// wishes carry out what operators want in a topology.
type wishes struct{ *Topology }

// member returns a node, or an error that names it.
func (t wishes) member(id NodeID) (Node, error) {
	n, ok := t.Node(id)
	if !ok {
		return n, fmt.Errorf("%w: %s", ErrUnknownNode, id)
	}
	return n, nil
}

// without takes all copies from a node and changes its state.
func (t wishes) without(c *Command, state Op, gone map[NodeID]bool) error {
	if _, err := t.member(state.Node); err != nil {
		return err
	}
	state.Base = t.Placement.At
	then, errs := t.Apply(t.Index, Command{[]Op{state}})
	if errs[0] != nil {
		return errs[0]
	}
	nodes, _ := holders(then, gone)
	if len(nodes) == 0 || !slices.ContainsFunc(nodes, func(n Node) bool { return !gone[n.ID] }) {
		return refused("no other live node can take over the shards of %s", state.Node)
	}
	if before, _ := holders(t.Topology, gone); state.Kind == NodeDrain && len(nodes) < min(t.Replicas, len(before)) {
		return refused("%d nodes would be left for %d copies of each shard", len(nodes), t.Replicas)
	}
	c.Ops = []Op{state, then.placement(nodes, !t.Placement.Kept)}
	return nil
}

// replace gives the copies of one node to another one.
func (t wishes) replace(c *Command, old, with NodeID, gone map[NodeID]bool) error {
	if _, err := t.member(old); err != nil {
		return err
	}
	n, err := t.member(with)
	switch {
	case err != nil:
		return err
	case old == with:
		return refused("a node cannot replace itself")
	case n.State != Active:
		return refused("%s is %s", Label(n.Name, n.ID), n.State)
	case gone[with]:
		return refused("%s is down", Label(n.Name, n.ID))
	}
	leave := Op{Kind: NodeLeave, Node: old, Base: t.Placement.At}
	then, errs := t.Apply(t.Index, Command{[]Op{leave}})
	if errs[0] != nil {
		return errs[0]
	}
	was := make([][]NodeID, len(t.Shards))
	for i, row := range t.Shards {
		was[i] = slices.Clone(row.Assigned)
		if at := slices.Index(was[i], old); at >= 0 && !slices.Contains(was[i], with) {
			was[i][at] = with
		}
	}
	nodes, _ := holders(then, gone)
	c.Ops = []Op{leave, then.placementFrom(was, nodes, !t.Placement.Kept)}
	return nil
}

// moveTo puts a node in the place of another one in one row, or first if it has a place already.
func (t wishes) moveTo(c *Command, m MoveTo) error {
	if m.Shard < 0 || int(m.Shard) >= len(t.Shards) {
		return fmt.Errorf("%w: %d", ErrUnknownShard, m.Shard)
	}
	to, err := t.member(m.To)
	if err != nil {
		return err
	}
	row := t.Shards[m.Shard]
	if to.State != Active {
		return refused("%s is %s", Label(to.Name, to.ID), to.State)
	}
	if len(row.Assigned) == 0 {
		return refused("shard %d is assigned to no node yet", m.Shard)
	}
	from := m.From
	if from == "" {
		from = row.Assigned[0]
	}
	at := slices.Index(row.Assigned, from)
	members := slices.Clone(row.Assigned)
	switch has := slices.Index(members, m.To); {
	case at < 0:
		return refused("shard %d is not assigned to %s", m.Shard, from)
	case from == m.To || has == 0 && m.From == "":
		return refused("shard %d is assigned to %s already", m.Shard, Label(to.Name, to.ID))
	case has >= 0 && m.From != "":
		return refused("%s has another copy of shard %d", Label(to.Name, to.ID), m.Shard)
	case has >= 0: // it becomes the preferred primary
		members[0], members[has] = members[has], members[0]
	default:
		members[at] = m.To
	}
	c.Ops = []Op{{Kind: SetPlacement, Base: t.Placement.At, Placement: t.Placement, Places: []Placed{{m.Shard, members}}}}
	return nil
}

// cancel leaves shards where they are, if they have enough clean copies there, on nodes that may keep them.
func (t wishes) cancel(c *Command, only []ShardID) error {
	op := Op{Kind: SetPlacement, Base: t.Placement.At, Placement: t.Placement}
	for _, id := range only {
		if id < 0 || int(id) >= len(t.Shards) {
			return fmt.Errorf("%w: %d", ErrUnknownShard, id)
		}
	}
	for i, row := range t.Shards {
		id := ShardID(i)
		if len(only) > 0 && !slices.Contains(only, id) {
			continue
		}
		stay, why := t.stays(row)
		switch {
		case slices.Equal(stay, row.Assigned) || within(row.Assigned, row.Clean()) && len(only) == 0: // nothing is under way but a change of roles
		case why == "":
			op.Places = append(op.Places, Placed{id, stay})
		case len(only) > 0:
			return refused("the move of shard %d cannot be cancelled: %s", id, why)
		}
	}
	c.Ops = []Op{op}
	return nil
}

// stays returns the nodes that keep the copies of a shard if nothing moves, or why something must.
func (t wishes) stays(row Shard) (nodes []NodeID, why string) {
	clean := row.Clean()
	want := len(row.Assigned)
	if row.Primary == "" || len(clean) < want || want == 0 {
		return nil, "it has too few copies where it is"
	}
	nodes = append(nodes, row.Primary)
	for _, list := range [][]NodeID{row.Assigned, clean} {
		for _, id := range list {
			if len(nodes) < want && slices.Contains(clean, id) && !slices.Contains(nodes, id) {
				nodes = append(nodes, id)
			}
		}
	}
	for _, id := range nodes {
		if n, _ := t.Node(id); n.State != Active {
			return nil, fmt.Sprintf("%s is %s (CLUSTER UNDRAIN ends that)", Label(n.Name, n.ID), n.State)
		}
	}
	return nodes, ""
}

// Waiting returns the copies that nodes should have and that are not under way, with why they do not begin to move.
func (t *Topology) Waiting(v View) []Waiting {
	p := &planner{t: t, v: v}
	for _, row := range t.Shards {
		p.assigned = append(p.assigned, row.Assigned)
	}
	b := p.underWay()
	var all []Waiting
	for i, row := range t.Shards {
		for _, id := range row.Assigned {
			if row.hasCopy(id) {
				continue
			}
			w := Waiting{ShardID(i), id, ""}
			switch {
			case row.Primary == "" || !p.alive(row.Primary):
				w.Why = waitsForCopy
			case !p.alive(id):
				w.Why = waitsForNode
			case v.Paused:
				w.Why = waitsPaused
			default:
				w.Why = b.takes(missingCopy{shard: w.Shard, from: row.Primary, to: id})
			}
			all = append(all, w)
		}
	}
	return all
}

// Waiting is a copy that has not begun to move.
type Waiting struct {
	Shard ShardID
	To    NodeID
	Why   string // empty: it begins soon
}

// Moving reports whether a shard has no copy where it should, or one where it should not.
func (t *Topology) Moving() bool {
	return slices.ContainsFunc(t.Shards, func(row Shard) bool {
		return len(row.Assigned) > 0 && !(within(row.Assigned, row.ISR) && len(row.ISR) == len(row.Assigned))
	})
}
