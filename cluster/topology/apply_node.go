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

// nodeJoin adds a node, or notes a new start of one that is known: then it serves nothing until it is promoted anew, as what it was told before it ended is void.
func (e *edit) nodeJoin(op Op) error {
	if len(op.Nodes) != 1 || op.Nodes[0].ID == "" {
		return refused("it takes one node with an id")
	}
	n := op.Nodes[0]
	i, known := find(e.t.Nodes, n.ID)
	if !known {
		if last, ok := e.t.Forgotten[n.ID]; ok {
			if n.Incarnation <= last {
				return fmt.Errorf("%w: %s was forgotten, and has not been started since", ErrStale, n.ID)
			}
			delete(e.forgotten(), n.ID)
		}
		n.State = Active
		e.t.Nodes = append(e.nodes(), n)
		sortNodes(e.t.Nodes)
		return nil
	}
	was := e.t.Nodes[i]
	n.State = was.State // a node that is leaving goes on leaving after a new start
	switch {
	case n.Incarnation < was.Incarnation:
		return fmt.Errorf("%w: %s has been started since, as incarnation %d", ErrStale, n.ID, was.Incarnation)
	case n.Incarnation == was.Incarnation && n.Store != was.Store:
		return refused("%s has another data folder without another start", n.ID)
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

// restarted takes the primaries of a node, and its copies too if its data folder is another one. If that has another name only, the copies stay, in another epoch: a copy is known
// by its node and store.
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

// nodeForget gives up all copies of a node. A shard of which it had the last one begins empty elsewhere. One that is repeated late must not hit a later start of the node, or what it holds by now.
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
		return fmt.Errorf("%w: %s stays, or holds a copy", ErrStale, op.Node)
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

// holds reports whether a node has a copy in step of any shard.
func (t *Topology) holds(id NodeID) bool {
	return slices.ContainsFunc(t.Shards, func(row Shard) bool { return slices.Contains(row.ISR, id) })
}

// replace puts a row in the place of another, in the next epoch if the primary or the ISR differs.
func (e *edit) replace(i int, row Shard) {
	was := e.t.Shards[i]
	if row.Primary != was.Primary || len(row.ISR) != len(was.ISR) {
		row.Epoch = was.Epoch + 1
	} else if len(row.Assigned) == len(was.Assigned) && len(row.Learners) == len(was.Learners) {
		return
	}
	*e.shard(i) = row
}

// find returns where a node is in nodes, which should be in the order of ids. It is called for each command of a client.
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
	for i := range nodes { // made by hand, in another order
		if nodes[i].ID == id {
			return i, true
		}
	}
	return 0, false
}

// Equal reports whether two rows say the same of a node.
func (a Node) Equal(b Node) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Store == b.Store && a.Incarnation == b.Incarnation && a.Zone == b.Zone && a.BusHost == b.BusHost && a.BusPort == b.BusPort &&
		a.State == b.State && maps.Equal(a.Listeners, b.Listeners)
}
