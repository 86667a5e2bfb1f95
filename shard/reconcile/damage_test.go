package reconcile

import (
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// A node proposes for a damaged copy that its row calls it unclean, and that it resigns where it was made the primary
// before. What a primary proposes about others is not a matter of damage.
func TestConfession(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	self := replica.Process{Node: "a", Incarnation: 1}
	for kind, want := range map[replica.ProposalKind]topology.Op{
		replica.MarkUnclean: {Kind: topology.MarkUnclean, Shard: 3, Epoch: 7, Node: "a", Incarnation: 1},
		replica.Resign:      {Kind: topology.Resign, Shard: 3, Epoch: 7, Node: "a"},
	} {
		if got, damaged := s.damageOp(3, &replica.Proposal{Kind: kind, Epoch: 7, Target: self}); !damaged || got.Kind != want.Kind || got.Shard != want.Shard ||
			got.Epoch != want.Epoch || got.Node != want.Node || got.Incarnation != want.Incarnation {
			t.Errorf("%+v, %v, want %+v", got, damaged, want)
		}
	}
	for _, kind := range []replica.ProposalKind{replica.Shrink, replica.Expand, replica.Handover} {
		if got, damaged := s.damageOp(3, &replica.Proposal{Kind: kind, Epoch: 7}); damaged {
			t.Errorf("%+v", got)
		}
	}
	if got, damaged := s.damageOp(3, nil); damaged {
		t.Errorf("%+v", got)
	}
}
