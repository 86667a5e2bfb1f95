package protocol

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// copiesOfSelf is threeNodes, where this node has clean copies of shards 4, 5 and 8, and others of 6 and 9.
func copiesOfSelf() *topology.Topology {
	topo := threeNodes()
	for i, row := range map[int]topology.Shard{
		4: {ISR: []topology.NodeID{otherID, selfID}},
		5: {ISR: []topology.NodeID{otherID, selfID}},
		6: {ISR: []topology.NodeID{otherID}, Learners: []topology.NodeID{selfID}},
		8: {ISR: []topology.NodeID{thirdID, selfID}},
		9: {ISR: []topology.NodeID{thirdID, otherID, selfID}, Unclean: []topology.NodeID{selfID}},
	} {
		topo.Shards[i].ISR, topo.Shards[i].Learners, topo.Shards[i].Unclean = row.ISR, row.Learners, row.Unclean
	}
	return topo
}

func TestFailover(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	s.follow(t, copiesOfSelf())
	down := func(ids ...topology.NodeID) map[topology.NodeID]Liveness {
		m := map[topology.NodeID]Liveness{}
		for _, id := range ids {
			m[id] = Liveness{Since: time.Now().Add(-time.Minute)}
		}
		return m
	}
	for _, tc := range []struct {
		command  string
		down     map[topology.NodeID]Liveness
		reply    string
		transfer []topology.ShardID
		takeover []topology.ShardID
	}{
		{"", nil, "+OK", []topology.ShardID{4, 5, 8}, nil},
		{"SHARD 5", nil, "+OK", []topology.ShardID{5}, nil},
		{"FORCE", down(otherID), "+OK", []topology.ShardID{8}, nil},
		{"force shard 8", nil, "+OK", []topology.ShardID{8}, nil},
		{"SHARD 0", nil, "-ERR You should send CLUSTER FAILOVER to a replica", nil, nil},
		{"SHARD 7 FORCE", nil, "-ERR You should send CLUSTER FAILOVER to a replica", nil, nil},
		{"SHARD 6", nil, "-ERR the copies of this node are not in sync yet: 1 shards cannot be handed over to it", nil, nil},
		{"SHARD 16", nil, "-ERR Invalid shard number: 16", nil, nil},
		{"SHARD -1", nil, "-ERR Invalid shard number: -1", nil, nil},
		{"SHARD", nil, "-ERR syntax error", nil, nil},
		{"SHARD 1 SHARD 2", nil, "-ERR syntax error", nil, nil},
		{"WHAT", nil, "-ERR syntax error", nil, nil},
		{"SHARD 4", down(otherID), "-ERR Master is down or failed, please use CLUSTER FAILOVER FORCE", nil, nil},
		{"SHARD 4 FORCE", down(otherID), "-ERR 1 shards have node node-b (" + otherID[:8] + "), which is down, or no primary: the cluster promotes a clean copy by itself once its node has reported, about a second after the primary is gone, so nothing was forced", nil, nil},
		{"SHARD 6 FORCE", down(otherID), "-ERR 1 shards have node node-b (" + otherID[:8] + "), which is down, or no primary, and no live node has a clean copy: if their old primaries are off for good, CLUSTER FAILOVER TAKEOVER promotes what this node has and loses what it lacks", nil, nil},
		{"TAKEOVER", nil, "-ERR the primaries of these shards are alive: stop them first, or use CLUSTER FAILOVER", nil, nil},
		{"SHARD 1 TAKEOVER", nil, "-ERR You should send CLUSTER FAILOVER to a replica", nil, nil},
		{"TAKEOVER", down(otherID), "+OK", nil, []topology.ShardID{4, 5, 6}},
		{"TAKEOVER", down(otherID, thirdID), "+OK", nil, []topology.ShardID{4, 5, 6, 8, 9}},
		{"TAKEOVER SHARD 9", down(thirdID), "-ERR node node-b (" + otherID[:8] + ") has better copies: send it CLUSTER FAILOVER TAKEOVER", nil, nil},
	} {
		asked := make(chan []topology.ShardID, 2) // what was to be handed over, then what was to be taken
		var transfer, takeover []topology.ShardID
		s.view.Store(&fakeCluster{
			members: tc.down, status: ClusterStatus{Quorum: true},
			transfer: func(ids []topology.ShardID) error { asked <- ids; return nil },
			takeover: func(ids []topology.ShardID) error { asked <- ids; return nil },
		})
		got := c.do(strings.Fields("CLUSTER FAILOVER " + tc.command)...)
		for into := &transfer; len(asked) > 0; {
			if strings.Contains(tc.command, "TAKEOVER") {
				into = &takeover
			}
			*into = append(*into, <-asked...)
		}
		if got != tc.reply || !slices.Equal(transfer, tc.transfer) || !slices.Equal(takeover, tc.takeover) {
			t.Errorf("%s: %s, handed over %v, taken %v; want %s, %v, %v", tc.command, got, transfer, takeover, tc.reply, tc.transfer, tc.takeover)
		}
	}
	s.view.Store(&fakeCluster{members: down(otherID)})
	if got, want := c.do("CLUSTER", "FAILOVER", "SHARD", "4", "FORCE"), "-ERR 1 shards have node node-b ("+otherID[:8]+"), which is down, or no primary, and a majority of the voters is missing: without it nothing can be promoted"; got != want {
		t.Errorf("without a quorum: %s", got)
	}
	s.view.Store(&fakeCluster{transfer: func([]topology.ShardID) error { return errors.New("it is too far behind") }})
	c.want("-ERR it is too far behind", "CLUSTER", "FAILOVER")
}

