package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

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
	if !errors.Is(last, ErrUncertain) {
		t.Errorf("%v, want %v", last, ErrUncertain)
	}
	eventually(t, "the leader has decided", func() bool { return leader.Topology().Settings["x"] == "y" })
}

// A command that may be in a log is not said to be lost, and one that is in none not to be unknown.
func TestWhatRaftsErrorsMeanForACommand(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]error{
		nil: nil, raft.ErrNotLeader: ErrNoLeader, raft.ErrLeadershipTransferInProgress: ErrNoLeader, raft.ErrEnqueueTimeout: ErrNoLeader,
		raft.ErrLeadershipLost: ErrUncertain, raft.ErrRaftShutdown: ErrUncertain, raft.ErrAbortedByRestore: ErrUncertain, errors.New("another one"): ErrUncertain,
	} {
		got := proposalError(err)
		if !errors.Is(got, want) || errors.Is(got, ErrUncertain) && errors.Is(got, ErrNoLeader) {
			t.Errorf("%v means %v, want %v", err, got, want)
		}
	}
}

// answering is a bus by which each call ends the same way.
type answering struct {
	Bus
	err error
}

func (a answering) Call(context.Context, Target, Method, []byte) ([]byte, error) { return nil, a.err }

func TestACallWhoseAnswerIsLostIsUnknown(t *testing.T) {
	t.Parallel()
	other := testConfig(t, "b", 0).Self
	for name, tc := range map[string]struct {
		err     error
		unknown bool
	}{
		"the connection broke":      {errors.New("broken pipe"), true},
		"the time was over":         {context.DeadlineExceeded, true},
		"it was not sent":           {fmt.Errorf("%w: refused", ErrNotSent), false},
		"the other one says no":     {&RemoteError{ErrNoLeader.Error()}, false},
		"the other one is not sure": {&RemoteError{ErrUncertain.Error()}, true},
	} {
		c := New(testConfig(t, "a", 0), answering{err: tc.err}, &testNode{})
		c.members.observe(incarnation{meta: meta{node: other.ID, incarnation: 1}, alive: true, bus: "there"})
		if _, err := c.peers.call(t.Context(), other.ID, MethodPropose, nil); errors.Is(err, ErrUncertain) != tc.unknown || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A leader decides nothing before it has what was decided in earlier terms, in each of its terms.
func TestALeaderDecidesBehindItsBarrier(t *testing.T) {
	t.Parallel()
	barriers, decisions, passes := 0, 0, false
	term := term{
		barrier: func() error {
			barriers++
			if passes {
				return nil
			}
			return raft.ErrLeadershipLost
		},
		decide: func() { decisions++ },
	}
	for round := range 2 {
		passes, barriers, decisions, term.caughtUp = false, 0, 0, false
		for range 3 {
			if term.step(); decisions != 0 {
				t.Fatalf("term %d: it decides without its barrier", round)
			}
		}
		passes = true
		term.step()
		term.step()
		if barriers != 4 || decisions != 2 {
			t.Errorf("term %d: %d barriers, %d decisions", round, barriers, decisions)
		}
	}
}
