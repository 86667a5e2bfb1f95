package node

import (
	"fmt"
	"slices"
	"testing"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/slowtest"
)

// shardsOf returns shards whose first copy is assigned to one member and whose second copy to another.
func shardsOf(t *testing.T, first, second *member, count int) (found []topology.ShardID) {
	t.Helper()
	want := []topology.NodeID{datafolder.NodeID(first.name), datafolder.NodeID(second.name)}
	for id, s := range first.told().Shards {
		if len(found) < count && slices.Equal(s.Assigned, want) {
			found = append(found, topology.ShardID(id))
		}
	}
	if len(found) < count {
		t.Fatalf("%s and %s share %d shards, not %d", first.name, second.name, len(found), count)
	}
	return found
}

// keyIn returns a key of a shard.
func keyIn(id topology.ShardID, shards int) string {
	for n := 0; ; n++ {
		if key := fmt.Sprint("key ", n); topology.ShardOfKey([]byte(key), shards) == id {
			return key
		}
	}
}

// failover sends a member CLUSTER FAILOVER for one shard.
func (m *member) failover(id topology.ShardID, option ...any) string {
	return m.says(append([]any{"CLUSTER", "FAILOVER", "SHARD", int(id)}, option...)...)
}

// stores stores an array at a member. On a busy machine another one may serve the shard for a moment.
func (m *member) stores(key, npy string) {
	m.t.Helper()
	eventually(m.t, m.name+" stores "+key, []*member{m}, func() string {
		if got := m.says("NP.SET", key, npy); got != "OK" {
			return got
		}
		return ""
	})
}

// strand leaves shards whose copies two members share with one clean copy, on the first, which is down. The second is up, and has
// another array under their keys.
func strand(t *testing.T, all []*member, ids []topology.ShardID, keys []string, old, newer string) {
	t.Helper()
	first, second := all[0], all[1]
	for _, key := range keys {
		first.stores(key, old)
	}
	second.kill()
	eventually(t, first.name+" is alone in the ISR", all[:1], func() string {
		for _, id := range ids {
			if s := first.told().Shards[id]; !slices.Equal(s.InSync, []topology.NodeID{datafolder.NodeID(first.name)}) {
				return fmt.Sprintf("the ISR of shard %d is %v", id, s.InSync)
			}
		}
		return ""
	})
	for _, key := range keys {
		first.stores(key, newer)
	}
	first.kill()
	second.start("--join", seedsOf(all...))
	for _, id := range ids {
		eventually(t, "the plain command says that the primary is down", all[1:], func() string {
			return lacks(second.failover(id), "Master is down or failed, please use CLUSTER FAILOVER FORCE")
		})
		eventually(t, "FORCE says that no clean copy is left", all[1:], func() string {
			return lacks(second.failover(id, "FORCE"), "no live node has a clean copy", "CLUSTER FAILOVER TAKEOVER promotes what this node has and loses what it lacks")
		})
	}
}

// A shard whose only clean copy is on a node that is down has no primary until an operator takes it over from a copy that lacks
// writes, which counts as a possible loss. A shard that is not taken over stays down until its node returns, and has lost nothing then.
func TestTakeoverOfACopyThatIsBehind(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	atHome(t, all...)
	first, second, third, up := all[0], all[1], all[2], all[1:]
	ids := shardsOf(t, first, second, 2)
	taken, left := keyIn(ids[0], len(first.told().Shards)), keyIn(ids[1], len(first.told().Shards))
	old, newer, last := npyOf(1, 100), npyOf(2, 100), npyOf(3, 100)
	strand(t, all, ids, []string{taken, left}, old, newer)
	down := func(key string) {
		t.Helper()
		for _, m := range up {
			eventually(t, m.name+" has no node for "+key, up, func() string { return lacks(m.says("NP.GET", key), "CLUSTERDOWN ") })
		}
	}
	down(taken)
	if got := third.failover(ids[0], "TAKEOVER"); lacks(got, "You should send CLUSTER FAILOVER to a replica") != "" {
		t.Errorf("a node without a copy says: %s", got)
	}
	if n := second.told().Losses; n != 0 {
		t.Errorf("%d possible losses before the takeover", n)
	}

	if got := second.failover(ids[0], "TAKEOVER"); got != "OK" {
		t.Fatalf("the takeover: %s", got)
	}
	eventually(t, "the shard has what its new primary's copy had", up, func() string {
		if got := second.says("NP.GET", taken); got != old {
			return fmt.Sprintf("%.200q", got)
		}
		return ""
	})
	second.stores(taken, last)
	for _, m := range up {
		eventually(t, m.name+" knows of one possible loss", up, func() string { return lacks(m.says("INFO", "replication"), "\r\npossible_losses:1\r\n") })
	}
	down(left)

	first.start("--join", seedsOf(all...))
	whole(t, all...)
	haveCopies(t, all...)
	arrays{taken: last, left: newer}.readable(t, all...)
	if n := first.told().Losses; n != 1 {
		t.Errorf("%d possible losses at the end, not 1", n)
	}
}
