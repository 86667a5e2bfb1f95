package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Who takes "not heard of" for "not decided" opens a shard again that is another node's.
func TestWhatWasDecidedButNotHeardOfIsUnknown(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 3, nil)
	leader := leaderOf(t, nodes...)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	hears := make(chan struct{})
	follower.deaf.Store(&hears)
	defer close(hears)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var last error
	for range 2 { // what was decided last is there before the host is told
		_, err := follower.Propose(ctx, topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: "x", Value: "y"}}})
		last = err
	}
	if !errors.Is(last, ErrUnknown) {
		t.Errorf("%v, want %v", last, ErrUnknown)
	}
	eventually(t, "the leader has decided", func() bool { return leader.Topology().Settings["x"] == "y" })
}
