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

// A node that took "not received" for "not committed" would reopen a shard that another node serves.
func TestCommittedButNotReceivedIsUncertain(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 3, nil)
	leader := leaderOf(t, nodes...)
	follower := nodes[0]
	if follower == leader {
		follower = nodes[1]
	}
	resume := make(chan struct{})
	follower.deaf.Store(&resume)
	defer close(resume)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var last error
	for last == nil { // the FSM has the last change before it publishes it
		_, err := follower.Propose(ctx, topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: "x", Value: "y"}}})
		last = err
	}
	if !errors.Is(last, ErrUncertain) {
		t.Errorf("%v, want %v", last, ErrUncertain)
	}
	eventually(t, "the leader has committed the change", func() bool { return leader.Topology().Settings["x"] == "y" })
}

// A command that may be in a log is uncertain; one that is in none has failed.
func TestProposalErrors(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]error{
		nil: nil, raft.ErrNotLeader: ErrNoLeader, raft.ErrLeadershipTransferInProgress: ErrNoLeader, raft.ErrEnqueueTimeout: ErrNoLeader,
		raft.ErrLeadershipLost: ErrUncertain, raft.ErrRaftShutdown: ErrUncertain, raft.ErrAbortedByRestore: ErrUncertain, errors.New("another one"): ErrUncertain,
	} {
		got := proposalError(err)
		if !errors.Is(got, want) || errors.Is(got, ErrUncertain) && errors.Is(got, ErrNoLeader) {
			t.Errorf("%v becomes %v, want %v", err, got, want)
		}
	}
}

// answering is a bus on which each call fails in the same way.
type answering struct {
	Bus
	err error
}

func (a answering) Call(context.Context, Target, Method, []byte) ([]byte, error) { return nil, a.err }

func TestCallWithoutAnAnswerIsUncertain(t *testing.T) {
	t.Parallel()
	other := testConfig(t, "b", 0).Self
	for name, tc := range map[string]struct {
		err       error
		uncertain bool
	}{
		"connection reset":            {errors.New("broken pipe"), true},
		"timeout":                     {context.DeadlineExceeded, true},
		"not sent":                    {fmt.Errorf("%w: refused", ErrNotSent), false},
		"the other node refuses":      {&RemoteError{ErrNoLeader.Error()}, false},
		"the other node is uncertain": {&RemoteError{remoteText(fmt.Errorf("%w: its disk hangs", ErrUncertain)).Error()}, true},
		"one of an earlier version":   {&RemoteError{"whether it was decided is not known"}, true},
	} {
		c := New(testConfig(t, "a", 0), answering{err: tc.err}, &testNode{})
		c.members.observe(incarnation{meta: meta{node: other.ID, incarnation: 1}, alive: true, bus: "there"})
		if _, err := c.peers.call(t.Context(), other.ID, MethodPropose, nil); errors.Is(err, ErrUncertain) != tc.uncertain || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// In each of its terms, a leader decides only after it has applied what earlier terms committed.
func TestLeaderDecidesAfterItsBarrier(t *testing.T) {
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
				t.Fatalf("term %d: it decides before its barrier", round)
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
