package topology

import (
	"reflect"
	"testing"
)

// After a recovery no shard has a primary and all epochs are above earlier ones. Copies and members stay, and
// the original topology is unchanged.
func TestRecovered(t *testing.T) {
	t.Parallel()
	before, err := Single(Node{ID: "a", Incarnation: 7}, 16, 100)
	if err != nil {
		t.Fatal(err)
	}
	before.Index, before.Shards[3].EmptySince = 5, 90
	after := before.Recovered(1_000_000, RecoveryGap)
	if after.Index != 1_000_000 || after.Recovery != after.Index || before.Recovery != 0 || after.Cluster != before.Cluster || !reflect.DeepEqual(after.Nodes, before.Nodes) {
		t.Errorf("%+v", after)
	}
	for i, s := range after.Shards {
		was := before.Shards[i]
		if s.Primary != "" || s.Epoch != 100+RecoveryGap || s.EmptySince != was.EmptySince || !reflect.DeepEqual(s.ISR, was.ISR) || was.Primary != "a" || was.Epoch != 100 {
			t.Errorf("shard %d: %+v, was %+v", i, s, was)
		}
	}
	ops := after.Plan(View{Nodes: map[NodeID]Liveness{"a": {Alive: true, Incarnation: 7}}})
	served, errs := after.Apply(1_000_001, Command{ops})
	for i, err := range errs {
		if err != nil {
			t.Errorf("op %d: %v", i, err)
		}
	}
	if served.Recovery != after.Recovery {
		t.Errorf("the recovery %d has become %d", after.Recovery, served.Recovery)
	}
	for _, topo := range []*Topology{after, served} {
		if err := topo.Check(); err != nil {
			t.Error(err)
		}
	}
	for i, s := range served.Shards {
		if s.Primary != "a" {
			t.Errorf("shard %d is not given out again: %+v", i, s)
		}
	}
}
