package protocol

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// CLUSTER TOPOLOGY tells names, single shards and voters, with the addresses of the listener that was asked.
func TestToldTopology(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	told := func() (told toldTopology) {
		t.Helper()
		text := strings.Trim(c.do("CLUSTER", "TOPOLOGY"), `"`)
		if err := json.Unmarshal([]byte(text), &told); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return told
	}
	topo := threeNodes()
	topo.Nodes[1].State = topology.Leaving
	delete(topo.Nodes[2].Listeners, "default")
	topo.Shards[15].Primary = ""
	s.follow(t, topo)
	s.view.Store(&fakeCluster{
		status: ClusterStatus{Leader: otherID, Term: 3, Voters: 2, VoterIDs: []topology.NodeID{otherID, thirdID}, Quorum: true},
		sights: map[topology.NodeID]Liveness{thirdID: {Since: time.UnixMilli(1_700_000_000_000)}},
	})
	got := told()
	if got.Cluster != "c1" || got.Index != topo.Index || got.Term != 3 || got.Leader != otherID || !got.Quorum || len(got.Voters) != 2 || got.Self != s.Self() {
		t.Errorf("the cluster: %+v", got)
	}
	if len(got.Nodes) != 3 || len(got.Shards) != 16 || got.Shards[15].Primary != "" || got.Shards[0].Primary == "" || got.Shards[0].Epoch == 0 {
		t.Fatalf("nodes and shards: %+v", got)
	}
	byID := map[topology.NodeID]toldNode{}
	for _, n := range got.Nodes {
		byID[n.ID] = n
	}
	if n := byID[otherID]; n.Name != "node-b" || !n.Leaving || !n.Up || n.Host == "" || n.Port == 0 {
		t.Errorf("the one that leaves: %+v", n)
	}
	if n := byID[thirdID]; n.Up || n.Since != 1_700_000_000_000 || n.Host != "" || n.Port != 0 {
		t.Errorf("the one that is down and has no listener of this name: %+v", n)
	}
	if n := byID[s.Self()]; !n.Up || n.Port == 0 {
		t.Errorf("this one: %+v", n)
	}

	s.follow(t, &topology.Topology{})
	s.view.Store(&fakeCluster{status: ClusterStatus{Waiting: "1 of 3 nodes is here"}})
	if got := told(); got.Cluster != "" || got.Waiting != "1 of 3 nodes is here" || len(got.Nodes) != 0 || len(got.Shards) != 0 {
		t.Errorf("without a cluster: %+v", got)
	}
}
