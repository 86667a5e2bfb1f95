package reconcile

import (
	"reflect"
	"slices"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

func TestConfigOf(t *testing.T) {
	t.Parallel()
	topo := &topology.Topology{
		Nodes: []topology.Node{{ID: "a", Incarnation: 4}, {ID: "b", Incarnation: 7}},
		Shards: []topology.Shard{
			{Epoch: 9, LeaderEpoch: 8, EmptySince: 2, Primary: "b", ISR: []topology.NodeID{"a", "b"}, Unclean: []topology.NodeID{"a"}, Learners: []topology.NodeID{"c"}, Relinquished: true, Unsealed: true},
			{Epoch: 5, Primary: "a", ISR: []topology.NodeID{"a"}},
			{Epoch: 6},
		},
	}
	a, b := replica.Process{Node: "a", Incarnation: 4}, replica.Process{Node: "b", Incarnation: 7}
	for i, want := range []replica.Config{
		{Epoch: 9, LeaderEpoch: 8, Born: 2, Primary: b, ISR: []replica.Process{a, b}, Unclean: []replica.Process{a}, Learners: []replica.Process{{Node: "c"}}, Relinquished: true, Unsealed: true},
		{Epoch: 5, LeaderEpoch: 5, Primary: a, ISR: []replica.Process{a}}, // a row of Format 0
		{Epoch: 6, LeaderEpoch: 6},
	} {
		if got := configOf(topo, topology.ShardID(i)); !reflect.DeepEqual(got, want) {
			t.Errorf("shard %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestCopiesOf(t *testing.T) {
	t.Parallel()
	topo := &topology.Topology{
		Nodes: []topology.Node{{ID: "a", Incarnation: 4}, {ID: "b", Incarnation: 7}},
		Shards: []topology.Shard{
			{Epoch: 1, Primary: "a", ISR: []topology.NodeID{"a"}},
			{Epoch: 2, Primary: "b", ISR: []topology.NodeID{"b"}},
			{Epoch: 3, ISR: []topology.NodeID{"a", "b"}},
			{Epoch: 4, Primary: "b", ISR: []topology.NodeID{"b"}, Learners: []topology.NodeID{"a"}},
			{Epoch: 5, ISR: []topology.NodeID{"a"}}, // not read yet
			{Epoch: 6, Assigned: []topology.NodeID{"a"}},
		},
	}
	state := func(id topology.ShardID) shardState { return shardState{ready: id != 4} }
	want := []countedCopy{{0, 1, true, true}, {2, 3, false, false}, {3, 4, false, false}}
	if got := copiesOf(topo, replica.Process{Node: "a", Incarnation: 4}, state); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, self := range []replica.Process{{Node: "a", Incarnation: 3}, {Node: "a", Incarnation: 5}, {Node: "c", Incarnation: 4}} {
		if got := copiesOf(topo, self, state); got != nil {
			t.Errorf("%+v has copies: %+v", self, got)
		}
	}
}
