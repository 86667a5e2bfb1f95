package view

import (
	"reflect"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

type ids = []topology.NodeID

// copied is three with a second copy of each shard on the next node; shard 0 has lost it, and shard 1 has an unclean one.
func copied() *Cluster {
	c := three()
	c.Shards = []Shard{
		{Primary: "aa", InSync: ids{"aa"}, Assigned: ids{"aa", "bb"}, Learners: ids{"bb"}},
		{Primary: "bb", InSync: ids{"bb", "cc"}, Assigned: ids{"bb", "cc"}, Unclean: ids{"cc"}},
		{Primary: "cc", InSync: ids{"cc", "aa"}, Assigned: ids{"cc", "aa"}},
		{Primary: "bb", InSync: ids{"bb"}, Assigned: ids{"bb"}},
	}
	return c
}

func TestCopies(t *testing.T) {
	t.Parallel()
	c := copied()
	for id, want := range map[topology.NodeID]Copies{
		"aa": {Primaries: 1, Replicas: 1}, "bb": {Primaries: 2, Learners: 1, Behind: 1}, "cc": {Primaries: 1, Replicas: 1, Behind: 1},
	} {
		if got := c.CopiesOf(id); got != want {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
	for i, want := range []bool{true, true, false, false} {
		if c.Degraded(i) != want {
			t.Errorf("shard %d is degraded: %v", i, !want)
		}
	}
	h := c.Health(make([]Report, 3), time.UnixMilli(0))
	if want := []string{"2 of 4 shards with only one clean copy in sync: n2 catches up, n3 catches up"}; !reflect.DeepEqual(h.Problems, want) {
		t.Errorf("%q", h.Problems)
	}
	c.Nodes[1].Up = false
	if got, want := c.degraded(), "1 of 4 shards with only one clean copy in sync: n2 is down"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	c := copied()
	if got := c.Notes(); len(got) != 0 {
		t.Errorf("three nodes: %q", got)
	}
	c.Nodes, c.Voters = c.Nodes[:2], ids{"aa"}
	if got := c.Notes(); len(got) != 1 {
		t.Errorf("two nodes: %q", got)
	}
	for i := range c.Shards {
		c.Shards[i].Assigned = c.Shards[i].Assigned[:1]
	}
	if got := c.Notes(); len(got) != 0 {
		t.Errorf("two nodes with one copy of each shard: %q", got)
	}
}
