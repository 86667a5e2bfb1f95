package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/outcome"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/shard"
)

// proposer answers a proposal.
type proposer func(topology.Command) ([]error, error)

// script is a cluster of the nodes "a" and "b" whose raft log the test writes. The Reconciler is that of "a", which
// serves shard 0.
type script struct {
	*Reconciler
	t       *testing.T
	newest  atomic.Pointer[topology.Topology]
	answers []proposer // to the next proposals
}

func newScript(t *testing.T) *script {
	store := shard.NewClosedStore(16, func() int64 { return time.Now().UnixMilli() }, new(memory.Pool))
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	store.Open(ctx)
	s := &script{t: t}
	s.Reconciler = New(Config{
		Self: "a", Incarnation: 1, Store: store, Log: slog.New(slog.DiscardHandler),
		Newest: s.newest.Load, ApplySettings: func(*topology.Topology) {}, HearsLeader: func() bool { return true }, Report: func([]topology.Report) {}, Noticed: func() {}, Alive: func(topology.NodeID) bool { return true }, Stays: func(topology.NodeID) bool { return true },
		Propose: func(_ context.Context, c topology.Command) ([]error, error) {
			answer := s.answers[0]
			s.answers = s.answers[1:]
			return answer(c)
		},
		AwaitRemote: func(context.Context, topology.NodeID, uint64) error { return nil },
	})
	s.newest.Store(nil)
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Create, Format: topology.LatestFormat, Cluster: "c", Shards: 16, Epoch: 1, Nodes: []topology.Node{{ID: "a", Incarnation: 1}, {ID: "b", Incarnation: 1}}}}})
	s.apply(topology.Command{Ops: []topology.Op{{Kind: topology.Promote, Epoch: 1, Node: "a", Incarnation: 1, Empty: true}, {Kind: topology.Assign, Epoch: 2, Members: []topology.NodeID{"b"}}}})
	s.reconcile(s.newest.Load())
	return s
}

// promote is what the controller decides when a has reported in an epoch.
func promote(epoch uint64) topology.Op {
	return topology.Op{Kind: topology.Promote, Epoch: epoch, Node: "a", Incarnation: 1, Members: []topology.NodeID{"a"}, Reporters: []topology.Reporter{{Node: "a", Incarnation: 1}}}
}

// apply applies a command as the next entry of the log.
func (s *script) apply(c topology.Command) ([]error, error) {
	t := s.newest.Load()
	index := uint64(1)
	if t != nil {
		index = t.Index + 1
	}
	next, errs := t.Apply(index, c)
	s.newest.Store(next)
	return errs, nil
}

func (s *script) uncertain(topology.Command) ([]error, error) { return nil, outcome.ErrUncertain }

func (s *script) applyUncertain(c topology.Command) ([]error, error) {
	s.apply(c)
	return nil, outcome.ErrUncertain
}

func (s *script) noLeader(topology.Command) ([]error, error) {
	return nil, errors.New("the cluster has no leader")
}

// applyTwice answers as the cluster answers the repetition of a command.
func (s *script) applyTwice(c topology.Command) ([]error, error) {
	s.apply(c)
	errs, err := s.apply(c)
	if errs[0] == nil || !errors.Is(errs[0], topology.ErrStale) {
		s.t.Errorf("the repetition is answered %v", errs)
	}
	return errs, err
}

// expect reconciles with the newest topology and checks whether the node serves shard 0.
func (s *script) expect(serving bool) {
	s.t.Helper()
	if s.reconcile(s.newest.Load()); s.serving() != serving {
		s.t.Errorf("the node serves the shard: %v, want %v; row %+v", !serving, serving, s.newest.Load().Shards[0])
	}
}

func (s *script) serving() bool { return s.config.Store.Shard(0).Serving() }

// routed returns the node to which clients of shard 0 are sent.
func (s *script) routed() topology.NodeID { return s.Applied().Shards[0].Primary }
