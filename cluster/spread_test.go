package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// lastEntry returns the newest entry of a node's log.
func lastEntry(t testing.TB, n *testNode) raft.Log {
	t.Helper()
	a := n.consensus.Load()
	var last raft.Log
	if err := a.stores.logs.GetLog(a.LastIndex(), &last); err != nil {
		t.Fatal(err)
	}
	return last
}

// idle reports whether no barrier is under way.
func (s *spreader) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.running
}

// Without another entry, followers would learn of a decision only when raft's CommitTimeout has
// passed.
func TestBarrierTellsFollowersOfADecision(t *testing.T) {
	t.Parallel()
	_, nodes, _ := threeServing(t, nil)
	leader := leaderOf(t, nodes...)
	for range 3 {
		for deadline := time.Now().Add(time.Minute); ; leader = leaderOf(t, nodes...) { // a busy machine may cost it the leadership
			err := propose(leader, time.Minute)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		decided := leader.Topology().Index
		eventually(t, "a barrier is behind the decision", func() bool {
			last := lastEntry(t, leader)
			return last.Type == raft.LogBarrier && last.Index > decided
		})
	}
}

// A node alone has no followers to tell, so its log grows only by its decisions.
func TestNodeAloneAppendsNoBarrier(t *testing.T) {
	t.Parallel()
	nodes, _ := bootstrap(t, newNetwork(), 1, onDisk)
	eventually(t, "it serves all shards", func() bool { return served(nodes[0], nodes[0]) == 16 })
	for range 5 {
		if err := propose(nodes[0], time.Minute); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the spreader is done with the decision", nodes[0].consensus.Load().spreader.idle)
		if last := lastEntry(t, nodes[0]); last.Type != raft.LogCommand || last.Index != nodes[0].Topology().Index {
			t.Errorf("entry %d of type %v is behind the decision %d", last.Index, last.Type, nodes[0].Topology().Index)
		}
	}
}

// It reports how long followers take to learn of a decision, without a limit.
func TestTimeUntilFollowersLearn(t *testing.T) {
	t.Parallel()
	_, nodes, _ := threeServing(t, func(c *Config) { c.Timing = Timing{Rejoin: 500 * time.Millisecond} })
	leader := leaderOf(t, nodes...)
	var took []time.Duration
	for range 20 {
		time.Sleep(120 * time.Millisecond)                                              // nothing is under way
		for deadline := time.Now().Add(time.Minute); ; leader = leaderOf(t, nodes...) { // a busy machine may cost it the leadership
			err := propose(leader, time.Minute)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		began, index := time.Now(), leader.Topology().Index
		for _, n := range nodes {
			if err := n.fsm.await(t.Context(), index); err != nil {
				t.Fatal(err)
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("followers learn of a decision %v after the leader at the median, %v to %v", took[10].Round(time.Microsecond), took[0].Round(time.Microsecond), took[19].Round(time.Microsecond))
}
