package main

import (
	"fmt"

	"github.com/ndring/ndring/bench/clusters"
)

// state is what the nodes have counted.
type state struct {
	shrinks, expands, failovers int64 // of all nodes
	view                        *clusters.View
}

// counts is what happened between two states. No node may restart in between.
type counts struct {
	shrinks, expands, failovers int64
	terms                       uint64 // of raft: each change of the leader needs at least one
	primaries                   int    // shards whose primary changed or was interrupted
}

func stateOf(c *clusters.Cluster) (*state, error) {
	s := &state{}
	for _, n := range c.Nodes {
		values, err := n.Counters("replication", "isr_shrinks", "isr_expands", "failovers")
		if err != nil {
			return nil, err
		}
		s.shrinks, s.expands, s.failovers = s.shrinks+values[0], s.expands+values[1], s.failovers+values[2]
		v, err := c.ViewOf(n)
		if err != nil {
			return nil, err
		}
		if s.view == nil || v.Term > s.view.Term {
			s.view = v
		}
	}
	return s, nil
}

func (s *state) since(earlier *state) counts {
	return counts{
		shrinks: s.shrinks - earlier.shrinks, expands: s.expands - earlier.expands, failovers: s.failovers - earlier.failovers,
		terms: s.view.Term - earlier.view.Term, primaries: s.view.Changed(earlier.view),
	}
}

// cells returns the counts as cells of a table.
func (c counts) cells() string {
	return fmt.Sprintf("%d | %d | %d | %d | %d", c.terms, c.shrinks, c.expands, c.failovers, c.primaries)
}

const countsHead = "raft terms | ISR shrinks | ISR expands | failovers | primaries changed"
