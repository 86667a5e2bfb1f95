package topology

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

func sortNodes(nodes []Node) {
	slices.SortStableFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
}

// nodeJoin adds a node, or records a new incarnation of a member. A new incarnation serves nothing until it
// is promoted: what earlier incarnations were told is stale.
func (e *edit) nodeJoin(op Op) error {
	if len(op.Nodes) != 1 || op.Nodes[0].ID == "" {
		return refused("it needs exactly one node, with an id")
	}
	n := op.Nodes[0]
	n.weigh(e.t.Format)
	i, known := find(e.t.Nodes, n.ID)
	if !known {
		if last, ok := e.t.Forgotten[n.ID]; ok {
			if n.Incarnation <= last {
				return fmt.Errorf("%w: %s was forgotten and has not been restarted since", ErrStale, n.ID)
			}
			delete(e.forgotten(), n.ID)
		}
		n.State = Active
		e.t.Nodes = append(e.nodes(), n)
		sortNodes(e.t.Nodes)
		return nil
	}
	was := e.t.Nodes[i]
	n.State = was.State // a restart does not cancel leaving
	switch {
	case n.Incarnation < was.Incarnation:
		return fmt.Errorf("%w: %s has been restarted since, as incarnation %d", ErrStale, n.ID, was.Incarnation)
	case n.Incarnation == was.Incarnation && n.Store != was.Store:
		return refused("%s has another data folder without a restart", n.ID)
	case n.Equal(was):
		return nil
	}
	e.nodes()[i] = n
	switch {
	case n.Incarnation == was.Incarnation:
	case e.t.Format == Format0:
		another, renamed := n.Store != was.Store, slices.Contains(op.Stores, was.Store)
		format0{e}.restarted(n.ID, another && !renamed, another && renamed)
	default:
		e.restarted(was, n, op)
	}
	return nil
}

// restarted records what a new start of a node means for the rows. Its primaries are taken away, and its copies
// too if its disk was wiped. The epoch of each row with a copy of the node rises: what a primary has
// proposed about the former process is over then, instead of refused for ever.
func (e *edit) restarted(was, is Node, op Op) {
	another := is.Store != was.Store
	s := start{node: is.ID, wiped: another && !slices.Contains(op.Stores, was.Store)}
	last := len(op.Starts) > 0 && op.Starts[len(op.Starts)-1] == was.Incarnation
	older := !slices.Contains(op.Starts, was.Incarnation) // the folder was put back to an earlier state, or is a copy
	s.known = !another && op.SameLock && last
	s.mine = !another && op.SameLock && !last && !older && !op.Lossy // later starts were killed before their join was decided
	s.unclean = op.Unclean || older
	s.lossy = older || op.Lossy || !was.Always
	for i, row := range e.t.Shards {
		if s.apply(&row) {
			*e.shard(i) = row
		}
	}
}

// start is what a new process of a node says about its folder.
type start struct {
	node           NodeID
	wiped          bool // it is another folder
	known, mine    bool // no other process holds the folder: not the topology's; not one that started later and never joined
	unclean, lossy bool // the copies may lack what they have acknowledged; what they synced, or did not sync, before
}

// apply changes a row, and reports whether it did.
func (s start) apply(row *Shard) bool {
	inISR := slices.Contains(row.ISR, s.node)
	if !inISR && !slices.Contains(row.Learners, s.node) {
		return false
	}
	row.Epoch++
	if row.Primary == s.node {
		row.Primary = ""
		// An ISR of one node needs no lease: nothing ends by waiting for one.
		// In an unsealed row a primary before that one may still serve. So the copy reports only when it has been
		// silent, which seals the row: else every later start would wait.
		row.Relinquished = !row.Unsealed && (s.known || s.mine && len(row.ISR) == 1)
	}
	switch {
	case s.wiped:
		row.ISR, row.Learners = without(row.ISR, s.node), without(row.Learners, s.node)
		row.keepUnclean(row.ISR)
		if inISR && len(row.ISR) == 0 {
			row.Wiped = []NodeID{s.node}
		}
	case inISR && s.unclean:
		row.addUnclean(s.node, s.lossy)
	}
	return true
}

// weigh takes from a node what a topology of a format does not have.
func (n *Node) weigh(format int) {
	if format < Format2 || n.Weight < 0 || n.Weight > MaxWeight {
		n.Weight = 0
	}
}

