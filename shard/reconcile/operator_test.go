package reconcile

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// What an operator has handed over to this node stays for KeepTime.
func TestKeepEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.Operator().Keep([]topology.ShardID{3, 4})
		for _, tc := range []struct {
			after time.Duration
			kept  bool
		}{{0, true}, {KeepTime - time.Second, true}, {time.Second, false}} {
			time.Sleep(tc.after)
			if got := s.operator.keeps(3); got != tc.kept {
				t.Errorf("after another %v: %v", tc.after, got)
			}
		}
		if s.operator.keeps(5) {
			t.Error("a shard that the operator has not named is kept")
		}
	})
}

// A node that stops moves nothing by itself, not even empty shards that are assigned to others.
func TestNothingMovesWhileTheNodeStops(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	if left := s.Operator().Evacuate(t.Context()); left > 0 { // its only shard has no other copy
		t.Errorf("%d shards are left", left)
	}
	s.move(t.Context(), s.newest.Load()) // an unexpected proposal panics
	s.expect(true)
}

// A node whose raft hears no leader hands over nothing: a shard would be closed until the leader is heard again.
func TestNothingMovesWithoutALeader(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	hears := false
	s.config.HearsLeader = func() bool { return hears }
	s.move(t.Context(), s.newest.Load()) // an unexpected proposal panics
	s.expect(true)
	hears = true
	s.answers = []proposer{s.apply}
	s.move(t.Context(), s.newest.Load())
	s.expect(false)
}

// Evacuate gives up with its context.
func TestEvacuateEnds(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	topo := *s.newest.Load()
	topo.Shards = append([]topology.Shard(nil), topo.Shards...)
	topo.Shards[0].ISR = []topology.NodeID{"a", "b"} // which the copy has not learned: it refuses
	s.newest.Store(&topo)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if left := s.Operator().Evacuate(ctx); left != 1 {
		t.Errorf("%d shards are left, want 1", left)
	}
	s.expect(true)
}

func TestTransferOfWhatCannotGo(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	for i, err := range s.Operator().Transfer(t.Context(), replica.Process{Node: "b", Incarnation: 1}, []topology.ShardID{0, 1, -1, 99}) {
		if err == nil { // b has no copy of 0; the others are not this node's
			t.Errorf("request %d is not refused", i)
		}
	}
	topo := *s.newest.Load()
	topo.Nodes = append([]topology.Node(nil), topo.Nodes...)
	for i := range topo.Nodes {
		if topo.Nodes[i].ID == "b" {
			topo.Nodes[i].State = topology.Leaving
		}
	}
	s.newest.Store(&topo)
	for name, to := range map[string]replica.Process{"leaves": {Node: "b", Incarnation: 1}, "was restarted": {Node: "b", Incarnation: 7}} {
		if err := s.Operator().Transfer(t.Context(), to, []topology.ShardID{0})[0]; err == nil || !strings.Contains(err.Error(), "is leaving the cluster, or has been restarted") {
			t.Errorf("to a node that %s: %v", name, err)
		}
	}
	s.expect(true)
}

func TestCounts(t *testing.T) {
	t.Parallel()
	type ids = []topology.NodeID
	var c Counts
	var h history
	for i, tc := range []struct {
		row                         topology.Shard
		shrinks, expands, failovers int64
	}{
		{topology.Shard{Epoch: 1, LeaderEpoch: 1, Primary: "b", ISR: ids{"a", "b"}}, 0, 0, 0},
		{topology.Shard{Epoch: 2, LeaderEpoch: 2, Primary: "a", ISR: ids{"a", "b"}}, 0, 0, 0},      // handed over
		{topology.Shard{Epoch: 3, LeaderEpoch: 2, Primary: "a", ISR: ids{"a"}}, 1, 0, 0},           // b lags
		{topology.Shard{Epoch: 3, LeaderEpoch: 2, Primary: "a", ISR: ids{"a"}}, 1, 0, 0},           // again
		{topology.Shard{Epoch: 4, LeaderEpoch: 2, Primary: "a", ISR: ids{"a", "b"}}, 1, 1, 0},      // it is back
		{topology.Shard{Epoch: 5, LeaderEpoch: 5, Primary: "b", ISR: ids{"a", "b"}}, 1, 1, 0},      // handed back
		{topology.Shard{Epoch: 6, LeaderEpoch: 5, Primary: "b", ISR: ids{"a", "b", "c"}}, 1, 1, 0}, // another node leads
		{topology.Shard{Epoch: 7, Primary: "", ISR: ids{"a", "b", "c"}}, 1, 1, 0},
		{topology.Shard{Epoch: 8, LeaderEpoch: 8, Primary: "a", ISR: ids{"a", "c"}}, 1, 1, 1}, // b is lost
		{topology.Shard{Epoch: 9, Primary: "", ISR: ids{"a", "c"}}, 1, 1, 1},                  // this node restarts
		{topology.Shard{Epoch: 10, LeaderEpoch: 10, Primary: "a", ISR: ids{"a"}}, 1, 1, 1},    // and gets it back
	} {
		c.note(&h, &topology.Topology{Shards: []topology.Shard{tc.row}}, "a")
		if c.Shrinks.Load() != tc.shrinks || c.Expands.Load() != tc.expands || c.Failovers.Load() != tc.failovers {
			t.Errorf("row %d: %d, %d, %d", i, c.Shrinks.Load(), c.Expands.Load(), c.Failovers.Load())
		}
	}
}
