package protocol

import (
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// CLUSTER TOPOLOGY returns names, single shards and voters, with the addresses of the listener that
// was asked.
func TestClusterTopology(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	answer := func() *view.Cluster {
		t.Helper()
		text := strings.Trim(c.do("CLUSTER", "TOPOLOGY"), `"`)
		v, err := view.Decode([]byte(text))
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return v
	}
	topo := threeNodes()
	topo.Nodes[1].State = topology.Leaving
	delete(topo.Nodes[2].Listeners, "default")
	topo.Shards[15].Primary = ""
	s.follow(t, topo)
	s.view.Store(&fakeCluster{
		status:  ClusterStatus{Leader: otherID, Term: 3, Voters: 2, VoterIDs: []topology.NodeID{otherID, thirdID}, Quorum: true},
		members: map[topology.NodeID]Liveness{thirdID: {Since: time.UnixMilli(1_700_000_000_000)}},
	})
	got := answer()
	if got.ID != "c1" || got.Index != topo.Index || got.Term != 3 || got.Leader != otherID || !got.Quorum || len(got.Voters) != 2 || got.Self != s.Self() {
		t.Errorf("cluster: %+v", got)
	}
	if len(got.Nodes) != 3 || len(got.Shards) != 16 || got.Shards[15].Primary != "" || got.Shards[0].Primary == "" || got.Shards[0].Epoch == 0 {
		t.Fatalf("nodes and shards: %+v", got)
	}
	byID := map[topology.NodeID]view.Node{}
	for _, n := range got.Nodes {
		byID[n.ID] = n
	}
	if n := byID[otherID]; n.Name != "node-b" || !n.Leaving || !n.Up || n.Host == "" || n.Port == 0 {
		t.Errorf("a leaving node: %+v", n)
	}
	if n := byID[thirdID]; n.Up || n.Since != 1_700_000_000_000 || n.Host != "" || n.Port != 0 {
		t.Errorf("a node that is down and has no listener of this name: %+v", n)
	}
	if n := byID[s.Self()]; !n.Up || n.Port == 0 {
		t.Errorf("this node: %+v", n)
	}

	s.follow(t, &topology.Topology{})
	s.view.Store(&fakeCluster{status: ClusterStatus{Waiting: "2 more nodes"}})
	if got := answer(); got.ID != "" || got.Waiting != "2 more nodes" || len(got.Nodes) != 0 || len(got.Shards) != 0 {
		t.Errorf("without a cluster: %+v", got)
	}
}

// ndctl and scripts of every version read the JSON, so it stays the same byte for byte.
func TestJSONOfClusterTopology(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	topo := threeNodes()
	topo.Nodes[1].State, topo.Nodes[1].Zone, topo.Nodes[1].Incarnation = topology.Leaving, "z", 9
	topo.Nodes[1].BusHost, topo.Nodes[1].BusPort = "10.0.0.2", 17379
	topo.Shards, topo.Format = topo.Shards[:1], topology.Format2
	topo.Nodes[2].Weight = 300
	topo.Shards[0] = topology.Shard{Epoch: 5, Primary: otherID, ISR: []topology.NodeID{otherID, thirdID}, Assigned: []topology.NodeID{otherID}, Learners: []topology.NodeID{s.Self()}}
	for i := range topo.Nodes {
		topo.Nodes[i].Listeners = map[string]topology.Address{"default": {Host: "h", Port: 1 + i}}
	}
	s.follow(t, topo)
	s.view.Store(&fakeCluster{
		status:  ClusterStatus{Leader: otherID, Term: 3, Voters: 1, VoterIDs: []topology.NodeID{otherID}, Quorum: true, Waiting: "w"},
		members: map[topology.NodeID]Liveness{otherID: {Alive: true, Loading: true}, thirdID: {Since: time.UnixMilli(1_700_000_000_000)}},
	})
	want := strings.NewReplacer("SELF", string(s.Self()), "OTHER", otherID, "THIRD", thirdID).Replace(`{"cluster":"c1","index":42,"format":2,"term":3,"self":"SELF","leader":"OTHER","voters":["OTHER"],"quorum":true,"waiting":"w",` +
		`"nodes":[{"id":"SELF","name":"node-a","host":"h","port":1,"bus":":17379","weight":100,"up":true},{"id":"OTHER","name":"node-b","zone":"z","incarnation":9,"host":"h","port":2,"bus":"10.0.0.2:17379","leaving":true,"weight":100,"up":true,"loading":true},{"id":"THIRD","name":"node-c","host":"h","port":3,"bus":":17381","weight":300,"since":1700000000000}]` +
		`,"shards":[{"epoch":5,"primary":"OTHER","in_sync":["OTHER","THIRD"],"assigned":["OTHER"],"learners":["SELF"]}]}`)
	if got := strings.Trim(c.do("CLUSTER", "TOPOLOGY"), `"`); got != want {
		t.Errorf("got\n%s", got)
	}
}
