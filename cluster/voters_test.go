package cluster

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// votersBy returns the voters according to a node.
func votersBy(n *testNode) (voters []string) {
	future := n.consensus.Load().GetConfiguration()
	if future.Error() != nil {
		return nil
	}
	for _, s := range future.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, string(s.ID))
		}
	}
	return voters
}

// A node that gossip sees alive but that does not answer gets no vote, and the next one does.
func TestVoteSkipsANodeThatDoesNotAnswer(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 7, nil)
	leader := leaderOf(t, nodes...)
	var others []*testNode // non-voters, by id
	var victim *testNode
	for _, n := range nodes {
		switch {
		case !slices.Contains(votersBy(leader), n.self.server):
			others = append(others, n)
		case n != leader:
			victim = n
		}
	}
	slices.SortFunc(others, func(a, b *testNode) int { return strings.Compare(a.self.server, b.self.server) })
	if len(others) != 2 {
		t.Fatalf("%d of 7 nodes are non-voters", len(others))
	}
	silent, candidate := others[0], others[1] // the first one would be chosen
	silent.vanish()                           // its gossip keeps running
	victim.kill()
	eventually(t, "the node that answers gets the vote", func() bool {
		now := votersBy(leader)
		return len(now) == 5 && slices.Contains(now, candidate.self.server) && !slices.Contains(now, victim.self.server)
	})
	if i, _ := leader.members.get(silent.self.ID); !i.alive || slices.Contains(votersBy(leader), silent.self.server) {
		t.Errorf("the silent node: gossip sees it alive: %v; the voters are %v", i.alive, votersBy(leader))
	}
}

// Of five members two are left, and a third one that gossip sees but that does not answer. Counting
// the third, there should be three voters, and the controller would alternate between one and two.
func TestVotesDoNotFlap(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 3, nil)
	var servers []topology.Server
	members := []topology.Node{{ID: "lost"}, {ID: "gone"}}
	for i, n := range nodes {
		members = append(members, topology.Node{ID: n.self.ID, Store: n.self.Store})
		servers = append(servers, topology.Server{ID: n.self.server, Node: n.self.ID, Voter: i == 0, Alive: true})
	}
	plan := func(m *serverHistory, voters int) (promote, demote []string) {
		now := slices.Clone(servers)
		for i := range now {
			now[i].Voter = i < voters
		}
		promote, demote, _ = nodes[0].startup.controller.planVoters(m, now, members)
		return promote, demote
	}
	if promote, demote := plan(newServerHistory(), 1); len(promote) != 1 || len(demote) > 0 {
		t.Errorf("with two others: %v, %v", promote, demote)
	}
	nodes[2].vanish()
	m := newServerHistory()
	for range 3 {
		if promote, demote := plan(m, 1); len(promote)+len(demote) > 0 {
			t.Errorf("with one other: %v, %v", promote, demote)
		}
		clear(m.probedAt) // a second later
	}
	if promote, demote := plan(m, 2); len(promote) > 0 || len(demote) != 1 {
		t.Errorf("with one voter too many: %v, %v", promote, demote)
	}
}

// slowChange is committed with the next entry.
type slowChange chan error

func (c slowChange) Error() error { return <-c }

// A change of the voters that raft did not count is committed with the next entry: the controller
// appends one instead of waiting forever.
func TestChangeOfVotersIsPushed(t *testing.T) {
	t.Parallel()
	for _, outcome := range []error{nil, raft.ErrLeadershipLost} {
		change, pushed := make(slowChange, 1), 0
		err := awaitPushed(t.Context(), change, time.Millisecond, func() {
			if pushed++; pushed == 2 {
				change <- outcome
			}
		})
		if err != outcome || pushed < 2 {
			t.Errorf("after %d pushes: %v, want %v", pushed, err, outcome)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := awaitPushed(stopped, make(slowChange), time.Hour, func() {}); err != context.Canceled {
		t.Errorf("a change that raft does not answer when it shuts down: %v", err)
	}
}
