package topology

import "slices"

// WaitReason says what a shard without a primary waits for.
type WaitReason string

// The reasons.
const (
	WaitsForCopy  WaitReason = "copy"        // one of the nodes, each of which has a clean copy, reports
	WaitsForAll   WaitReason = "all"         // all of the nodes report: none has a clean copy
	WaitsForEmpty WaitReason = "begin-empty" // its last copy was wiped, and it may not start empty yet
	WaitsForNode  WaitReason = "node"        // it has no copy and starts empty as soon as an active node is alive
)

// Wait is why a shard has no primary, and which nodes it waits for.
type Wait struct {
	Reason WaitReason
	Nodes  []NodeID
}

// Wait returns what the shard waits for; false if it has a primary.
func (s Shard) Wait() (Wait, bool) {
	switch clean := s.Clean(); {
	case s.Primary != "":
		return Wait{}, false
	case len(clean) > 0:
		return Wait{WaitsForCopy, clean}, true
	case len(s.ISR) > 0:
		return Wait{WaitsForAll, s.ISR}, true
	case len(s.Wiped) > 0:
		return Wait{WaitsForEmpty, s.Wiped}, true
	}
	return Wait{WaitsForNode, nil}, true
}

// Clean returns the members of the ISR that have everything they acknowledged.
func (s Shard) Clean() []NodeID {
	if len(s.Unclean) == 0 {
		return s.ISR
	}
	return slices.DeleteFunc(slices.Clone(s.ISR), func(id NodeID) bool { return slices.Contains(s.Unclean, id) })
}

// AsksAll reports whether copies outside the ISR report too: the shard has no primary and no clean copy, so
// any copy may be the one that has most.
func (s Shard) AsksAll() bool { return s.Primary == "" && len(s.ISR) > 0 && len(s.Clean()) == 0 }

// WipedNodes returns the nodes of View.WipedSince, each once: those whose wiped copies shards wait for.
func (t *Topology) WipedNodes() []NodeID {
	var out []NodeID
	for _, row := range t.Shards {
		for _, id := range row.Wiped {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	return out
}
