package topology

import "slices"

// Change is a shard row that differs.
type Change struct {
	Shard   ShardID
	Was, Is Shard
}

// Diff returns the rows of is that differ from those of was, in order. Either may be nil.
func Diff(was, is *Topology) []Change {
	var out []Change
	a, b := rows(was), rows(is)
	if len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] {
		return nil // shared: nothing changed
	}
	for i := range max(len(a), len(b)) {
		c := Change{Shard: ShardID(i)}
		if i < len(a) {
			c.Was = a[i]
		}
		if i < len(b) {
			c.Is = b[i]
		}
		if !c.Was.equal(c.Is) {
			out = append(out, c)
		}
	}
	return out
}

// NodeChange is a node that joined (Was is zero), was forgotten (Is is zero), restarted (another
// incarnation), or has other addresses or another state.
type NodeChange struct{ Was, Is Node }

// DiffNodes returns the nodes that differ, sorted by id. Either topology may be nil.
func DiffNodes(was, is *Topology) []NodeChange {
	var out []NodeChange
	a, b := members(was), members(is)
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].ID < b[0].ID:
			out, a = append(out, NodeChange{Was: a[0]}), a[1:]
		case len(a) == 0 || b[0].ID < a[0].ID:
			out, b = append(out, NodeChange{Is: b[0]}), b[1:]
		default:
			if !a[0].Equal(b[0]) {
				out = append(out, NodeChange{a[0], b[0]})
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}

func rows(t *Topology) []Shard {
	if t == nil {
		return nil
	}
	return t.Shards
}

func members(t *Topology) []Node {
	if t == nil {
		return nil
	}
	return t.Nodes
}

// equal reports whether two rows are equal.
func (s Shard) equal(o Shard) bool {
	return s.Epoch == o.Epoch && s.EmptySince == o.EmptySince && s.Primary == o.Primary && slices.Equal(s.ISR, o.ISR) && slices.Equal(s.Assigned, o.Assigned) && slices.Equal(s.Learners, o.Learners) &&
		s.LeaderEpoch == o.LeaderEpoch && slices.Equal(s.Unclean, o.Unclean) && s.Lossy == o.Lossy && s.Relinquished == o.Relinquished && s.Unsealed == o.Unsealed && slices.Equal(s.Wiped, o.Wiped)
}
