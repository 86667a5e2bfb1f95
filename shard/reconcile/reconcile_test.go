package reconcile

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

func TestHandoverIsTakenBackOnlyWhenItIsKnownToHaveFailed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers func(*script) []proposer
		primary topology.NodeID // of the shard afterwards
	}{
		"done":                       {func(s *script) []proposer { return []proposer{s.apply} }, "b"},
		"not sent":                   {func(s *script) []proposer { return []proposer{s.noLeader} }, "a"},
		"uncertain, done":            {func(s *script) []proposer { return []proposer{s.applyUncertain, s.apply} }, "b"},
		"uncertain, done, no leader": {func(s *script) []proposer { return []proposer{s.applyUncertain, s.noLeader, s.apply} }, "b"},
		"uncertain, not done":        {func(s *script) []proposer { return []proposer{s.uncertain, s.apply} }, ""},
		"refused because done once":  {func(s *script) []proposer { return []proposer{s.applyTwice} }, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScript(t)
			s.expect(true)
			s.answers = tc.answers(s)
			s.move(t.Context(), s.newest.Load())
			if row := s.newest.Load().Shards[0]; row.Primary != tc.primary || len(s.answers) > 0 {
				t.Fatalf("the primary is %q, want %q; %d proposals were not made", row.Primary, tc.primary, len(s.answers))
			}
			if woken := len(s.wake) > 0; woken == (name == "not sent") {
				t.Errorf("the node reconciles again at once: %v", woken)
			}
			if serving := s.serving(); serving != (tc.primary == "a") {
				t.Errorf("before reconciling again, the node serves the shard: %v", serving)
			}
			s.expect(tc.primary == "a")
			if tc.primary == "" { // the controller gives it back
				s.apply(topology.Command{Ops: []topology.Op{promote(s.newest.Load().Shards[0].Epoch)}})
				s.expect(true)
			}
		})
	}
}

// Gossip still sees a node alive that died a moment ago. It gets no empty shard back from the copy that has taken over: the
// shard would have no other copy.
func TestASilentNodeGetsNoEmptyShard(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	var asked []topology.NodeID
	answer := errors.New("connection refused")
	s.config.AwaitRemote = func(_ context.Context, to topology.NodeID, _ uint64) error {
		asked = append(asked, to)
		return answer
	}
	s.move(t.Context(), s.newest.Load()) // a proposal would find no answer
	s.expect(true)
	if !slices.Equal(asked, []topology.NodeID{"b"}) || s.routed() != "a" {
		t.Errorf("asked %q; clients are sent to %q", asked, s.routed())
	}
	answer = nil
	s.answers = []proposer{s.apply}
	s.move(t.Context(), s.newest.Load())
	s.expect(false)
}

// A handover by an old topology must not close a shard that has come back since: the proposal would be refused, and
// nothing would reopen the shard.
func TestHandoverByAnOldTopologyLeavesTheShardOpen(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	old := s.newest.Load()
	epoch := old.Shards[0].Epoch
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: epoch, Node: "a"}, promote(epoch + 1)}})
	s.expect(true)
	s.answers = []proposer{s.apply}
	s.move(t.Context(), old)
	s.expect(true)
}

// When a shard opens, the settings of the same topology are in effect.
func TestSettingsAreAppliedBeforeShardsOpen(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	epoch := s.newest.Load().Shards[0].Epoch
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: epoch, Node: "a"}}})
	s.expect(false)
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: "x", Value: "y"}, promote(epoch + 1)}})
	served, value := true, ""
	s.config.ApplySettings = func(t *topology.Topology) { served, value = s.serving(), t.Settings["x"] }
	s.expect(true)
	if served || value != "y" {
		t.Errorf("settings are applied with x = %q; the shard is open already: %v", value, served)
	}
}

// A node that the cluster has removed serves nothing, and logs it once.
func TestRemovedNodeLogsOnce(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	var logged bytes.Buffer
	s.config.Log = slog.New(slog.NewTextHandler(&logged, nil))
	s.expect(true)
	if _, err := s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.NodeForget, Node: "a"}}}); err != nil {
		t.Fatal(err)
	}
	s.expect(false)
	s.expect(false)
	if n := strings.Count(logged.String(), "the cluster has removed this node"); n != 1 {
		t.Errorf("it is logged %d times: %s", n, logged.String())
	}
}

// A wait for a topology ends when the node routes by it, or with its context.
func TestAwaitApplied(t *testing.T) {
	t.Parallel()
	s := newScript(t)
	if err := s.AwaitApplied(t.Context(), s.newest.Load().Index); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AwaitApplied(ctx, s.newest.Load().Index+1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a later topology returns %v", err)
	}
}
