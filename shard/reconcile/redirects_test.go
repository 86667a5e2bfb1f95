package reconcile

import (
	"context"
	"errors"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

// A node redirects clients to the new primary of a shard only after that routes by the new row, or has had time to.
func TestRedirectsAreHeldUntilTheNewPrimaryRoutes(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{"routes": nil, "no answer": errors.New("no answer")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			s.answers = []proposer{s.apply}
			s.move(t.Context(), s.newest.Load())
			var asked []topology.NodeID
			s.config.AwaitRemote = func(_ context.Context, to topology.NodeID, index uint64) error {
				if asked = append(asked, to); index != s.newest.Load().Index {
					t.Errorf("node %s is asked for topology %d, want %d", to, index, s.newest.Load().Index)
				}
				return answer
			}
			ask := s.reconcile(s.newest.Load())
			if before := s.routed(); before != "a" || len(ask) != 1 || ask[0] != "b" {
				t.Fatalf("before b routes, clients are sent to %q; to be asked: %q", before, ask)
			}
			if again := s.reconcile(s.newest.Load()); len(again) > 0 || s.routed() != "a" {
				t.Errorf("b is asked again: %q", again)
			}
			s.awaitRouting(t.Context(), ask[0], s.newest.Load())
			if len(s.wake) == 0 {
				t.Error("the node does not reconcile again")
			}
			if again := s.reconcile(s.newest.Load()); len(again) > 0 || s.routed() != "b" || len(s.held) > 0 {
				t.Errorf("afterwards, clients are sent to %q; to be asked: %q; held: %v", s.routed(), again, s.held)
			}
			if len(asked) != 1 {
				t.Errorf("asked: %q", asked)
			}
		})
	}
}

// When a shard moves on to a third node before the second routes, clients wait for the third.
func TestRedirectIsHeldForTheLastPrimary(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	s.answers = []proposer{s.apply}
	s.move(t.Context(), s.newest.Load())
	first := s.newest.Load()
	s.reconcile(first)
	epoch := first.Shards[0].Epoch
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.NodeJoin, Nodes: []topology.Node{{ID: "c", Incarnation: 1}}}}})
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.TransferPrimary, Epoch: epoch, Node: "c", Incarnation: 1, Empty: true}}})
	if row := s.newest.Load().Shards[0]; row.Primary != "c" {
		t.Fatalf("row %+v", row)
	}
	if ask := s.reconcile(s.newest.Load()); len(ask) != 1 || ask[0] != "c" {
		t.Fatalf("to be asked: %q, want c", ask)
	}
	s.awaitRouting(t.Context(), "b", first) // arrives late
	if s.reconcile(s.newest.Load()); s.routed() != "a" {
		t.Errorf("clients are sent to %q before c routes", s.routed())
	}
	s.awaitRouting(t.Context(), "c", s.newest.Load())
	if s.reconcile(s.newest.Load()); s.routed() != "c" {
		t.Errorf("clients are sent to %q, want c", s.routed())
	}
}

func TestHold(t *testing.T) {
	t.Parallel()
	row := func(epoch uint64, primary topology.NodeID) *topology.Topology {
		return &topology.Topology{Shards: []topology.Shard{{Epoch: epoch, Primary: primary}}}
	}
	all := func(topology.NodeID) bool { return true }
	none := func(topology.NodeID) bool { return false }
	for name, tc := range map[string]struct {
		held  redirects
		shown *topology.Topology
		next  *topology.Topology
		alive func(topology.NodeID) bool
		want  topology.NodeID // where clients are sent
		ask   int
		kept  bool // the redirect stays held
	}{
		"handed over":                  {redirects{}, row(1, "a"), row(2, "b"), all, "a", 1, true},
		"asked already":                {redirects{0: {epoch: 2, to: "b"}}, row(1, "a"), row(2, "b"), all, "a", 0, true},
		"released":                     {redirects{0: {epoch: 2, to: "b", released: true}}, row(1, "a"), row(2, "b"), all, "b", 0, false},
		"released for an earlier row":  {redirects{0: {epoch: 2, to: "b", released: true}}, row(1, "a"), row(3, "c"), all, "a", 1, true},
		"the new primary is down":      {redirects{0: {epoch: 2, to: "b"}}, row(1, "a"), row(2, "b"), none, "b", 0, false},
		"vacant":                       {redirects{0: {epoch: 2, to: "b"}}, row(1, "a"), row(3, ""), all, "", 0, false},
		"back at this node":            {redirects{0: {epoch: 2, to: "b"}}, row(1, "a"), row(3, "a"), all, "a", 0, false},
		"never this node's":            {redirects{}, row(1, "b"), row(2, "c"), all, "c", 0, false},
		"nothing shown yet":            {redirects{}, nil, row(2, "b"), all, "b", 0, false},
		"shown before the cluster was": {redirects{}, &topology.Topology{}, row(2, "b"), all, "b", 0, false},
	} {
		before := row(tc.next.Shards[0].Epoch, tc.next.Shards[0].Primary)
		shown, ask := tc.held.hold(tc.next, tc.shown, "a", tc.alive)
		if _, kept := tc.held[0]; shown.Shards[0].Primary != tc.want || len(ask) != tc.ask || kept != tc.kept {
			t.Errorf("%s: clients are sent to %q, want %q; to be asked: %q; held: %v", name, shown.Shards[0].Primary, tc.want, ask, tc.held)
		}
		if tc.next.Shards[0].Epoch != before.Shards[0].Epoch || tc.next.Shards[0].Primary != before.Shards[0].Primary {
			t.Errorf("%s: the topology was changed: %+v", name, tc.next.Shards[0])
		}
	}
}
