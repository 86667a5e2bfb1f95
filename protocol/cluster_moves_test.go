package protocol

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// PlanMoves, CarryMoves, Stay, Moves and Load implement Cluster.
func (s *testServer) PlanMoves(_ context.Context, w topology.Wish) (*view.Plan, error) {
	then, _, err := s.carry(w)
	if err != nil {
		return nil, err
	}
	return view.PlanOf(s.Topology(), then, nil), nil
}

func (s *testServer) carry(w topology.Wish) (then *topology.Topology, shards int, err error) {
	command, shards, err := s.Topology().Carry(w, nil)
	if err != nil {
		return nil, 0, err
	}
	then, errs := s.Topology().Apply(s.Topology().Index+1, command)
	return then, shards, errors.Join(errs...)
}

func (s *testServer) CarryMoves(_ context.Context, w topology.Wish, base uint64) (int, error) {
	then, shards, err := s.carry(w)
	if err == nil && base != 0 && base != s.Topology().Placement.At {
		return 0, errors.New("the placement has changed")
	}
	if err == nil {
		s.topo.Store(then)
	}
	return shards, err
}

func (s *testServer) Stay(_ context.Context, id topology.NodeID) error {
	then, errs := s.Topology().Apply(s.Topology().Index+1, topology.Command{Ops: []topology.Op{{Kind: topology.NodeStay, Node: id}}})
	s.topo.Store(then)
	return errors.Join(errs...)
}

func (s *testServer) Moves(context.Context) *view.Moves {
	return view.MovesOf(s.Topology(), nil, nil, false)
}
func (s *testServer) Load() topology.Load { return topology.Load{Incarnation: 1} }

// placedThree is threeNodes in the newest format, with each shard assigned to two nodes.
func placedThree() *topology.Topology {
	topo := threeNodes()
	topo.Format, topo.Replicas, topo.Placement = topology.Format2, 2, topology.Placement{At: 7, Nodes: "x"}
	var ids []topology.NodeID
	for i := range topo.Nodes {
		topo.Nodes[i].State = topology.Active
		ids = append(ids, topo.Nodes[i].ID)
	}
	for i := range topo.Shards {
		a, b := ids[i%3], ids[(i+1)%3]
		topo.Shards[i] = topology.Shard{Epoch: 50, LeaderEpoch: 50, Primary: a, ISR: []topology.NodeID{a, b}, Assigned: []topology.NodeID{a, b}}
	}
	return topo
}

// The commands about moves: what they refuse, and what they change.
func TestMoveCommands(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	for _, tc := range []struct {
		command, reply string
		check          func(*topology.Topology) bool
	}{
		{"REBALANCE AT 7", "+OK", nil},
		{"REBALANCE AT 6", "-ERR the placement has changed", nil},
		{"REBALANCE AT x", "-ERR Invalid index of a placement: x", nil},
		{"REBALANCE WHAT", "-ERR syntax error", nil},
		{"REBALANCE PLAN AT 7", "-ERR syntax error", nil},
		{"MOVE SHARD 1 TO " + selfID, "+OK", func(topo *topology.Topology) bool { return topo.Shards[1].Assigned[0] == selfID }},
		{"MOVE SHARD 0 TO " + thirdID + " FROM " + otherID, "+OK", func(topo *topology.Topology) bool { return slices.Contains(topo.Shards[0].Assigned, thirdID) }},
		{"MOVE SHARD 0 TO " + selfID, "-ERR refused: shard 0 is assigned to node-a (" + selfID[:8] + ") already", nil},
		{"MOVE SHARD 16 TO " + selfID, "-ERR no such shard: 16", nil},
		{"MOVE SHARD -1 TO " + selfID, "-ERR Invalid shard number: -1", nil},
		{"MOVE SHARD 1 TO nosuch", "-ERR Unknown node nosuch", nil},
		{"MOVE SHARD 1 TO " + selfID + " FROM nosuch", "-ERR Unknown node nosuch", nil},
		{"MOVE SHARD 1 FROM " + selfID, "-ERR syntax error", nil},
		{"DRAIN " + otherID, "+OK", func(topo *topology.Topology) bool {
			n, _ := topo.Node(otherID)
			return n.State == topology.Draining && !slices.ContainsFunc(topo.Shards, func(row topology.Shard) bool { return slices.Contains(row.Assigned, otherID) })
		}},
		{"DRAIN nosuch", "-ERR Unknown node nosuch", nil},
		{"UNDRAIN " + otherID, "-ERR node node-b (" + otherID[:8] + ") is neither drained nor leaving", nil},
		{"REPLACE " + otherID + " WITH " + otherID, "-ERR refused: a node cannot replace itself", nil},
		{"REPLACE " + otherID + " BY " + thirdID, "-ERR syntax error", nil},
		{"REPLACE " + otherID + " WITH nosuch", "-ERR Unknown node nosuch", nil},
		{"MOVES CANCEL", ":0", nil},
		{"MOVES CANCEL SHARD", "-ERR syntax error", nil},
		{"MOVES CANCEL SHARD x", "-ERR Invalid shard number: x", nil},
		{"MOVES WHAT", "-ERR syntax error", nil},
	} {
		s.follow(t, placedThree())
		if got := c.do(append([]string{"CLUSTER"}, strings.Fields(tc.command)...)...); got != tc.reply {
			t.Errorf("%s: %s, want %s", tc.command, got, tc.reply)
		}
		if tc.check != nil && !tc.check(s.Topology()) {
			t.Errorf("%s: %+v", tc.command, s.Topology().Shards[:2])
		}
	}
}

// Plans and moves come as JSON, and change nothing.
func TestPlansChangeNothing(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	s.follow(t, placedThree())
	for _, command := range []string{"REBALANCE PLAN", "DRAIN " + otherID + " PLAN", "REPLACE " + otherID + " WITH " + thirdID + " PLAN", "MOVE SHARD 0 TO " + thirdID + " PLAN"} {
		before := s.Topology()
		plan, err := view.DecodePlan([]byte(strings.Trim(c.do(append([]string{"CLUSTER"}, strings.Fields(command)...)...), `"`)))
		if err != nil || plan.Base != 7 || len(plan.Nodes) != 3 || s.Topology() != before {
			t.Errorf("%s: %+v, %v", command, plan, err)
		}
		if command != "REBALANCE PLAN" && len(plan.Moves) == 0 {
			t.Errorf("%s moves nothing: %+v", command, plan)
		}
	}
	topo := placedThree()
	topo.Shards[0].Assigned = []topology.NodeID{thirdID, otherID}
	s.follow(t, topo)
	moves, err := view.DecodeMoves([]byte(strings.Trim(c.do("CLUSTER", "MOVES"), `"`)))
	if err != nil || len(moves.Moves) != 1 || moves.Moves[0].State != view.MoveWaiting || moves.Moves[0].To != thirdID || moves.Moves[0].Replaces != selfID {
		t.Errorf("%+v, %v", moves, err)
	}
	if got := c.do("CLUSTER", "LOAD"); !strings.Contains(got, `"incarnation":1`) {
		t.Error(got)
	}
}
