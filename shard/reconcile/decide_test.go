package reconcile

import (
	"slices"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	ready := shardState{ready: true}
	mine := topology.Shard{Epoch: 3, Primary: "a"}
	for name, tc := range map[string]struct {
		row     topology.Shard
		state   shardState
		open    bool
		settled bool
	}{
		"ours":                              {mine, ready, true, true},
		"ours, not read from disk":          {mine, shardState{}, false, false},
		"ours, handover pending":            {mine, shardState{true, 3}, false, false},
		"ours, handover of an older epoch":  {mine, shardState{true, 2}, true, true},
		"another node's":                    {topology.Shard{Epoch: 3, Primary: "b"}, ready, false, true},
		"another node's, stale copy":        {topology.Shard{Epoch: 3, EmptySince: 2, Primary: "b"}, ready, false, true},
		"another node's, not read":          {topology.Shard{Epoch: 3, EmptySince: 2, Primary: "b"}, shardState{}, false, true},
		"vacant, we are in the ISR":         {topology.Shard{Epoch: 3, ISR: []topology.NodeID{"a"}}, ready, false, false},
		"vacant, another node in the ISR":   {topology.Shard{Epoch: 3, ISR: []topology.NodeID{"b"}}, ready, false, true},
		"vacant, no copies, assigned to us": {topology.Shard{Epoch: 3, Assigned: []topology.NodeID{"a", "b"}}, ready, false, false},
		"vacant, no copies, to another":     {topology.Shard{Epoch: 3, Assigned: []topology.NodeID{"b", "a"}}, ready, false, true},
		"vacant, no copies, assigned to no node": {
			topology.Shard{Epoch: 3}, ready, false, false},
	} {
		topo := &topology.Topology{Nodes: []topology.Node{{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 1}}, Shards: []topology.Shard{tc.row}}
		d := decide(topo, "a", 1, func(topology.ShardID) shardState { return tc.state })
		closed := tc.row.Primary != "a"
		if !d.member || d.topology != topo || d.settled != tc.settled || slices.Contains(d.lead, 0) != tc.open || slices.Contains(d.follow, 0) != closed {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// A topology without this incarnation of the node gives it no shard, and names it as the primary of none. What an
// earlier incarnation served stays on disk until the topology gives the shard to a node.
func TestDecideWithoutMembership(t *testing.T) {
	t.Parallel()
	rows := []topology.Shard{{Epoch: 3, Primary: "a"}, {Epoch: 3, EmptySince: 2, Primary: "a"}, {Epoch: 3, Primary: "b"}, {Epoch: 3, EmptySince: 2, Primary: "b"}}
	for name, nodes := range map[string][]topology.Node{
		"removed":             {{ID: "b", Incarnation: 1}},
		"earlier incarnation": {{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 1}},
		"later incarnation":   {{ID: "a", Incarnation: 3}, {ID: "b", Incarnation: 1}},
	} {
		topo := &topology.Topology{Nodes: nodes, Shards: rows}
		d := decide(topo, "a", 2, func(topology.ShardID) shardState { return shardState{ready: true} })
		if d.member || d.settled || len(d.lead) > 0 || len(d.follow) != 4 {
			t.Errorf("%s: %+v", name, d)
		}
		for i, want := range []topology.NodeID{"", "", "b", "b"} {
			if got := d.topology.Shards[i].Primary; got != want {
				t.Errorf("%s: the primary of shard %d is shown as %q, want %q", name, i, got, want)
			}
		}
		if topo.Shards[0].Primary != "a" {
			t.Errorf("%s: the topology was changed", name)
		}
	}
}

// A node is not settled before it knows a cluster.
func TestDecideWithoutCluster(t *testing.T) {
	t.Parallel()
	for _, topo := range []*topology.Topology{{}, {Nodes: []topology.Node{{ID: "a", Incarnation: 1}}}} {
		if d := decide(topo, "a", 1, nil); d.settled || len(d.lead)+len(d.follow) > 0 {
			t.Errorf("%+v: %+v", topo, d)
		}
	}
}
