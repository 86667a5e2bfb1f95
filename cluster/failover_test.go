package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// propose changes a setting through one node.
func propose(n *testNode, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	errs, err := n.Propose(ctx, topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: "test", Value: fmt.Sprint(rand.Uint64())}}})
	if err == nil {
		err = errs[0]
	}
	return err
}

// The leader is killed 20 times while all nodes propose changes. The test requires that changes are
// committed again each time, that no committed change is lost, and that the topologies agree. It
// reports how long each failover takes, without a limit.
func TestLeaderIsKilledRepeatedly(t *testing.T) {
	kills := 20
	if testing.Short() || slowtest.Race {
		kills = 5
	}
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 5, func(t testing.TB, c Config) Config {
		c.Timing = Timing{Rejoin: 500 * time.Millisecond} // the rest at their defaults
		return onDisk(t, c)
	})
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var proposers sync.WaitGroup
	var mu sync.Mutex // guards nodes, decided
	decided := map[string]bool{}
	for w := range 4 {
		proposers.Go(func() {
			for i := 0; load.Err() == nil; i++ {
				mu.Lock()
				n := nodes[(w+i)%len(nodes)]
				mu.Unlock()
				name := fmt.Sprintf("w%d.%d", w, i)
				errs, err := n.Propose(load, topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: name, Value: "x"}}})
				if err == nil && errs[0] == nil {
					mu.Lock()
					decided[name] = true
					mu.Unlock()
				}
			}
		})
	}
	var took []time.Duration
	for round := range kills {
		leader := leaderOf(t, nodes...)
		at := slices.Index(nodes, leader)
		began := time.Now()
		leader.kill()
		survivor := nodes[(at+1)%len(nodes)]
		eventually(t, "changes are committed again", func() bool { return propose(survivor, 200*time.Millisecond) == nil })
		took = append(took, time.Since(began))
		again := nw.start(t, configs[at])
		ready(t, again)
		mu.Lock()
		nodes[at] = again
		mu.Unlock()
		t.Logf("kill %d: %v", round+1, took[round].Round(time.Millisecond))
	}
	stop()
	proposers.Wait()
	slices.Sort(took)
	t.Logf("%d kills of the leader: changes are committed again after %v at the median, %v to %v", kills, took[len(took)/2].Round(time.Millisecond),
		took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond))
	sameTopology(t, nodes)
	for name := range decided {
		if nodes[0].Topology().Settings[name] != "x" {
			t.Errorf("%s was committed and is lost", name)
		}
	}
	t.Logf("%d changes were committed", len(decided))
}

// sameTopology waits until all nodes have the same topology.
func sameTopology(t *testing.T, nodes []*testNode) {
	t.Helper()
	encoded := func(n *testNode) string {
		b, err := n.Topology().Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	eventually(t, "all nodes have the same topology", func() bool {
		for _, n := range nodes[1:] {
			if encoded(n) != encoded(nodes[0]) {
				return false
			}
		}
		return true
	})
}

func TestDeadVoterIsReplaced(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 4, nil)
	votes := func(by *testNode) (voters []string) {
		future := by.consensus.Load().GetConfiguration()
		if future.Error() != nil {
			return nil
		}
		for _, s := range future.Configuration().Servers {
			if s.Suffrage == 0 {
				voters = append(voters, string(s.ID))
			}
		}
		return voters
	}
	var bystander, victim *testNode // a non-voter, and a voter that does not lead
	leader := leaderOf(t, nodes...)
	for _, n := range nodes {
		switch voter := slices.Contains(votes(leader), n.self.server); {
		case !voter:
			bystander = n
		case n != leader:
			victim = n
		}
	}
	victim.kill()
	eventually(t, "the non-voter gets the vote, and all others know", func() bool {
		for _, n := range nodes { // the leader knows before it is committed
			if now := votes(n); n != victim && (len(now) != 3 || !slices.Contains(now, bystander.self.server) || slices.Contains(now, victim.self.server)) {
				return false
			}
		}
		return true
	})
	// With the new voter, the cluster survives the loss of another voter.
	for _, n := range nodes {
		if n != victim && n != bystander {
			n.kill()
			break
		}
	}
	eventually(t, "changes are committed with two of the three present voters", func() bool { return propose(bystander, time.Second) == nil })
}

