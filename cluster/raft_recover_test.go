package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/slowtest"
)

// openRecovery reads the data folder of a stopped node.
func openRecovery(t *testing.T, c Config) (*Recovery, error) {
	t.Helper()
	return OpenRecovery(c.Self.ID, c.Self.Store, c.RaftDir, c.Files, testLog(t, c.Self.Name))
}

// recoverFolder makes a stopped node the only voter.
func recoverFolder(t *testing.T, c Config) {
	t.Helper()
	r, err := openRecovery(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Recover(), r.Close()); err != nil {
		t.Fatal(err)
	}
}

// decide changes a setting, and retries until the change is committed.
func decide(t *testing.T, n *testNode, name, value string) {
	t.Helper()
	eventually(t, name+" is committed", func() bool {
		errs, err := n.Propose(t.Context(), topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: name, Value: value}}})
		return err == nil && errs[0] == nil
	})
}

// setOn waits until all nodes have a setting's value.
func setOn(t *testing.T, nodes []*testNode, name, value string) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, fmt.Sprintf("%s has %s", n.self.Name, name), func() bool { return n.Topology().Settings[name] == value })
	}
}

// joined waits until the present incarnations of the nodes are members.
func joined(t *testing.T, nodes []*testNode) {
	t.Helper()
	for _, of := range nodes {
		eventually(t, "all know "+of.self.Name, func() bool {
			for _, by := range nodes {
				if row, ok := by.Topology().Node(of.self.ID); !ok || row.Incarnation != of.self.Incarnation {
					return false
				}
			}
			return true
		})
	}
}

// The lost majority comes back as it was, all at once, and takes over what was committed without it.
func TestRecoveryPrevailsOverTheReturningMajority(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	decide(t, nodes[0], "before", "1")
	for _, n := range nodes[1:] {
		n.kill()
	}
	nodes[0].stop()
	recoverFolder(t, configs[0])
	nodes[0] = nw.start(t, configs[0])
	ready(t, nodes[0])
	decide(t, nodes[0], "after", "1")
	for i := range nodes[1:] {
		c := configs[i+1]
		c.Join = []string{nodes[0].seed()}
		nodes[i+1] = nw.start(t, c)
	}
	recovered(t, nodes)
}

// A recovery raises index, term and epochs beyond anything that the lost majority can have reached.
func TestRecoveryLeavesAGap(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 2, onDisk)
	c := configs[0]
	if leaderOf(t, nodes...) == nodes[0] {
		c = configs[1]
	}
	for _, n := range nodes {
		n.stop()
	}
	r, err := openRecovery(t, c)
	if err != nil {
		t.Fatal(err)
	}
	before := position{Term: max(r.current, r.Term), Index: r.Index}
	epoch := r.Topology.Shards[0].Epoch
	if err := errors.Join(r.Recover(), r.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := openStores(storeDir(c.RaftDir, c.Self.Store), raftLogger(testLog(t, "a")))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	after, err := checkLog(s)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := s.snapshots.List()
	if err != nil || len(taken) == 0 {
		t.Fatal(taken, err)
	}
	if after.Term < before.Term+topology.RecoveryGap || taken[0].Term != after.Term || after.Index < before.Index+topology.RecoveryGap || taken[0].Index != after.Index {
		t.Errorf("entry %d of term %d became %d of term %d; the snapshot ends at %d of term %d", before.Index, before.Term, after.Index, after.Term, taken[0].Index, taken[0].Term)
	}
	_, content, err := s.snapshots.Open(taken[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	m := newFSM(func(*topology.Topology) {})
	if err := m.Restore(content); err != nil {
		t.Fatal(err)
	}
	if got := m.current.Load(); got.Shards[0].Epoch < epoch+topology.RecoveryGap || got.Recovery != after.Index {
		t.Errorf("epoch %d became %d, the recovery is %d", epoch, got.Shards[0].Epoch, got.Recovery)
	}
}

// recovered waits until nodes are one cluster with the changes committed before and after a recovery.
func recovered(t *testing.T, nodes []*testNode) {
	t.Helper()
	leaderOf(t, nodes...)
	setOn(t, nodes, "before", "1")
	setOn(t, nodes, "after", "1")
	joined(t, nodes)
	sameTopology(t, nodes)
}

// meet connects the nodes of two networks.
func (nw *network) meet(other *network) {
	for _, pair := range [][2]*network{{nw, other}, {other, nw}} {
		pair[0].mu.Lock()
		nodes := maps.Clone(pair[0].nodes)
		pair[0].mu.Unlock()
		pair[1].mu.Lock()
		maps.Copy(pair[1].nodes, nodes)
		pair[1].mu.Unlock()
	}
}

// The majority was only cut off and kept committing changes. It reaches the recovered node before
// that node sees it.
func TestRecoveryPrevailsOverAMajorityThatKeptDeciding(t *testing.T) {
	t.Parallel()
	nw, cut := newNetwork(), newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	decide(t, nodes[0], "before", "1")
	setOn(t, nodes, "before", "1")
	was := nodes[0].address
	nodes[0].stop()
	recoverFolder(t, configs[0])
	alone := configs[0]
	delete(alone.Files.(*memoryFiles).files, bookFile)
	nodes[0] = cut.start(t, alone)
	ready(t, nodes[0])
	decide(t, nodes[0], "after", "1")
	decide(t, nodes[1], "elsewhere", "1")
	nw.meet(cut)
	nw.mu.Lock()
	nw.nodes[was] = nodes[0]
	nw.mu.Unlock()
	eventually(t, "the others reach it", func() bool {
		nw.mu.Lock()
		defer nw.mu.Unlock()
		return slices.Contains(slices.Collect(maps.Values(nw.pipes)), nodes[0].address)
	})
	eventually(t, "it sees the others", func() bool {
		nodes[0].gossip.join([]string{nodes[1].seed()})
		return len(nodes[0].members.alive()) == 2
	})
	recovered(t, nodes)
	if value, there := nodes[1].Topology().Settings["elsewhere"]; there {
		t.Errorf("a change that the others committed still exists: %s", value)
	}
}

// Two nodes were recovered: when they meet, one of them prevails.
func TestRecoveryOnTwoNodes(t *testing.T) {
	t.Parallel()
	nw, cut := newNetwork(), newNetwork()
	nodes, configs := bootstrap(t, nw, 3, onDisk)
	decide(t, nodes[0], "before", "1")
	setOn(t, nodes, "before", "1")
	for i, n := range nodes {
		n.kill()
		if i < 2 {
			recoverFolder(t, configs[i])
		}
	}
	a := nw.start(t, configs[0])
	ready(t, a)
	c := configs[1]
	c.Join = []string{a.seed()}
	b := cut.start(t, c)
	ready(t, b)
	decide(t, a, "by", "a")
	decide(t, b, "by", "b")
	nw.meet(cut)
	both := []*testNode{a, b}
	leaderOf(t, both...)
	joined(t, both)
	decide(t, a, "after", "2")
	decide(t, b, "after", "1")
	recovered(t, both)
}

// Requests of nodes that have not learned of the recovery are rejected, and the answers tell them
// nothing.
func TestTransportRejectsEarlierRecoveries(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		theirs, ours uint64
		accepted     bool
	}{{0, 0, true}, {7, 0, true}, {7, 7, true}, {8, 7, true}, {6, 7, false}, {0, 7, false}} {
		of := func(recovery uint64) *transport {
			return &transport{NetworkTransport: &raft.NetworkTransport{}, recovery: func() uint64 { return recovery }}
		}
		from := of(tc.theirs).EncodePeer("node/store", "node/store")
		if got := of(tc.ours).DecodePeer(from); got != "node/store" {
			t.Errorf("%s is decoded as %s", from, got)
		}
		for _, command := range []any{
			&raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{Addr: from}}, &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{Addr: from}},
			&raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{Addr: from}}, &raft.InstallSnapshotRequest{RPCHeader: raft.RPCHeader{Addr: from}},
			&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{Addr: from}},
		} {
			content := strings.NewReader("a snapshot")
			answer := make(chan raft.RPCResponse, 1)
			if got := of(tc.ours).accepts(raft.RPC{Command: command, Reader: content, RespChan: answer}); got != tc.accepted {
				t.Errorf("%T of recovery %d, here %d: accepted %v", command, tc.theirs, tc.ours, got)
			}
			if tc.accepted {
				continue
			}
			if a := within(t, answer); a.Response != nil || a.Error == nil || content.Len() > 0 {
				t.Errorf("%T is answered with %+v, with %d bytes left", command, a, content.Len())
			}
		}
	}
}

