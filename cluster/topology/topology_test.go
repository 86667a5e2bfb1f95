package topology

import (
	"reflect"
	"testing"
)

// The expected slots are the replies of redis-server to CLUSTER KEYSLOT.
func TestSlotIsRedisClusters(t *testing.T) {
	for key, want := range map[string]int{
		"":                     0,
		"foo":                  12182,
		"123456789":            12739,
		"somekey":              11058,
		"foo{hash_tag}":        2515,
		"bar{hash_tag}":        2515,
		"{user1000}.following": 3443,
		"foo{}{bar}":           8363,
		"foo{{bar}}zap":        4015,
		"foo{bar}{zap}":        5061,
	} {
		if got := Slot([]byte(key)); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestShardCountIsAPowerOfTwo(t *testing.T) {
	for _, n := range []int{16, 256, 16384} {
		if err := CheckShards(n); err != nil {
			t.Errorf("CheckShards(%d): %v", n, err)
		}
	}
	for _, n := range []int{-16, 0, 1, 8, 100, 257, 32768} {
		if CheckShards(n) == nil {
			t.Errorf("CheckShards(%d) accepts", n)
		}
	}
}

func TestEverySlotIsInOneShardInOrder(t *testing.T) {
	for _, shards := range []int{16, 256, 16384} {
		topo, err := Single(Node{ID: "a"}, shards, 1)
		if err != nil {
			t.Fatal(err)
		}
		count := make([]int, shards)
		for slot := range Slots {
			id := topo.ShardOf(slot)
			if first, last := id.Slots(shards); slot < first || slot > last || last-first+1 != SlotsPerShard(shards) {
				t.Fatalf("%d shards: slot %d is in shard %d, which holds %d to %d", shards, slot, id, first, last)
			}
			count[id]++
		}
		for id, n := range count {
			if n != Slots/shards {
				t.Fatalf("%d shards: shard %d has %d slots", shards, id, n)
			}
		}
		if got := topo.Ranges(); !reflect.DeepEqual(got, []Range{{0, Slots - 1, "a"}}) {
			t.Fatalf("%d shards: Ranges() = %v", shards, got)
		}
	}
}

func TestRangesMergeNeighboursOfOneOwner(t *testing.T) {
	topo, err := Single(Node{ID: "a"}, 16, 1)
	if err != nil {
		t.Fatal(err)
	}
	topo.Nodes = append(topo.Nodes, Node{ID: "b"})
	topo.Shards[1].Primary, topo.Shards[2].Primary = "b", "b"
	want := []Range{{0, 1023, "a"}, {1024, 3071, "b"}, {3072, 16383, "a"}}
	if got := topo.Ranges(); !reflect.DeepEqual(got, want) {
		t.Fatalf("Ranges() = %v, want %v", got, want)
	}
	if owner, ok := topo.Owner(2000); !ok || owner.ID != "b" {
		t.Fatalf("Owner(2000) = %v, %v", owner, ok)
	}
}

func TestLabel(t *testing.T) {
	const id = "40b3eab6f2d1c0000000000000000000000000ff"
	for name, want := range map[string]string{"": id, id: id, "n1": "n1 (40b3eab6)"} {
		if got := Label(name, id); got != want {
			t.Errorf("Label(%q) = %q, want %q", name, got, want)
		}
	}
}
