//go:build faults

package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	clusterview "github.com/ndring/ndring/cluster/view"
	"github.com/ndring/ndring/internal/loadtest"
)

// moveStates are the states of a move to a node that is to lead the shard, in their order, as the shard's row shows them.
var moveStates = []struct {
	name string
	is   func(s *clusterview.Shard, to topology.NodeID) bool
}{
	{"assigned", func(s *clusterview.Shard, to topology.NodeID) bool {
		return slices.Contains(s.Assigned, to) && !slices.Contains(s.Learners, to) && !slices.Contains(s.InSync, to)
	}},
	{"catching up", func(s *clusterview.Shard, to topology.NodeID) bool { return slices.Contains(s.Learners, to) }},
	{"in sync", func(s *clusterview.Shard, to topology.NodeID) bool {
		return slices.Contains(s.InSync, to) && s.Primary != to
	}},
	{"primary", func(s *clusterview.Shard, to topology.NodeID) bool {
		return s.Primary == to && len(s.InSync) > len(s.Assigned)
	}},
	{"over", moved}, // and the old copy is not dropped yet
}

// moved reports whether a shard has its copies, and its primary, where they should be, one of them on a node.
func moved(s *clusterview.Shard, to topology.NodeID) bool {
	return len(s.Learners) == 0 && slices.Contains(s.Assigned, to) && s.Primary == s.Assigned[0] &&
		slices.Equal(slices.Sorted(slices.Values(s.InSync)), slices.Sorted(slices.Values(s.Assigned)))
}

// moveRoles are the nodes that take part in a move.
var moveRoles = []string{"source", "target", "other copy", "raft's leader"}

// moveTrial is one move during which a node is killed.
type moveTrial struct {
	c       *copiesCluster
	index   map[topology.NodeID]int // of a node in the cluster
	shard   int
	to      topology.NodeID
	victim  int
	watcher int // a node that is not killed
}

// begin chooses a shard and a node for a role.
func (c *copiesCluster) begin(role string) *moveTrial {
	c.t.Helper()
	m := &moveTrial{c: c, index: map[topology.NodeID]int{}}
	for i := range c.addrs {
		m.index[c.topology(i).Self] = i
	}
	v := c.topology(0)
	m.shard = c.r.IntN(len(v.Shards))
	row := v.Shards[m.shard]
	for _, n := range v.Nodes {
		if !slices.Contains(row.InSync, n.ID) && (m.to == "" || c.r.IntN(2) == 0) {
			m.to = n.ID
		}
	}
	victim := map[string]topology.NodeID{"source": row.Primary, "target": m.to, "raft's leader": v.Leader}[role]
	if role == "other copy" {
		victim = row.InSync[slices.IndexFunc(row.InSync, func(id topology.NodeID) bool { return id != row.Primary })]
	}
	m.victim = m.index[victim]
	m.watcher = (m.victim + 1 + c.r.IntN(len(c.addrs)-1)) % len(c.addrs)
	return m
}

// order sends a command to a node that is not killed, until one does what it says.
func (m *moveTrial) order(args ...any) {
	m.c.t.Helper()
	var err error
	for deadline := time.Now().Add(clusterTime); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err = m.c.says(m.c.t.Context(), m.watcher, args...); err == nil {
			return
		}
	}
	m.c.t.Fatalf("%v: %v", args, err)
}

// await returns whether the move is seen in a state before it is in a later one.
func (m *moveTrial) await(state int) bool {
	m.c.t.Helper()
	for deadline := time.Now().Add(clusterTime); time.Now().Before(deadline); {
		v, err := m.c.view(m.c.t.Context(), m.watcher)
		if err != nil || len(v.Shards) == 0 {
			continue
		}
		s := v.Shards[m.shard]
		for n := len(moveStates) - 1; n >= state; n-- {
			if moveStates[n].is(&s, m.to) {
				return n == state
			}
		}
	}
	m.c.t.Fatalf("shard %d never came to be %s", m.shard, moveStates[state].name)
	return false
}

// end waits until all copies are where they should be.
func (m *moveTrial) end() {
	m.c.t.Helper()
	var why string
	for deadline := time.Now().Add(clusterTime); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		v, err := m.c.view(m.c.t.Context(), m.watcher)
		if err != nil || len(v.Shards) == 0 {
			why = fmt.Sprint(err)
			continue
		}
		if !moved(&v.Shards[m.shard], m.to) {
			why = fmt.Sprintf("%+v", v.Shards[m.shard])
		} else if i := slices.IndexFunc(v.Shards, func(s clusterview.Shard) bool { return len(s.Assigned) == 0 || !moved(&s, s.Assigned[0]) }); i >= 0 {
			why = fmt.Sprintf("shard %d: %+v", i, v.Shards[i])
		} else {
			return
		}
	}
	m.c.t.Fatalf("the move of shard %d to %.8s does not end: %s", m.shard, m.to, why)
}

// Each node that takes part in a move is killed in each state of it, once: no acknowledged write is lost, no read is stale, and the move ends.
func TestKillInEachStateOfAMove(t *testing.T) {
	seed := rand.Uint64()
	fmt.Sscan(os.Getenv("NDRING_COPIES_SEED"), &seed)
	t.Logf("seed %d", seed)
	c := &copiesCluster{t: t, r: rand.New(rand.NewPCG(seed, 3))}
	c.open(4, "--shards", "16", "--move-rate", "16mb", "--rebalance", "operator")
	all := arrays{} // some MiB in each shard, so that it takes a while to send one
	for i := range 1200 {
		all[fmt.Sprint("still ", i)] = npyOf(uint64(i), 4<<10)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.addrs, MaxRedirects: 16})
	defer client.Close()
	all.store(t, client)

	h := &loadtest.Histories{Addrs: c.addrs, Seed: seed, EachNode: true, Folder: os.Getenv("NDRING_HISTORIES")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	awaitLoad(ctx, h)
	missed := 0
	for state := range moveStates {
		for _, role := range moveRoles {
			for !c.killDuringMove(state, role) {
				missed++
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c.awaitCopies()
	if err := h.FinalReads(t.Context()); err != nil {
		t.Error(err)
	}
	c.sameCopies()
	if err := all.check(t.Context(), client); err != nil {
		t.Error(err)
	}
	report := h.Check()
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if n := c.topology(0).Losses; n > 0 {
		t.Errorf("%d possible losses", n)
	}
	t.Logf("%d moves were further when they were seen\n%s", missed, report.String())
}

// killDuringMove moves a shard and kills the node with a role once the move is in a state. It returns false if the move was not seen in it: it
// was over too soon. In any case the move has ended when it returns.
func (c *copiesCluster) killDuringMove(state int, role string) bool {
	c.t.Helper()
	m := c.begin(role)
	if state == 0 {
		m.order("CLUSTER", "CONFIG", "SET", "moves", "paused")
	}
	m.order("CLUSTER", "MOVE", "SHARD", m.shard, "TO", string(m.to))
	seen := m.await(state)
	if seen {
		c.kill(m.victim)
		began := time.Now()
		c.pause(1500 * time.Millisecond)
		c.start(m.victim)
		defer func() {
			c.t.Logf("%s: %s was killed; it ended after %v", moveStates[state].name, role, time.Since(began).Round(time.Millisecond))
		}()
	}
	if state == 0 {
		m.order("CLUSTER", "CONFIG", "SET", "moves", "on")
	}
	m.end()
	c.awaitCopies()
	return seen
}