// nodeState changes the state of a node. The epoch of each row with a copy of the node rises, because a transfer to it that
// was possible may be so no more.
func (e *edit) nodeState(op Op, state NodeState) error {
	i, ok := find(e.t.Nodes, op.Node)
	switch {
	case !ok:
		return fmt.Errorf("%w: %s", ErrUnknownNode, op.Node)
	case op.Base != 0 && op.Base != e.t.Placement.At:
		return errPlacement(op.Base, e.t.Placement.At)
	case e.t.Nodes[i].State == state:
		return nil
	}
	e.nodes()[i].State = state
	for i := range e.t.Shards {
		if e.t.Format != Format0 && e.t.Shards[i].hasCopy(op.Node) {
			e.shard(i).Epoch++
		}
	}
	return nil
}

// nodeForget gives up all copies of a node. If it had the last copy of a shard, the shard starts empty
// elsewhere. A late repetition must hit neither a later incarnation nor copies that the node has got since.
func (e *edit) nodeForget(op Op) error {
	i, ok := find(e.t.Nodes, op.Node)
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownNode, op.Node)
	}
	n := e.t.Nodes[i]
	switch {
	case op.Incarnation != 0 && op.Incarnation != n.Incarnation:
		return fmt.Errorf("%w: %s is in incarnation %d, not %d", ErrStale, op.Node, n.Incarnation, op.Incarnation)
	case op.Empty && (n.State != Leaving || e.t.holds(n.ID)):
		return fmt.Errorf("%w: %s is not leaving, or has a copy", ErrStale, op.Node)
	case len(e.t.Nodes) == 1:
		return refused("%s is the only node", op.Node)
	}
	e.t.Nodes = slices.Delete(e.nodes(), i, i+1)
	e.forgotten()[n.ID] = n.Incarnation
	if e.t.Format == Format0 {
		format0{e}.forget(op.Node)
		return nil
	}
	for i, row := range e.t.Shards {
		if lost, changed := row.forget(op.Node); changed {
			*e.shard(i) = row
			if lost {
				e.t.PossibleLosses++
			}
		}
	}
	return nil
}

// forget takes a node out of a row, and reports whether the shard loses its last copy by that. It then may start
// empty: an operator who forgets the node says that this copy will not come back.
func (s *Shard) forget(id NodeID) (lost, changed bool) {
	had := s.hasCopy(id)
	lost = slices.Contains(s.Wiped, id) || len(s.ISR) == 1 && s.ISR[0] == id
	if !had && !lost && !slices.Contains(s.Assigned, id) {
		return false, false
	}
	if had {
		s.Epoch++
	}
	if s.Primary == id {
		s.Primary = ""
	}
	s.ISR, s.Assigned, s.Learners, s.Wiped = without(s.ISR, id), without(s.Assigned, id), without(s.Learners, id), without(s.Wiped, id)
	s.keepUnclean(s.ISR)
	return lost && len(s.Wiped) == 0, true
}

// hasCopy reports whether a node is in the ISR or a learner.
func (s Shard) hasCopy(id NodeID) bool {
	return slices.Contains(s.ISR, id) || slices.Contains(s.Learners, id)
}

// holds reports whether a node is in the ISR of any shard, or had the last copy and was wiped.
func (t *Topology) holds(id NodeID) bool {
	return slices.ContainsFunc(t.Shards, func(row Shard) bool { return slices.Contains(row.ISR, id) || slices.Contains(row.Wiped, id) })
}

// find returns the index of a node in nodes, which should be sorted by id. It runs for every command of a client.
func find(nodes []Node, id NodeID) (int, bool) {
	low, high := 0, len(nodes)
	for low < high {
		if middle := int(uint(low+high) / 2); nodes[middle].ID < id {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < len(nodes) && nodes[low].ID == id {
		return low, true
	}
	for i := range nodes { // not sorted: made by hand
		if nodes[i].ID == id {
			return i, true
		}
	}
	return 0, false
}

// Equal reports whether two rows of a node are equal.
func (a Node) Equal(b Node) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Store == b.Store && a.Incarnation == b.Incarnation && a.Zone == b.Zone && a.BusHost == b.BusHost && a.BusPort == b.BusPort &&
		a.State == b.State && a.Weight == b.Weight && a.Log == b.Log && a.Always == b.Always && maps.Equal(a.Listeners, b.Listeners)
}
