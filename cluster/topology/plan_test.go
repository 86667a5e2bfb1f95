package topology

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// For any topology and view, all ops of Plan can be applied, and afterwards it returns no more but the learners of shards that it promoted.
func TestAPlanIsPossibleAndComplete(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 3))
		topo := made(t, Shard{})
		view := View{Now: 1_000_000, NodesChanged: 1_000_000 - r.Int64N(2*SettleTime), Nodes: map[NodeID]Liveness{}}
		for i := range 60 {
			topo, _ = topo.Apply(uint64(2+i), Command{[]Op{randomOp(r, topo)}})
			for _, n := range topo.Nodes {
				view.Nodes[n.ID] = Liveness{Format: LatestFormat, Alive: r.IntN(3) > 0, Incarnation: n.Incarnation + r.Uint64N(5)/4, Flaps: r.IntN(5), LastFlap: view.Now - r.Int64N(2*FlapPenalty)}
			}
			ops := topo.Plan(view)
			next, errs := topo.Apply(topo.Index+1, Command{ops})
			if err := errors.Join(errors.Join(errs...), next.Check(), CheckStep(topo, next)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := errors.Join(checkLearners(topo, view, ops), checkPlanned(next, view, ops)); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
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

// The leader plans five times a second, mostly without a result: that must be cheap.
func BenchmarkPlanAtRest(b *testing.B) {
	for _, size := range []struct{ nodes, shards, replicas int }{{3, 256, 2}, {30, 256, 2}, {100, 1024, 2}} {
		b.Run(fmt.Sprintf("%d nodes, %d shards", size.nodes, size.shards), func(b *testing.B) {
			nodes := someNodes(1, size.nodes, 3)
			view := View{Now: time.Hour.Milliseconds(), Nodes: map[NodeID]Liveness{}}
			for _, n := range nodes {
				view.Nodes[n.ID] = Liveness{Alive: true, Format: LatestFormat}
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
