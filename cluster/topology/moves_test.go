package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// What a, the primary, proposes. b, c and d are the other nodes.
func TestMoves(t *testing.T) {
	for _, tc := range []struct{ name, row, leave, dead, want string }{
		// With one copy, the shard is handed over if it is empty.
		{"an empty shard that should be elsewhere", "isr a assigned b,c", "", "", "transfer-primary b empty"},
		{"one with data", "isr a assigned b data", "", "", ""},
		{"one that is where it should be", "isr a assigned a,b", "", "", ""},
		{"to one that is dead", "isr a assigned b,c", "", "b", ""},
		{"to one that leaves", "isr a assigned b,c", "b", "", ""},
		{"by one that leaves", "isr a assigned b", "a", "", "transfer-primary b empty"},
		{"by one that leaves, past one that is dead", "isr a assigned b,c", "a", "b", "transfer-primary c empty"},
		{"by one that leaves and is still assigned", "isr a assigned a,c", "a", "", ""},
		{"by one that leaves, with data", "isr a assigned b data", "a", "", ""},
		{"that is assigned nowhere", "isr a", "", "", ""},
		{"to a learner", "isr a learners b assigned b,a", "", "", "transfer-primary b empty"},

		// With several, it goes to the preferred primary once that is in step.
		{"the preferred primary is in the ISR", "isr a,b assigned b,a", "", "", "transfer-primary b"},
		{"with data", "isr a,b assigned b,a data", "", "", "transfer-primary b"},
		{"it catches up", "isr a,c learners b assigned b,a", "", "", ""},
		{"it catches up, and the next one is in the ISR", "isr a,c learners b assigned b,c,a", "", "", ""},
		{"it is unclean", "isr a,b unclean b assigned b,a", "", "", ""},
		{"it is dead", "isr a,b assigned b,a", "", "b", ""},
		{"it is dead, and this node is the next", "isr a,b,c assigned b,a,c", "", "b", ""},
		{"it is dead, and another is the next", "isr a,b,c assigned b,c,a", "", "b", "transfer-primary c"},
		{"it leaves, and another is the next", "isr a,b,c assigned b,c,a", "b", "", "transfer-primary c"},
		{"this is the preferred primary", "isr a,b assigned a,b", "", "", ""},

		// A node that should not have a copy at all does not wait for the preferred primary.
		{"not assigned", "isr a,c learners b assigned b,c", "", "", "transfer-primary c"},
		{"not assigned, and none is in step", "isr a,d learners b,c assigned b,c", "", "", ""},
		{"not assigned, and one is unclean", "isr a,b,c unclean b assigned b,c", "", "", "transfer-primary c"},
		{"leaving", "isr a,c learners b assigned b,c", "a", "", "transfer-primary c"},
		{"leaving and still assigned", "isr a,b assigned a,b", "a", "", "transfer-primary b"},
		{"leaving, and the other is dead", "isr a,b assigned b", "a", "b", ""},

		// What is not assigned goes once all that is assigned is in step.
		{"a member is not assigned", "isr a,b,c assigned a,b", "", "", "shrink-isr c"},
		{"two are not", "isr d,a,b,c assigned a,b", "", "", "shrink-isr d"},
		{"one is not assigned and dead", "isr a,b,c assigned a,b", "", "c", "shrink-isr c"},
		{"one is not assigned and unclean", "isr a,b,c unclean c assigned a,b", "", "", "shrink-isr c"},
		{"the primary is the only one assigned", "isr a,b assigned a", "", "", "shrink-isr b"},
		{"an assigned node catches up", "isr a,c learners b assigned a,b", "", "", ""},
		{"an assigned node has no copy", "isr a,c assigned a,b", "", "", ""},
		{"an assigned node is unclean", "isr a,b,c unclean b assigned a,b", "", "", ""},
		{"an assigned node is dead", "isr a,b,c assigned a,b", "", "b", ""},
		{"an assigned node leaves", "isr a,b,c assigned a,b", "b", "", ""},
		{"the primary is not assigned", "isr a,b,c assigned b,c", "", "", "transfer-primary b"},
		{"the primary leaves", "isr a,b,c assigned a,b", "a", "b", ""},
		{"the primary leaves, and only it is assigned", "isr a,b assigned a", "a", "", ""},
		{"nothing is assigned", "isr a,b", "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row, data := strings.CutSuffix(tc.row, " data")
			topo := made(t, Shard{})
			topo, _ = topo.Apply(2, Command{[]Op{{Kind: NodeJoin, Nodes: []Node{{ID: "d", Incarnation: 1, Store: "D"}}}}})
			topo.Shards[0] = parseRow(t, "7 primary a "+row)
			topo, _ = topo.Apply(3, Command{[]Op{{Kind: NodeLeave, Node: NodeID(tc.leave)}}})
			oneCopy := *topo
			if oneCopy.Replicas = 1; strings.HasSuffix(tc.want, " empty") { // with more, the other node gets a copy first
				if ops := topo.Moves("a", func(NodeID) bool { return true }, func(ShardID) bool { return true }); len(ops) > 0 {
					t.Errorf("a shard with one copy of two is handed over empty: %+v", ops)
				}
				topo = &oneCopy
			}
			alive := func(id NodeID) bool { return id != "a" && string(id) != tc.dead }
			ops := topo.Moves("a", alive, func(ShardID) bool { return !data })
			got := ""
			for _, op := range ops {
				got += fmt.Sprintf("%s %s", op.Kind, op.Node)
				if op.Empty {
					got += " empty"
				}
			}
			if got != tc.want {
				t.Fatalf("%q, want %q", got, tc.want)
			}
			if err := errors.Join(topo.Check(), checkMoves(topo, "a", ops, alive)); err != nil {
				t.Fatal(err)
			}
			if other := topo.Moves("b", alive, nil); len(other) > 0 {
				t.Errorf("another node moves a shard of a: %+v", other)
			}
		})
	}
	if ops := made(t, Shard{}).Moves("z", nil, nil); len(ops) > 0 {
		t.Error("a node outside the cluster moves shards")
	}
	older := made(t, parseRow(t, "7 primary a isr a,b assigned b,a"))
	older.Format = Format0
	if ops := older.Moves("a", func(NodeID) bool { return true }, nil); len(ops) > 0 {
		t.Errorf("a topology of format 0 knows no copies: %+v", ops)
	}
}