func TestLostMajorityIsReportedAndComesBack(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	eventually(t, "all shards are served", func() bool {
		return served(nodes[0], nodes[0])+served(nodes[1], nodes[0])+served(nodes[2], nodes[0]) == 16
	})
	before := nodes[0].Topology()
	nodes[1].kill()
	nodes[2].kill()
	eventually(t, "the last node reports that there is no quorum", func() bool { return !nodes[0].Status().Quorum })
	if err := propose(nodes[0], 300*time.Millisecond); err == nil {
		t.Error("one of three voters commits alone")
	}
	if now := nodes[0].Topology(); now != before && now.Shards[0].Epoch != before.Shards[0].Epoch {
		t.Error("the topology changed without a majority")
	}
	for i := 1; i < 3; i++ {
		nodes[i] = nw.start(t, configs[i])
		if i == 1 {
			eventually(t, "changes are committed again", func() bool { return propose(nodes[0], time.Second) == nil })
		}
	}
	ready(t, nodes[1], nodes[2])
	sameTopology(t, nodes)
}

func TestForgetAndLeave(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 4, nil)
	eventually(t, "all have shards", func() bool { return served(nodes[3], nodes[0]) > 0 })
	if err := nodes[0].Forget(t.Context(), nodes[3].self.ID); err == nil || !strings.Contains(err.Error(), "alive") {
		t.Errorf("Forget of a live node: %v", err)
	}
	nodes[3].kill()
	eventually(t, "it is forgotten", func() bool { return nodes[0].Forget(t.Context(), nodes[3].self.ID) == nil })
	eventually(t, "its shards start empty elsewhere", func() bool {
		return served(nodes[0], nodes[0])+served(nodes[1], nodes[0])+served(nodes[2], nodes[0]) == 16
	})
	if err := nodes[2].Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	// This test has no internal/node to hand shards over, so the node keeps what it serves and stays.
	eventually(t, "no shard is assigned to it", func() bool {
		for _, s := range nodes[0].Topology().Shards {
			if slices.Contains(s.Assigned, nodes[2].self.ID) {
				return false
			}
		}
		return true
	})
	if row, known := nodes[0].Topology().Node(nodes[2].self.ID); !known || row.State != topology.Leaving {
		t.Errorf("a node that serves shards was forgotten: %+v, %v", row, known)
	}
}

// No leader contacts such a node, since it learned of its removal, and it starts no election, since
// it has no vote.
func TestNodeThatLeftRejoinsWithItsFolder(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 3, nil)
	// A node that joins earlier would get shards, and this test has no internal/node to move them
	// away again.
	eventually(t, "all shards are served", func() bool {
		return served(nodes[0], nodes[0])+served(nodes[1], nodes[0])+served(nodes[2], nodes[0]) == 16
	})
	config := onDisk(t, testConfig(t, "late", 0, nodes[0].seed()))
	late := nw.start(t, config)
	ready(t, late)
	eventually(t, "it leaves", func() bool { return late.Leave(t.Context()) == nil })
	eventually(t, "it is forgotten", func() bool {
		_, known := nodes[0].Topology().Node(late.self.ID)
		return !known && !hasServer(leaderOf(t, nodes...).consensus.Load().GetConfiguration().Configuration(), late.self.server)
	})
	if _, member := late.Topology().Node(late.self.ID); member || late.awaited.Load() == 0 {
		t.Errorf("it was removed from raft and takes itself for a member: %v; it was asked for topology %d", member, late.awaited.Load())
	}
	late.stop()
	back := nw.start(t, config)
	ready(t, back)
	if row, known := nodes[0].Topology().Node(back.self.ID); !known || row.Incarnation != back.self.Incarnation || row.State != topology.Active {
		t.Errorf("it rejoined as %+v, %v", row, known)
	}
}
