package topology

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
)

// someNodes returns n nodes with random ids, in z zones if z is not 0.
func someNodes(seed uint64, n, z int) []Node {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]Node, n)
	for i := range out {
		out[i].ID = NodeID(fmt.Sprintf("%016x%016x%08x", r.Uint64(), r.Uint64(), r.Uint32()))
		if z > 0 {
			out[i].Zone = fmt.Sprint("zone", i%z)
		}
	}
	return out
}

func seeds() int {
	if os.Getenv("NDRING_PLACE") == "all" {
		return 3
	}
	return 1
}

// shardCounts returns the numbers of shards that placement tests cover. Placement cost grows with them, and
// errors show with few shards too.
func shardCounts() []int {
	if os.Getenv("NDRING_PLACE") == "all" {
		return []int{256, 1024}
	}
	return []int{64, 256}
}

// sizes returns the numbers of nodes that placement tests cover: all with NDRING_PLACE=all, which takes
// minutes; otherwise some, including those where the average passes a whole number.
func sizes(last int) (out []int) {
	for n := 1; n <= last; n++ {
		if os.Getenv("NDRING_PLACE") == "all" || n <= 3 || slices.Contains([]int{5, 24, 85}, n) {
			out = append(out, n)
		}
	}
	return out
}

// firsts returns the number of primaries of each node.
func firsts(t *testing.T, places [][]NodeID) map[NodeID]int {
	t.Helper()
	count := map[NodeID]int{}
	for shard, nodes := range places {
		if len(nodes) == 0 {
			t.Fatalf("shard %d has no place", shard)
		}
		count[nodes[0]]++
	}
	return count
}

// moves returns the number of primaries that moved.
func moves(was, is [][]NodeID) (moved int) {
	for shard := range was {
		if was[shard][0] != is[shard][0] {
			moved++
		}
	}
	return moved
}

// Only the minimum moves: a joining node takes its share, and the shards of a node that goes move. No share
// exceeds the average rounded up.
func TestPlacementMovesOnlyWhatItMust(t *testing.T) {
	for _, shards := range shardCounts() {
		worst := 0
		for seed := range uint64(seeds()) {
			nodes := someNodes(seed, 101, 0)
			grown := Place(nodes[:3], shards, 1)
			for _, n := range sizes(100) {
				if n < 3 {
					continue
				}
				grown = Rebalance(grown, nodes[:n], 1)
				fresh := Place(nodes[:n], shards, 1)
				for _, now := range [][][]NodeID{grown, fresh} {
					count := firsts(t, now)
					for id, have := range count {
						if have > (shards+n-1)/n {
							t.Fatalf("%d shards, %d nodes: %s has %d", shards, n, id, have)
						}
					}
					joined := Rebalance(now, nodes[:n+1], 1)
					took := firsts(t, joined)[nodes[n].ID]
					worst = max(worst, moves(now, joined)-took)
					gone := int(mix(uint64(n)+seed) % uint64(n))
					left := Rebalance(now, slices.Delete(slices.Clone(nodes[:n]), gone, gone+1), 1)
					worst = max(worst, moves(now, left)-count[nodes[gone].ID])
				}
			}
		}
		t.Logf("%d shards, 3 to 100 nodes: at most %d shards above the least possible move", shards, worst)
		if worst > 0 {
			t.Errorf("%d shards: %d move above the least possible", shards, worst)
		}
	}
}

// The ring alone moves more: docs/decisions/placement.md has these figures.
func TestTheRingAloneMovesMore(t *testing.T) {
	for _, shards := range shardCounts() {
		var above []float64
		kept, all := 0, 0
		for seed := range uint64(seeds()) {
			nodes := someNodes(seed, 101, 0)
			at := func(n int) []NodeID {
				p := newPlacer(nil, nodes[:n], true)
				out := make([]NodeID, shards)
				for shard, i := range p.ring(shards) {
					out[shard] = p.nodes[i].ID
				}
				return out
			}
			for _, n := range sizes(100) {
				was, is := at(n), at(n+1)
				moved := 0
				for shard := range is {
					if was[shard] != is[shard] && is[shard] != nodes[n].ID {
						moved++
					}
				}
				above = append(above, 100*float64(moved)/float64(shards))
				for shard, place := range Place(nodes[:n], shards, 1) {
					all++
					if place[0] == was[shard] {
						kept++
					}
				}
			}
		}
		slices.Sort(above)
		t.Logf("%d shards: the ring moves, above the least, median %.1f %%, p90 %.1f %%, at most %.1f %% of all shards; levelling keeps %.0f %% of its proposals",
			shards, above[len(above)/2], above[len(above)*9/10], above[len(above)-1], 100*float64(kept)/float64(all))
		if kept*2 < all {
			t.Errorf("%d of %d primaries are where the ring proposes: it is not used", kept, all)
		}
	}
}

