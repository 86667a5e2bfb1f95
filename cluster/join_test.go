package cluster

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
)

func settingCommand(t *testing.T, name string) []byte {
	t.Helper()
	b, err := topology.Command{Ops: []topology.Op{{Kind: topology.ConfigSet, Name: name, Value: "1"}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOnlyMembersProposeAndNoNodeJoinsForAnother(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	n := nw.start(t, testConfig(t, "a", 0))
	ready(t, n)
	stranger, other := testConfig(t, "s", 0).Self, testConfig(t, "o", 0).Self
	stranger.Incarnation, other.Incarnation = 7, 7
	from := Caller{Node: stranger.ID, Store: stranger.Store, Incarnation: stranger.Incarnation}
	if _, err := n.ServeCall(t.Context(), from, MethodPropose, settingCommand(t, "stranger")); err == nil || !strings.Contains(err.Error(), "belongs to no cluster") {
		t.Errorf("a proposal by a node without a cluster: %v", err)
	}
	member := from
	member.Cluster = n.ID()
	if _, err := n.ServeCall(t.Context(), member, MethodPropose, settingCommand(t, "member")); err != nil {
		t.Errorf("a proposal by a member: %v", err)
	}
	join := func(from Caller, request joinRequest) error {
		t.Helper()
		request.Shards, request.Format = n.config.Shards, topology.LatestFormat
		payload, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := n.ServeCall(t.Context(), from, MethodJoin, payload)
		var reply joinReply
		if err == nil {
			err = json.Unmarshal(text, &reply)
		}
		if err == nil && reply.Refused != "" {
			err = errors.New(reply.Refused)
		}
		return err
	}
	wrongStore := stranger
	wrongStore.Store = other.Store
	for name, request := range map[string]joinRequest{
		"for another node":       {Node: other},
		"for another store":      {Node: wrongStore},
		"as if it were a member": {Node: other, Forwarded: true},
	} {
		if err := join(from, request); err == nil || !strings.Contains(err.Error(), "another node") {
			t.Errorf("a join request %s: %v", name, err)
		}
	}
	if err := join(member, joinRequest{Node: other, Forwarded: true}); err != nil {
		t.Errorf("a request that a member forwards: %v", err)
	}
	if err := join(from, joinRequest{Node: stranger}); err != nil {
		t.Errorf("a request of the node itself: %v", err)
	}
	eventually(t, "the topology has every valid request", func() bool {
		_, joined := n.Topology().Node(stranger.ID)
		row, passed := n.Topology().Node(other.ID)
		return joined && passed && row.Store == other.Store && n.Topology().Settings["member"] == "1"
	})
	if _, set := n.Topology().Settings["stranger"]; set {
		t.Error("a node without a cluster has changed a setting")
	}
}

// While an incarnation of a node is alive, no later one is admitted, whatever its data folder.
func TestSecondLiveIncarnationIsRejected(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	nodes, _ := bootstrap(t, nw, 2, nil)
	leader := leaderOf(t, nodes...)
	other := nodes[0]
	if other == leader {
		other = nodes[1]
	}
	joined(t, nodes)
	again := other.self.row()
	again.Incarnation++
	admit := func() joinReply {
		t.Helper()
		var reply joinReply
		eventually(t, "the leader answers", func() (answered bool) {
			var err error
			reply, err = leader.admitter.admit(leader.consensus.Load(), joinRequest{Node: again, Shards: 16, Format: topology.LatestFormat})
			return err == nil
		})
		return reply
	}
	if reply := admit(); !strings.Contains(reply.Refused, "is running at") {
		t.Errorf("a second incarnation of a live node: %+v", reply)
	}
	if row, _ := leader.Topology().Node(other.self.ID); row.Incarnation != other.self.Incarnation {
		t.Errorf("the topology has %+v", row)
	}
	other.kill()
	if reply := admit(); reply.Refused != "" {
		t.Errorf("a later incarnation of a dead node: %+v", reply)
	}
}

// A node whose program does not know the format of the topology is refused before it becomes a member, and told why.
func TestEarlierProgramIsNotAdmitted(t *testing.T) {
	t.Parallel()
	nodes, _ := bootstrap(t, newNetwork(), 2, nil)
	leader := leaderOf(t, nodes...)
	eventually(t, "the topology has the latest format", func() bool { return leader.Topology().Format == topology.LatestFormat })
	earlier := nodes[0].self.row()
	earlier.ID, earlier.Name = topology.NodeID(strings.Repeat("e", 40)), "earlier"
	for _, knows := range []int{0, topology.LatestFormat - 1} {
		reply, err := leader.admitter.admit(leader.consensus.Load(), joinRequest{Node: earlier, Shards: 16, Format: knows})
		if err != nil || !strings.Contains(reply.Refused, "a newer ndring is needed") {
			t.Errorf("a program that knows format %d: %+v, %v", knows, reply, err)
		}
	}
	if _, member := leader.Topology().Node(earlier.ID); member {
		t.Error("it is a member")
	}
}
