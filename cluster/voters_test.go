package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// votersBy returns the servers with a vote, as a node knows them.
func votersBy(n *testNode) (voters []string) {
	future := n.agreement.Load().GetConfiguration()
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

// A node that gossip sees and that does not answer gets no vote, and keeps no other one from it.
func TestAVotePassesOverANodeThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 7, nil)
	leader := leaderOf(t, nodes...)
	var others []*testNode // without a vote, by id
	var victim *testNode
	for _, n := range nodes {
		switch {
		case !slices.Contains(votersBy(leader), n.local):
			others = append(others, n)
		case n != leader:
			victim = n
		}
	}
	slices.SortFunc(others, func(a, b *testNode) int { return strings.Compare(a.local, b.local) })
	if len(others) != 2 {
		t.Fatalf("%d of 7 nodes have no vote", len(others))
	}
	silent, heir := others[0], others[1] // the first one would be chosen
	silent.vanish()                      // its gossip stays
	victim.kill()
	eventually(t, "the vote goes to the one that answers", func() bool {
		now := votersBy(leader)
		return len(now) == 5 && slices.Contains(now, heir.local) && !slices.Contains(now, victim.local)
	})
	if i, _ := leader.sights.get(silent.self.ID); !i.alive || slices.Contains(votersBy(leader), silent.local) {
		t.Errorf("the silent one: gossip sees it %v, and it is among the voters %v", i.alive, votersBy(leader))
	}
}

// slowChange is decided with the next entry.
type slowChange chan error

func (c slowChange) Error() error { return <-c }

// A change of the voters that raft has not counted is decided with the next entry: the controller sees to it that there is one, and does not wait for ever.
func TestAChangeOfVotersIsPushed(t *testing.T) {
	t.Parallel()
	for _, outcome := range []error{nil, raft.ErrLeadershipLost} {
		change, pushed := make(slowChange, 1), 0
		err := awaitChange(change, time.Millisecond, func() {
			if pushed++; pushed == 2 {
				change <- outcome
			}
		})
		if err != outcome || pushed < 2 {
			t.Errorf("pushed %d times it comes to %v, want %v", pushed, err, outcome)
		}
	}
}
