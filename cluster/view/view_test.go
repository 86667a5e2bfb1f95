package view

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// three is a healthy cluster of n1, n2 and n3 with four shards; n1 was asked.
func three() *Cluster {
	return &Cluster{
		ID: "c1", Index: 7, Term: 2, Self: "aa", Leader: "bb", Voters: []topology.NodeID{"aa", "bb", "cc"}, Quorum: true,
		Nodes: []Node{{ID: "aa", Name: "n1", Up: true}, {ID: "bb", Name: "n2", Host: "10.0.0.2", Port: 7379, Up: true}, {ID: "cc", Name: "n3", Up: true}},
		Shards: []Shard{
			{Epoch: 1, Primary: "aa", InSync: []topology.NodeID{"aa"}}, {Epoch: 1, Primary: "bb", InSync: []topology.NodeID{"bb"}},
			{Epoch: 1, Primary: "cc", InSync: []topology.NodeID{"cc"}}, {Epoch: 1, Primary: "bb", InSync: []topology.NodeID{"bb"}},
		},
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(100_000)
	for _, tc := range []struct {
		name     string
		change   func(*Cluster, []Report)
		problems []string
		down     []string
		unserved int
		leader   topology.NodeID
	}{
		{"well", func(*Cluster, []Report) {}, nil, nil, 0, "bb"},
		{"a node is down", func(c *Cluster, r []Report) {
			c.Nodes[1].Up, c.Nodes[1].Since = false, 88_000
			r[1] = Report{Address: "10.0.0.2:7379", Err: "connection refused"}
		}, []string{"n2 (10.0.0.2:7379) has been down for 12s: connection refused", "2 of 4 shards not served: 2 of n2"}, []string{"n2"}, 2, "bb"},
		{"down for an unknown time", func(c *Cluster, r []Report) {
			c.Nodes[2].Up = false
			r[2] = Report{Err: "no address"}
		}, []string{"n3 is down: no address", "1 of 4 shards not served: 1 of n3"}, []string{"n3"}, 1, "bb"},
		{"unreachable from here", func(_ *Cluster, r []Report) { r[1].Err = "no answer in time" },
			[]string{"n2 does not answer from here, although n1 sees it: no answer in time"}, []string{"n2"}, 0, "bb"},
		{"denied", func(_ *Cluster, r []Report) { r[1] = Report{Err: "password required", Denied: true} },
			[]string{"n2 refuses to report its state: password required"}, []string{"n2"}, 0, "bb"},
		{"cut off", func(c *Cluster, _ []Report) { c.Nodes[0].Up, c.Nodes[2].Up = true, false },
			[]string{"n3 answers, but n1 does not see it: is the network between them cut?", "1 of 4 shards not served: 1 of n3"}, nil, 1, "bb"},
		{"vacant shards", func(c *Cluster, _ []Report) {
			c.Shards[0] = Shard{InSync: []topology.NodeID{"aa", "cc"}}
			c.Shards[1] = Shard{}
			c.Shards[2].Primary = "dddddddddddd"
		}, []string{"3 of 4 shards not served: 1 of dddddddd, 1 of n1 or n3, 1 without a copy"}, nil, 3, "bb"},
		{"unclean copies", func(c *Cluster, _ []Report) {
			c.Shards[1] = Shard{InSync: []topology.NodeID{"aa", "cc"}, Unclean: []topology.NodeID{"aa", "cc"}, WaitsFor: topology.WaitsForAll, WaitsOn: []topology.NodeID{"aa", "cc"}}
			c.Shards[2] = Shard{InSync: []topology.NodeID{"aa", "cc"}, Unclean: []topology.NodeID{"aa"}, WaitsFor: topology.WaitsForCopy, WaitsOn: []topology.NodeID{"cc"}}
		}, []string{"2 of 4 shards not served: 1 of n3, 1 until n1 and n3 are back, since no copy is clean"}, nil, 2, "bb"},
		{"wiped", func(c *Cluster, _ []Report) {
			c.Shards[1] = Shard{WaitsFor: topology.WaitsForEmpty, WaitsOn: []topology.NodeID{"cc"}}
			c.Shards[2] = Shard{WaitsFor: topology.WaitsForNode}
		}, []string{"2 of 4 shards not served: 1 whose last copy was on n3, which came back with another data folder, 1 without a copy",
			"1 shard may begin empty: with ndctl begin-empty, or a minute after the node came back if the setting empty-shards is auto"}, nil, 2, "bb"},
		{"no leader", func(c *Cluster, _ []Report) { c.Leader = "" },
			[]string{"no quorum: 3 of 3 voters up, so the topology cannot change"}, nil, 0, ""},
		{"no majority", func(c *Cluster, r []Report) {
			c.Quorum, c.Nodes[1].Up, c.Nodes[2].Up = false, false, false
			r[1].Err, r[2].Err = "gone", "gone"
		}, []string{"n2 is down: gone", "n3 is down: gone", "3 of 4 shards not served: 1 of n3, 2 of n2",
			"no quorum: 1 of 3 voters up, so the topology cannot change; missing: n2, n3. If they are lost for good: ndctl raft recover"}, []string{"n2", "n3"}, 3, ""},
		{"everything that a node reports", func(_ *Cluster, r []Report) {
			r[0] = Report{Waiting: "a leader", RefusedSettings: "maxclients,save", Loading: true, StoppedShards: 2, DiskFull: true, LogFailed: true, SnapshotFailed: true}
		}, []string{
			"n1 waits for a leader", "n1 cannot apply settings of the cluster (maxclients,save) and keeps its own: see its log", "n1 is still reading its shards from disk",
			"n1 has 2 shards read-only because their disk failed: restart it when the disk works again", "n1 has a full disk (disk-reserve) and refuses writes",
			"n1 could not write to its log", "n1 could not write its last snapshot",
		}, nil, 0, "bb"},
	} {
		c, reports := three(), make([]Report, 3)
		tc.change(c, reports)
		h := c.Health(reports, now)
		if !slices.Equal(h.Problems, tc.problems) || !slices.Equal(h.Down, tc.down) || h.Unserved != tc.unserved || h.Served != 4-tc.unserved || h.Leader != tc.leader || h.Quorum != (tc.leader != "") {
			t.Errorf("%s: %+v\n%s", tc.name, h, strings.Join(h.Problems, "\n"))
		}
	}
}

func TestEncodeAndDecode(t *testing.T) {
	t.Parallel()
	c := three()
	text, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(text); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := Decode([]byte(`{"self":"aa","added":"by a later version"}`)); err != nil || got.Self != "aa" {
		t.Errorf("a field of a later version: %+v %v", got, err)
	}
	if _, err := Decode([]byte("no JSON")); err == nil {
		t.Error("decoded something that is not JSON")
	}
}

func TestOf(t *testing.T) {
	t.Parallel()
	c := Of(&topology.Topology{
		Cluster: "c1", Index: 5, Format: 2, PossibleLosses: 4,
		Nodes: []topology.Node{{ID: "aa", Name: "n1", Zone: "z", Incarnation: 3, BusHost: "10.0.0.1", BusPort: 17379, State: topology.Leaving}, {ID: "bb", State: topology.Draining, Weight: 300}},
		Shards: []topology.Shard{{Epoch: 2, Primary: "aa", ISR: []topology.NodeID{"aa"}, Assigned: []topology.NodeID{"bb"}, Learners: []topology.NodeID{"bb"}},
			{Epoch: 9, LeaderEpoch: 8, ISR: []topology.NodeID{"aa", "bb"}, Unclean: []topology.NodeID{"aa"}}, {Epoch: 3, Wiped: []topology.NodeID{"bb"}}},
	})
	want := &Cluster{
		ID: "c1", Index: 5, Format: 2, Losses: 4,
		Nodes: []Node{{ID: "aa", Name: "n1", Zone: "z", Incarnation: 3, Bus: "10.0.0.1:17379", Leaving: true, Weight: 100}, {ID: "bb", Draining: true, Weight: 300}},
		Shards: []Shard{{Epoch: 2, Primary: "aa", InSync: []topology.NodeID{"aa"}, Assigned: []topology.NodeID{"bb"}, Learners: []topology.NodeID{"bb"}},
			{Epoch: 9, LeaderEpoch: 8, InSync: []topology.NodeID{"aa", "bb"}, Unclean: []topology.NodeID{"aa"}, WaitsFor: topology.WaitsForCopy, WaitsOn: []topology.NodeID{"bb"}},
			{Epoch: 3, WaitsFor: topology.WaitsForEmpty, WaitsOn: []topology.NodeID{"bb"}}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v", c)
	}
}

func TestPlacing(t *testing.T) {
	t.Parallel()
	c := three()
	slot, shard := c.Locate("user:{42}")
	if first, last := c.Slots(shard); slot != topology.Slot([]byte("42")) || slot < first || slot > last || last-first+1 != topology.Slots/4 {
		t.Errorf("slot %d is in shard %d with slots %d to %d", slot, shard, first, last)
	}
	if first, last := c.Slots(3); first != 12288 || last != 16383 {
		t.Errorf("shard 3 has slots %d to %d", first, last)
	}
}

func TestTextsForPeople(t *testing.T) {
	t.Parallel()
	c := three()
	c.Nodes[2].Name = "a\nb\x1b[31m"
	for _, tc := range []struct{ got, want string }{
		{c.Label("aa"), "n1"}, {c.Label("cc"), "a b [31m"}, {c.Label(""), ""}, {c.Label("0123456789"), "01234567"},
		{(&Node{ID: "0123456789", Name: "0123456789"}).Label(), "01234567"},
		{c.Nodes[1].Address(), "10.0.0.2:7379"}, {c.Nodes[0].Address(), ""},
		{Duration(0), "0s"}, {Duration(61 * time.Second), "1m1s"}, {Duration(3*time.Hour + 4*time.Minute), "3h4m"}, {Duration(49 * time.Hour), "2d1h"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}