// Transfers come first, in the order of the shards, and then shrinks.
func TestMovesAreOrdered(t *testing.T) {
	topo := made(t, Shard{})
	topo.Replicas = 1
	for i, row := range []string{"isr a,b,c assigned a,b", "isr a,b assigned b,a", "isr a,c assigned a", "isr a assigned c"} {
		topo.Shards[i] = parseRow(t, "7 primary a "+row)
	}
	var got []ShardID
	for _, op := range topo.Moves("a", func(NodeID) bool { return true }, func(ShardID) bool { return true }) {
		got = append(got, op.Shard)
	}
	if want := "[1 3 0 2]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

// Whatever the rows are, moves can be applied, and come to an end.
func TestMovesComeToAnEnd(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 5))
		topo := made(t, Shard{})
		for i := range 120 {
			op := randomOp(r, topo)
			if op.Kind == NodeForget {
				continue
			}
			if r.IntN(5) == 0 {
				op = Op{Kind: Assign, Shard: op.Shard, Epoch: topo.Shards[op.Shard].Epoch, Members: someOf(r, topo.Nodes)}
			}
			topo, _ = topo.Apply(uint64(2+i), Command{[]Op{op}})
		}
		dead := topo.Nodes[r.IntN(len(topo.Nodes))].ID
		for round := 0; ; round++ {
			any := false
			for _, n := range topo.Nodes {
				alive := func(id NodeID) bool { return id != dead }
				ops := topo.Moves(n.ID, alive, func(ShardID) bool { return true })
				if err := checkMoves(topo, n.ID, ops, alive); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				topo, _ = topo.Apply(topo.Index+1, Command{ops})
				any = any || len(ops) > 0
			}
			if !any {
				break
			}
			if round > 20 {
				t.Fatalf("seed %d: the moves have no end", seed)
			}
		}
	}
}

func someOf(r *rand.Rand, nodes []Node) (out []NodeID) {
	for _, i := range r.Perm(len(nodes))[:1+r.IntN(min(3, len(nodes)))] {
		out = append(out, nodes[i].ID)
	}
	return out
}
