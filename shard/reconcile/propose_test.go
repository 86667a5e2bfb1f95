package reconcile

import (
	"reflect"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// What copies propose becomes ops: about others in their incarnation, and about this node.
func TestProposalsBecomeOps(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	self, other := replica.Process{Node: "a", Incarnation: 1}, replica.Process{Node: "b", Incarnation: 9}
	for _, c := range []struct {
		proposal replica.Proposal
		want     topology.Op
	}{
		{replica.Proposal{Kind: replica.MarkUnclean, Target: self}, topology.Op{Kind: topology.MarkUnclean, Node: "a", Incarnation: 1}},
		{replica.Proposal{Kind: replica.Resign}, topology.Op{Kind: topology.Resign, Node: "a"}},
		{replica.Proposal{Kind: replica.Shrink, Target: other}, topology.Op{Kind: topology.ShrinkISR, Node: "b"}},
		{replica.Proposal{Kind: replica.Expand, Target: other}, topology.Op{Kind: topology.ExpandISR, Node: "b", Incarnation: 9}},
		{replica.Proposal{Kind: replica.Handover, Target: other}, topology.Op{Kind: topology.TransferPrimary, Node: "b", Incarnation: 9}},
	} {
		c.proposal.Epoch, c.want.Epoch, c.want.Shard = 7, 7, 3
		if got := s.opOf(3, &c.proposal); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v becomes %+v, want %+v", c.proposal, got, c.want)
		}
	}
}