// The recovered node was away. It never learned of a node that joined since, nor of a restart of
// another one. Both kept running.
func TestRecoveryOfANodeThatWasAway(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 5, onDisk)
	leaderOf(t, nodes...)
	nodes[0].stop()
	again, others := nodes[1], nodes[2:]
	again.stop()
	c := configs[1]
	c.Join = []string{nodes[2].seed()}
	again = nw.start(t, c)
	ready(t, again)
	late := nw.start(t, onDisk(t, testConfig(t, "late", 0, nodes[2].seed())))
	ready(t, late)
	for _, n := range others {
		n.kill()
	}
	eventually(t, "there is no quorum", func() bool { return !late.Status().Quorum && !again.Status().Quorum })
	recoverFolder(t, configs[0])
	c = configs[0]
	c.Join = []string{late.seed()}
	back := nw.start(t, c)
	left := []*testNode{back, again, late}
	ready(t, left...)
	leaderOf(t, left...)
	joined(t, left)
	decide(t, late, "after", "1")
	setOn(t, left, "after", "1")
	sameTopology(t, left)
}

// The only voter can lead without a recovery, which would take every node's shards away.
func TestRecoveryOfTheOnlyVoter(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, configs := bootstrap(t, nw, 2, onDisk)
	leader := leaderOf(t, nodes...)
	for i, n := range nodes {
		n.stop()
		r, err := openRecovery(t, configs[i])
		if alone := n == leader; errors.Is(err, ErrOnlyVoter) != alone {
			t.Errorf("%s, the only voter: %v: %v", n.self.Name, alone, err)
		}
		if err == nil {
			r.Close()
		}
	}
}

// A member without a leader asks to be admitted every few seconds. That must not write to the log
// if it is a member or was forgotten.
func TestRepeatedJoinRequestWritesNothing(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 3, nil)
	leader := leaderOf(t, nodes...)
	other := nodes[0]
	if other == leader {
		other = nodes[1]
	}
	joined(t, nodes)
	writesNothing := func(what string, want error) {
		t.Helper()
		a := leader.consensus.Load()
		eventually(t, what+", and no entry is written", func() bool { // except by the controller
			before := a.LastIndex()
			_, err := leader.admitter.admit(a, joinRequest{Node: other.self.row(), Shards: 16, Format: topology.LatestFormat})
			return (err == nil) == (want == nil) && a.LastIndex() == before
		})
	}
	writesNothing("a member asks again", nil)
	errs, err := leader.Propose(t.Context(), topology.Command{Ops: []topology.Op{{Kind: topology.NodeForget, Node: other.self.ID}}})
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
	writesNothing("a forgotten node asks", topology.ErrStale)
}