func TestReplicationOfAMaster(t *testing.T) {
	t.Parallel()
	s, c, _ := startThree(t)
	topo := copiesOfSelf()
	topo.Shards[0].ISR, topo.Shards[0].Assigned = []topology.NodeID{selfID, otherID}, []topology.NodeID{selfID, otherID}
	topo.Shards[1].Assigned, topo.Shards[1].Learners = []topology.NodeID{selfID, thirdID}, []topology.NodeID{thirdID}
	for _, i := range []int{2, 3, 12, 13, 14, 15} {
		topo.Shards[i].ISR, topo.Shards[i].Assigned = []topology.NodeID{selfID, otherID}, []topology.NodeID{selfID, otherID}
	}
	s.follow(t, topo)
	s.view.Store(&fakeCluster{
		members:     map[topology.NodeID]Liveness{thirdID: {}},
		replication: Replication{Shrinks: 3, Expands: 4, Failovers: 5, BytesIn: 6, BytesOut: 7, MovedBytes: 10, Peers: []Peer{{Node: otherID, Bytes: 8}, {Node: thirdID, Bytes: 9}}},
	})
	c.lines("INFO replication", "role:master", "connected_slaves:0", "master_repl_offset:0", "shards_served:8", "shards_primary:8", "shards_replica:5", "shards_degraded:1",
		"shards_down:2", "learners:1", "isr_shrinks:3", "isr_expands:4", "failovers:5", "possible_losses:0", "uncertain_writes:0",
		"repl_bytes_in:6", "repl_bytes_out:7", "repl_moved_bytes:10", "repl_lag_bytes:17", "digest_mismatches:0", "durability:degraded")
	c.want(`["master" :0 []]`, "ROLE")
}

func TestReplicationOfASlave(t *testing.T) {
	t.Parallel()
	s, c, outside := startThree(t)
	topo := copiesOfSelf()
	for i := range topo.Shards {
		if row := &topo.Shards[i]; row.Primary == selfID {
			row.Primary, row.ISR = thirdID, []topology.NodeID{thirdID}
			row.Epoch += 20
		}
	}
	s.follow(t, topo)
	c.lines("INFO replication", "role:slave", "master_host:10.0.0.2", "master_port:7379", "master_link_status:up", "slave_repl_offset:0",
		"shards_primary:0", "shards_replica:5", "durability:ok")
	c.want(`["slave" "10.0.0.2" :7379 "connected" :0]`, "ROLE")
	outside.want(`["slave" "b.example" :7002 "connected" :0]`, "ROLE")
	s.view.Store(&fakeCluster{members: map[topology.NodeID]Liveness{otherID: {}, thirdID: {}}})
	c.want(`["slave" "" :0 "connect" :0]`, "ROLE")
	c.lines("INFO replication", "master_link_status:down", "shards_down:5")
}

func TestSlavesAreThoseThatAreConnected(t *testing.T) {
	t.Parallel()
	s, c, outside := startThree(t)
	from := func(c *client) *origin {
		return &origin{listener: "default", local: c.RemoteAddr()}
	}
	missing := map[topology.NodeID]uint64{otherID: 3, thirdID: 0}
	peers := []Peer{{Node: otherID, Silent: 2 * time.Second}, {Node: otherID, Linked: true, CatchUps: 1, Silent: time.Second}, {Node: thirdID, Linked: true}}
	got := s.router.slaves(from(c), s.Topology(), missing, peers)
	if len(got) != 2 || got[0].at.Port != 7379 || got[0].state() != "send_bulk" || got[0].missing != 3 || got[0].peer.Silent != time.Second || got[1].state() != "online" {
		t.Errorf("%+v", got)
	}
	at := from(outside)
	at.listener = "outside" // on which node-c is not
	if got := s.router.slaves(at, s.Topology(), missing, peers); len(got) != 1 || fmt.Sprint(got[0].at.Port) != "7002" {
		t.Errorf("outside: %+v", got)
	}
}
