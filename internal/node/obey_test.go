package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/shard"
)

// decider is a cluster of two nodes, of which "a" obeys, and whose log the test writes.
type decider struct {
	*obedience
	t       *testing.T
	now     atomic.Pointer[topology.Topology]
	answers []func(topology.Command) ([]error, error) // to proposals, in turn
}

func newDecider(t *testing.T) *decider {
	store := shard.NewClosedStore(16, func() int64 { return time.Now().UnixMilli() }, new(memory.Pool))
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	store.Open(ctx)
	d := &decider{t: t}
	d.obedience = &obedience{
		self: "a", incarnation: 1, store: store, log: slog.New(slog.DiscardHandler), newest: d.now.Load, configure: func(*topology.Topology) {}, current: func(*topology.Topology) {},
		alive: func(topology.NodeID) bool { return true }, news: make(chan struct{}, 1), step: make(chan struct{}, 1), offered: map[topology.ShardID]uint64{}, parting: map[topology.ShardID]parting{},
		propose: func(_ context.Context, c topology.Command) ([]error, error) {
			answer := d.answers[0]
			d.answers = d.answers[1:]
			return answer(c)
		},
	}
	d.now.Store(nil)
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Create, Cluster: "c", Shards: 16, Epoch: 1, Nodes: []topology.Node{{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 1}}}}})
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Promote, Epoch: 1, Node: "a", Incarnation: 1, Empty: true}, {Kind: topology.Assign, Epoch: 2, Members: []topology.NodeID{"b"}}}})
	d.obey(d.newest())
	return d
}

// apply puts a command into the log.
func (d *decider) apply(c topology.Command) ([]error, error) {
	t := d.newest()
	index := uint64(1)
	if t != nil {
		index = t.Index + 1
	}
	next, errs := t.Apply(index, c)
	d.now.Store(next)
	return errs, nil
}

func (d *decider) unknown(topology.Command) ([]error, error) { return nil, cluster.ErrUncertain }

func (d *decider) applyUnknown(c topology.Command) ([]error, error) {
	d.apply(c)
	return nil, cluster.ErrUncertain
}

func (d *decider) noLeader(topology.Command) ([]error, error) { return nil, cluster.ErrNoLeader }

// expect looks at shard 0 after the shards were brought in step with the newest topology.
func (d *decider) expect(serving bool) {
	d.t.Helper()
	if d.obey(d.newest()); d.store.Shard(0).Serving() != serving {
		d.t.Errorf("the node serves the shard: %v, want %v; row %+v", !serving, serving, d.newest().Shards[0])
	}
}

func TestAHandoverIsTakenBackOnlyWhenItIsKnownToHaveFailed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answers func(*decider) []func(topology.Command) ([]error, error)
		primary topology.NodeID // of the shard afterwards
	}{
		"done":          {func(d *decider) []func(topology.Command) ([]error, error) { return list(d.apply) }, "b"},
		"not sent":      {func(d *decider) []func(topology.Command) ([]error, error) { return list(d.noLeader) }, "a"},
		"unknown, done": {func(d *decider) []func(topology.Command) ([]error, error) { return list(d.applyUnknown, d.apply) }, "b"},
		"unknown, done, no leader": {func(d *decider) []func(topology.Command) ([]error, error) {
			return list(d.applyUnknown, d.noLeader, d.apply)
		}, "b"},
		"unknown, not done":           {func(d *decider) []func(topology.Command) ([]error, error) { return list(d.unknown, d.apply) }, ""},
		"refused as it was done once": {func(d *decider) []func(topology.Command) ([]error, error) { return list(d.twice) }, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDecider(t)
			d.expect(true)
			d.answers = tc.answers(d)
			d.handOver(t.Context(), d.newest())
			if row := d.newest().Shards[0]; row.Primary != tc.primary || len(d.answers) > 0 {
				t.Fatalf("the shard is %q's, want %q; %d proposals were not made", row.Primary, tc.primary, len(d.answers))
			}
			if again := len(d.news) > 0; again == (name == "not sent") {
				t.Errorf("the node looks again at once: %v", again)
			}
			if serving := d.store.Shard(0).Serving(); serving != (tc.primary == "a") {
				t.Errorf("before the shards are in step: the node serves: %v", serving)
			}
			d.expect(tc.primary == "a")
			if tc.primary == "" { // the controller gives it back
				d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Promote, Epoch: d.newest().Shards[0].Epoch, Node: "a", Incarnation: 1}}})
				d.expect(true)
			}
		})
	}
}

func list(all ...func(topology.Command) ([]error, error)) []func(topology.Command) ([]error, error) {
	return all
}

// twice answers what a repetition of a command is answered.
func (d *decider) twice(c topology.Command) ([]error, error) {
	d.apply(c)
	errs, err := d.apply(c)
	if errs[0] == nil || !errors.Is(errs[0], topology.ErrStale) {
		d.t.Errorf("the repetition is answered %v", errs)
	}
	return errs, err
}

// A shard that has come back meanwhile is not closed on the strength of an older topology: its handover would be refused, and nothing would open it again.
func TestAHandoverByAnOldTopologyLeavesTheShardOpen(t *testing.T) {
	t.Parallel()
	d := newDecider(t)
	old := d.newest()
	epoch := old.Shards[0].Epoch
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: epoch, Node: "a"}, {Kind: topology.Promote, Epoch: epoch + 1, Node: "a", Incarnation: 1}}})
	d.expect(true)
	d.answers = list(d.apply)
	d.handOver(t.Context(), old)
	d.expect(true)
}

// By the time that a shard is served, the settings of the same topology count.
func TestSettingsComeBeforeShards(t *testing.T) {
	t.Parallel()
	d := newDecider(t)
	epoch := d.newest().Shards[0].Epoch
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Resign, Epoch: epoch, Node: "a"}}})
	d.expect(false)
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: "x", Value: "y"}, {Kind: topology.Promote, Epoch: epoch + 1, Node: "a", Incarnation: 1}}})
	served, value := true, ""
	d.configure = func(t *topology.Topology) { served, value = d.store.Shard(0).Serving(), t.Settings["x"] }
	d.expect(true)
	if served || value != "y" {
		t.Errorf("settings are taken over with x = %q; the shard is served by then: %v", value, served)
	}
}

// A node that the cluster has let go serves nothing, and says so once.
func TestNodeThatWasLetGoSaysSo(t *testing.T) {
	d := newDecider(t)
	var said bytes.Buffer
	d.log = slog.New(slog.NewTextHandler(&said, nil))
	d.expect(true)
	if _, errs := d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.NodeForget, Node: "a"}}}); errs != nil {
		t.Fatal(errs)
	}
	d.expect(false)
	d.expect(false)
	if n := strings.Count(said.String(), "has let this node go"); n != 1 {
		t.Errorf("it says so %d times: %s", n, said.String())
	}
}
