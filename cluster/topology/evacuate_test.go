package topology

import "testing"

func TestEvacuate(t *testing.T) {
	t.Parallel()
	row := func(primary NodeID, isr, assigned []NodeID, unclean ...NodeID) Shard {
		return Shard{Epoch: 5, Primary: primary, ISR: isr, Assigned: assigned, Unclean: unclean}
	}
	topo := &Topology{
		Nodes: []Node{{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 2}, {ID: "c", Incarnation: 3}, {ID: "d", Incarnation: 4}, {ID: "l", Incarnation: 5, State: Leaving}},
		Shards: []Shard{
			row("a", []NodeID{"a", "b"}, []NodeID{"a", "b"}),
			row("b", []NodeID{"a", "b"}, []NodeID{"b", "a"}),           // another node serves it
			row("a", []NodeID{"a"}, []NodeID{"a", "b"}),                // no other copy
			row("a", []NodeID{"a", "b", "c"}, []NodeID{"a", "b"}, "b"), // b is unclean
			row("a", []NodeID{"a", "d"}, []NodeID{"a", "d"}),           // d is down
			row("a", []NodeID{"a", "c", "b"}, []NodeID{"a", "b"}),      // b is assigned
			row("a", []NodeID{"a", "b", "c"}, []NodeID{"a", "b", "c"}), // c gets fewer
			row("a", []NodeID{"a", "l", "c"}, []NodeID{"a", "l", "c"}), // l leaves
			row("a", []NodeID{"a", "l"}, []NodeID{"a", "l"}),           // raft would refuse the only other node
		},
	}
	want := map[ShardID]NodeID{0: "b", 3: "c", 5: "b", 6: "c", 7: "c"}
	ops := topo.Evacuate("a", func(id NodeID) bool { return id != "d" })
	for _, op := range ops {
		if n, _ := topo.Node(op.Node); op.Kind != TransferPrimary || want[op.Shard] != op.Node || op.Epoch != 5 || op.Incarnation != n.Incarnation {
			t.Errorf("%+v, want %q", op, want[op.Shard])
		}
	}
	if len(ops) != len(want) {
		t.Errorf("%d ops, want %d", len(ops), len(want))
	}
}

// A node that stops waits for copies that catch up where no other copy could take over: not for those of nodes that are down or leave.
func TestAwaited(t *testing.T) {
	t.Parallel()
	nodes := []Node{{ID: "a"}, {ID: "b"}, {ID: "d"}, {ID: "l", State: Leaving}}
	for i, tc := range []struct {
		row  Shard
		want int
	}{
		{Shard{Primary: "a", ISR: []NodeID{"a"}, Learners: []NodeID{"b"}}, 1},
		{Shard{Primary: "a", ISR: []NodeID{"a", "b"}, Unclean: []NodeID{"b"}}, 1},
		{Shard{Primary: "a", ISR: []NodeID{"a", "d"}, Learners: []NodeID{"b"}}, 1}, // d is down
		{Shard{Primary: "a", ISR: []NodeID{"a"}}, 0},
		{Shard{Primary: "a", ISR: []NodeID{"a"}, Learners: []NodeID{"d", "l"}}, 0},
		{Shard{Primary: "a", ISR: []NodeID{"a", "b"}, Learners: []NodeID{"b"}}, 0}, // b may take over now
		{Shard{Primary: "b", ISR: []NodeID{"b"}, Learners: []NodeID{"a"}}, 0},      // another node serves it
	} {
		topo := &Topology{Nodes: nodes, Shards: []Shard{tc.row}}
		if n := topo.Awaited("a", func(id NodeID) bool { return id != "d" }); n != tc.want {
			t.Errorf("row %d: %d shards are awaited, not %d", i, n, tc.want)
		}
	}
}