func TestPlacementOfAnySize(t *testing.T) {
	nodes := someNodes(9, 200, 0)
	for _, n := range sizes(200) {
		for shards := MinShards; shards <= MaxShards; shards *= 32 {
			if os.Getenv("NDRING_PLACE") != "all" && shards == MaxShards && n != 3 {
				continue // each takes a second
			}
			for id, have := range firsts(t, Place(nodes[:n], shards, 2)) {
				if have > maxLoad(shards, n) {
					t.Fatalf("%d shards, %d nodes: %s has %d", shards, n, id, have)
				}
			}
		}
	}
	for _, none := range [][]Node{nil, {{ID: "a", State: Leaving}}} {
		for _, place := range Place(none, 16, 2) {
			if len(place) > 0 {
				t.Fatalf("Place(%v) = %v", none, place)
			}
		}
	}
	if got := Place(nil, -1, 1); len(got) != 0 {
		t.Fatalf("Place(nil, -1) = %v", got)
	}
}

func TestPlacementDoesNotDependOnOrder(t *testing.T) {
	nodes := someNodes(4, 7, 3)
	want := Place(nodes, 256, 3)
	for seed := range uint64(5) {
		shuffled := slices.Clone(nodes)
		rand.New(rand.NewPCG(seed, 2)).Shuffle(len(nodes), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if !reflect.DeepEqual(Place(shuffled, 256, 3), want) || !reflect.DeepEqual(Rebalance(want, shuffled, 3), want) {
			t.Fatal("another order, another placement")
		}
	}
}

// If the numbers of this test change, nodes of different builds disagree about placement in one cluster.
func TestPlacementIsTheSameForEver(t *testing.T) {
	h := uint64(0)
	for _, places := range Place(someNodes(1, 9, 2), 256, 3) {
		for _, id := range places {
			h = mix(h ^ hash{}.Sum64([]byte(id)))
		}
	}
	if want := uint64(0x17381273dd454e52); h != want {
		t.Errorf("placement of nine known nodes has hash %#x, want %#x", h, want)
	}
}

func TestReplicas(t *testing.T) {
	for _, tc := range []struct{ nodes, zones, replicas, copies int }{
		{1, 0, 2, 1}, {2, 0, 2, 2}, {3, 0, 2, 2}, {5, 0, 3, 3}, {6, 3, 2, 2}, {6, 3, 3, 3}, {6, 2, 3, 3}, {9, 3, 5, 5}, {20, 4, 2, 2}, {3, 0, 0, 1}, {3, 0, 9, 3},
	} {
		nodes := someNodes(3, tc.nodes, tc.zones)
		zone := map[NodeID]string{}
		for _, n := range nodes {
			zone[n.ID] = n.Zone
		}
		pairs, held := map[[2]NodeID]int{}, map[NodeID]int{}
		for shard, place := range Place(nodes, 1024, tc.replicas) {
			if len(place) != tc.copies {
				t.Fatalf("%+v: shard %d has %d copies", tc, shard, len(place))
			}
			zones := map[string]bool{}
			for i, id := range place {
				if slices.Contains(place[:i], id) {
					t.Fatalf("%+v: shard %d has two copies on one node", tc, shard)
				}
				zones[zone[id]] = true
				held[id]++
				if i > 0 {
					pairs[[2]NodeID{place[0], id}]++
				}
			}
			if want := min(tc.copies, tc.zones); len(zones) < want {
				t.Fatalf("%+v: shard %d is in %d zones", tc, shard, len(zones))
			}
		}
		if tc.zones > 0 || tc.copies < 2 || tc.nodes < 3 {
			continue
		}
		for _, a := range nodes {
			for _, b := range nodes {
				if a.ID != b.ID && pairs[[2]NodeID{a.ID, b.ID}] == 0 {
					t.Errorf("%+v: no shard of one node has a replica on another", tc)
				}
			}
			if avg := 1024 * tc.copies / tc.nodes; held[a.ID] > avg*5/4 || held[a.ID] < avg*3/4 {
				t.Errorf("%+v: a node has %d copies, the average is %d", tc, held[a.ID], avg)
			}
		}
	}
}
