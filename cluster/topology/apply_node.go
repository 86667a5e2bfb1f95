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
	if n.Incarnation > was.Incarnation {
		another, renamed := n.Store != was.Store, slices.Contains(op.Stores, was.Store)
		e.restarted(n.ID, another && !renamed, another && renamed)
	}
	return nil
}

// restarted takes the primaries of a node away, and its copies too if its disk was wiped. If its data
// folder only got a new store id, the copies stay but their epochs rise, because a copy is identified by
// node and store.
func (e *edit) restarted(id NodeID, wiped, renamed bool) {
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

func (e *edit) nodeLeave(op Op) error {
	i, ok := find(e.t.Nodes, op.Node)
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownNode, op.Node)
	}
	if e.t.Nodes[i].State != Leaving {
		e.nodes()[i].State = Leaving
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
	for i := range e.t.Shards {
		row := e.t.Shards[i]
		if row.Primary == op.Node {
			row.Primary = ""
		}
		row.ISR, row.Assigned, row.Learners = without(row.ISR, op.Node), without(row.Assigned, op.Node), without(row.Learners, op.Node)
		e.replace(i, row)
	}
	return nil
}

// holds reports whether a node is in the ISR of any shard.
func (t *Topology) holds(id NodeID) bool {
	return slices.ContainsFunc(t.Shards, func(row Shard) bool { return slices.Contains(row.ISR, id) })
}

// replace replaces a row, in the next epoch if the primary or the ISR differs.
func (e *edit) replace(i int, row Shard) {
	was := e.t.Shards[i]
	if row.Primary != was.Primary || len(row.ISR) != len(was.ISR) {
		row.Epoch = was.Epoch + 1
	} else if len(row.Assigned) == len(was.Assigned) && len(row.Learners) == len(was.Learners) {
		return
	}
	*e.shard(i) = row
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
		a.State == b.State && a.Log == b.Log && a.Always == b.Always && maps.Equal(a.Listeners, b.Listeners)
}
