package topology

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What a controller proposes about the learners of one shard. c is leaving.
func TestPlanOfLearners(t *testing.T) {
	for _, tc := range []struct{ name, row, dead, want string }{
		{"an assigned node has no copy", "primary a isr a assigned a,b", "", "add-learner b"},
		{"two have none", "primary a isr a assigned a,b,d", "", "add-learner b, add-learner d"},
		{"it is dead", "primary a isr a assigned a,b", "b", ""},
		{"it leaves", "primary a isr a assigned a,c", "", ""},
		{"it is in the ISR", "primary a isr a,b assigned a,b", "", ""},
		{"it is unclean", "primary a isr a,b unclean b assigned a,b", "", ""},
		{"it is a learner", "primary a isr a learners b assigned a,b", "", ""},
		{"the shard has no primary", "isr a assigned a,b", "", ""},
		{"the primary is not assigned", "primary a isr a assigned b", "", "add-learner b"},
		{"a learner is not assigned", "primary a isr a,b learners d assigned a,b", "", "drop-learner d"},
		{"two are not", "primary a isr a learners b,d assigned a", "", "drop-learner b, drop-learner d"},
		{"one is not, and one has no copy", "primary a isr a learners d assigned a,b", "", "add-learner b, drop-learner d"},
		{"the ISR has other unclean members", "primary a isr a,b unclean b learners d assigned a,b", "", "drop-learner d"},
		{"no member is clean", "isr a unclean a learners d assigned a lossy", "", ""},
		{"the shard has no primary, but a clean member", "isr a,b unclean b learners d assigned a,b", "", ""},
		{"no member is clean, and the learner leaves", "isr a unclean a learners c assigned a lossy", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			topo := made(t, Shard{})
			topo, _ = topo.Apply(2, Command{[]Op{{Kind: NodeJoin, Nodes: []Node{{ID: "d", Incarnation: 1, Store: "D"}}}, {Kind: NodeLeave, Node: "c"}}})
			view := View{Nodes: map[NodeID]Liveness{}, NodesChanged: 1} // not settled: nothing is assigned again
			for _, n := range topo.Nodes {
				view.Nodes[n.ID] = Liveness{Format: LatestFormat, Alive: string(n.ID) != tc.dead, Incarnation: n.Incarnation}
			}
			for i := range topo.Shards {
				topo.Shards[i] = parseRow(t, "7 primary a isr a assigned a")
			}
			topo.Shards[0] = parseRow(t, "7 "+tc.row)
			view.Loads = noLoads(topo)
			ops := topo.Plan(view)
			var got []string
			for _, op := range ops {
				if op.Kind != NodeForget {
					got = append(got, fmt.Sprintf("%s %s", op.Kind, op.Node))
				}
			}
			if strings.Join(got, ", ") != tc.want {
				t.Fatalf("%q, want %q", got, tc.want)
			}
			next, errs := topo.Apply(9, Command{ops})
			if err := errors.Join(append(errs, next.Check(), checkLearners(topo, view, ops), checkPlanned(next, view, ops))...); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// noLoads is what nodes say that have room for anything and whose shards are empty.
func noLoads(t *Topology) map[NodeID]*Load {
	all := map[NodeID]*Load{}
	for _, n := range t.Nodes {
		all[n.ID] = &Load{Incarnation: n.Incarnation, Memory: NoLimit, Disk: NoLimit}
	}
	for i, row := range t.Shards {
		if load := all[row.Primary]; load != nil {
			load.Shards = append(load.Shards, ShardLoad{Shard: ShardID(i)})
		}
	}
	return all
}

// A copy of which a part has arrived needs room only for the rest, and counts as on its way. A copy without room does not count.
func TestRoomOfCopiesOnTheirWay(t *testing.T) {
	const gb = 1 << 30
	for done, want := range map[int64]string{4 * gb: "", 0: "add-learner b"} {
		topo := made(t, Shard{})
		for i := range topo.Shards {
			topo.Shards[i] = parseRow(t, "7 primary a isr a assigned a")
		}
		topo.Shards[0] = parseRow(t, "7 primary a isr a learners b assigned a,b")
		topo.Shards[1] = parseRow(t, "7 primary a isr a learners b assigned a,b")
		topo.Shards[2] = parseRow(t, "7 primary a isr a assigned a,b")
		view := View{Nodes: map[NodeID]Liveness{}, NodesChanged: 1, Loads: noLoads(topo)}
		for _, n := range topo.Nodes {
			view.Nodes[n.ID] = Liveness{Format: LatestFormat, Alive: true, Incarnation: n.Incarnation}
		}
		for shard, bytes := range []int64{6 * gb, 6 * gb, gb} {
			view.Loads["a"].Shards[shard].Bytes = bytes
		}
		view.Loads["a"].Sends = []Send{{Shard: 0, To: "b", Done: done}, {Shard: 1, To: "b", Done: done}}
		view.Loads["b"].Memory = 5*gb + gb/2
		var got []string
		for _, op := range topo.Plan(view) {
			got = append(got, fmt.Sprintf("%s %s", op.Kind, op.Node))
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("with %d GB of each copy sent: %q, want %q", done/gb, got, want)
		}
	}
}
