package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// For any topology and view, all ops of Plan can be applied, and afterwards it returns no more.
func TestAPlanIsPossibleAndComplete(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		topo := made(t, Shard{})
		view := View{Now: 1_000_000, NodesChanged: 1_000_000 - r.Int64N(2*SettleTime), Nodes: map[NodeID]Liveness{}}
		for i := range 60 {
			topo, _ = topo.Apply(uint64(2+i), Command{[]Op{randomOp(r, topo)}})
			for _, n := range topo.Nodes {
				view.Nodes[n.ID] = Liveness{Alive: r.IntN(3) > 0, Incarnation: n.Incarnation + r.Uint64N(5)/4, Flaps: r.IntN(5), LastFlap: view.Now - r.Int64N(2*FlapPenalty)}
			}
			ops := topo.Plan(view)
			next, errs := topo.Apply(topo.Index+1, Command{ops})
			if err := errors.Join(errors.Join(errs...), next.Check(), CheckStep(topo, next)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if more := next.Plan(view); len(more) > 0 {
				t.Fatalf("seed %d: the same view leads to more: %+v", seed, more)
			}
			if r.IntN(3) == 0 {
				topo = next
			}
		}
	}
}

// randomOp returns an op that is likely to be applied.
func randomOp(r *rand.Rand, topo *Topology) Op {
	shard := r.IntN(len(topo.Shards))
	row := topo.Shards[shard]
	n := topo.Nodes[r.IntN(len(topo.Nodes))]
	op := Op{Shard: ShardID(shard), Epoch: row.Epoch, Node: n.ID, Incarnation: n.Incarnation, Empty: r.IntN(3) == 0}
	kinds := []Kind{Promote, Promote, Resign, ShrinkISR, AddLearner, AddLearner, ExpandISR, ExpandISR, TransferPrimary, NodeJoin, NodeJoin, NodeLeave, NodeForget}
	switch op.Kind = kinds[r.IntN(len(kinds))]; op.Kind {
	case Resign:
		op.Node = row.Primary
	case NodeJoin:
		if n.Incarnation++; r.IntN(3) == 0 {
			n.Store += "x"
		}
		if r.IntN(3) == 0 {
			n.ID = NodeID(rune('a' + r.IntN(7)))
		}
		op.Nodes = []Node{n}
	case NodeForget:
		if r.IntN(3) > 0 {
			op.Kind = NodeLeave
		}
	}
	return op
}

func TestHandoverGoesOnlyWhereItMay(t *testing.T) {
	for _, tc := range []struct {
		name  string
		row   Shard
		leave string
		dead  string
		data  bool
		want  string
	}{
		{"an empty shard that ought to be elsewhere", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b,c")}, "", "", false, "b"},
		{"one with data", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b")}, "", "", true, ""},
		{"one that is where it ought to be", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("a,b")}, "", "", false, ""},
		{"another's", Shard{Primary: "b", ISR: ids("b"), Assigned: ids("c")}, "", "", false, ""},
		{"one with a second copy", Shard{Primary: "a", ISR: ids("a,b"), Assigned: ids("b")}, "", "", false, ""},
		{"to one that is dead", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b,c")}, "", "b", false, ""},
		{"to one that is leaving", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b,c")}, "b", "", false, ""},
		{"by one that is leaving", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b")}, "a", "", false, "b"},
		{"by one that is leaving, past one that is dead", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b,c")}, "a", "b", false, "c"},
		{"by one that is leaving and still assigned", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("a,c")}, "a", "", false, ""},
		{"by one that is leaving, with data", Shard{Primary: "a", ISR: ids("a"), Assigned: ids("b")}, "a", "", true, ""},
		{"that is assigned nowhere", Shard{Primary: "a", ISR: ids("a")}, "", "", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.row.Epoch = 7
			topo := made(t, tc.row)
			if tc.leave != "" {
				topo, _ = topo.Apply(2, Command{[]Op{{Kind: NodeLeave, Node: NodeID(tc.leave)}}})
			}
			got := ""
			ops := topo.Handover("a", func(id NodeID) bool { return string(id) != tc.dead }, func(ShardID) bool { return !tc.data })
			for _, op := range ops {
				got += string(op.Node)
			}
			if got != tc.want {
				t.Fatalf("to %q, want %q", got, tc.want)
			}
			if _, errs := topo.Apply(9, Command{ops}); errors.Join(errs...) != nil {
				t.Fatal(errs)
			}
		})
	}
	if ops := made(t, Shard{}).Handover("z", nil, nil); len(ops) > 0 {
		t.Error("a stranger hands over")
	}
}

// The leader plans five times a second, mostly without a result: that must be cheap.
func BenchmarkPlanAtRest(b *testing.B) {
	for _, size := range []struct{ nodes, shards, replicas int }{{3, 256, 2}, {30, 256, 2}, {100, 1024, 2}} {
		b.Run(fmt.Sprintf("%d nodes, %d shards", size.nodes, size.shards), func(b *testing.B) {
			nodes := someNodes(1, size.nodes, 3)
			view := View{Now: time.Hour.Milliseconds(), Nodes: map[NodeID]Liveness{}}
			for _, n := range nodes {
				view.Nodes[n.ID] = Liveness{Alive: true}
			}
			topo, _ := (*Topology)(nil).Apply(1, Command{[]Op{{Kind: Create, Cluster: "c", Shards: size.shards, Replicas: size.replicas, Epoch: 1, Nodes: nodes}}})
			topo, _ = topo.Apply(2, Command{topo.Plan(view)})
			for b.Loop() {
				if len(topo.Plan(view)) > 0 {
					b.Fatal("it is not at rest")
				}
			}
		})
	}
}
