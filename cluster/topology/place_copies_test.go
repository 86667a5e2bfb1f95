package topology

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// copyCounts returns how many copies, and how many primaries, each node has.
func copyCounts(places [][]NodeID) (copies, primaries map[NodeID]int) {
	copies, primaries = map[NodeID]int{}, map[NodeID]int{}
	for _, place := range places {
		for i, id := range place {
			copies[id]++
			if i == 0 {
				primaries[id]++
			}
		}
	}
	return copies, primaries
}

// copiesMoved returns how many copies are on nodes that had none of that shard.
func copiesMoved(was, is [][]NodeID) (moved int) {
	for shard := range is {
		for _, id := range is[shard] {
			if !slices.Contains(was[shard], id) {
				moved++
			}
		}
	}
	return moved
}

// checkPlaces returns an error unless each shard has its copies on distinct nodes, in as many zones as possible.
func checkPlacesOf(places [][]NodeID, nodes []Node, replicas int) error {
	zone, zones := map[NodeID]string{}, map[string]bool{}
	for _, n := range nodes {
		if n.State == Active {
			zone[n.ID], zones[n.Zone] = n.Zone, true
		}
	}
	for shard, place := range places {
		used := map[string]bool{}
		for _, id := range place {
			z, known := zone[id]
			if !known {
				return fmt.Errorf("shard %d is on %s, which should have none", shard, id)
			}
			used[z] = true
		}
		if len(place) != min(replicas, len(zone)) || !distinct(place) || len(used) < min(len(place), len(zones)) {
			return fmt.Errorf("shard %d is on %v, in %d of %d zones", shard, place, len(used), len(zones))
		}
	}
	return nil
}

// Nodes join, leave, and change their weights at random. As long as all are in one zone, each has its share of the copies and of
// the primaries, rounded down or up, and no more copies move than those that nodes must get, with few exceptions.
func TestCopiesMoveOnlyWhereTheyMust(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		replicas, shards := 1+r.IntN(3), 256
		spare := someNodes(seed, 16, 0)
		nodes := slices.Clone(spare[:3])
		spare = spare[3:]
		now := Place(nodes, shards, replicas)
		moved, least := 0, 0
		for range 12 {
			switch {
			case len(nodes) > 2 && r.IntN(2) == 0:
				i := r.IntN(len(nodes))
				spare = append(slices.Clone(spare), nodes[i])
				nodes = slices.Delete(slices.Clone(nodes), i, i+1)
			case seed%2 == 1 && r.IntN(3) == 0:
				nodes = slices.Clone(nodes)
				nodes[r.IntN(len(nodes))].Weight = 50 + 50*r.IntN(4)
			default:
				nodes, spare = append(slices.Clone(nodes), spare[0]), spare[1:]
			}
			was := now
			now = Rebalance(was, nodes, replicas)
			if err := checkPlacesOf(now, nodes, replicas); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			copies, primaries := copyCounts(now)
			p := newPlacer(was, nodes, true)
			want := min(replicas, len(nodes))
			for i, n := range p.nodes {
				for what, of := range map[string]struct {
					share float64
					has   int
				}{"primaries": {p.shares(shards, shards)[i], primaries[n.ID]}, "copies": {p.shares(shards*want, shards)[i], copies[n.ID]}} {
					if math.Abs(float64(of.has)-of.share) > 1 {
						t.Errorf("seed %d, %d nodes: %s of weight %d has %d %s, its share is %.1f", seed, len(nodes), n.ID[:4], n.Share(), of.has, what, of.share)
					}
				}
			}
			had, _ := copyCounts(was)
			for id, n := range copies {
				least += max(n-had[id], 0)
			}
			moved += copiesMoved(was, now)
			if again := Rebalance(now, nodes, replicas); copiesMoved(now, again) > 0 || moves(now, again) > 0 {
				t.Errorf("seed %d: a level assignment changes", seed)
			}
		}
		if moved > least {
			t.Errorf("seed %d: %d copies moved, the least possible is %d", seed, moved, least)
		}
	}
}

// With zones, copies are apart, and a second placement for the same nodes changes next to nothing.
func TestCopiesInZones(t *testing.T) {
	for seed := range uint64(20) {
		for _, zones := range []int{2, 3} {
			nodes := someNodes(seed, 9, zones)
			now := Place(nodes[:6], 256, 2)
			for _, n := range []int{7, 8, 9, 8, 6} {
				was := now
				now = Rebalance(was, nodes[:n], 2)
				if err := checkPlacesOf(now, nodes[:n], 2); err != nil {
					t.Fatalf("seed %d, %d nodes in %d zones: %v", seed, n, zones, err)
				}
				if again := Rebalance(now, nodes[:n], 2); copiesMoved(now, again)+moves(now, again) > 3 {
					t.Errorf("seed %d, %d nodes in %d zones: in a level assignment %d copies and %d primaries move", seed, n, zones, copiesMoved(now, again), moves(now, again))
				}
			}
		}
	}
}

// Mend gives nothing to a node that joins, and replaces one that goes.
func TestMend(t *testing.T) {
	nodes := someNodes(5, 6, 0)
	was := Place(nodes[:5], 64, 2)
	joined := Mend(was, nodes, 2)
	if n := copiesMoved(was, joined) + moves(was, joined); n > 0 {
		t.Fatalf("%d shards change because a node joins", n)
	}
	now := joined
	for len(nodes) > 2 { // they are less and less level
		had, _ := copyCounts(now)
		left := Mend(now, nodes[1:], 2)
		if err := checkPlacesOf(left, nodes[1:], 2); err != nil {
			t.Fatal(err)
		}
		if n := copiesMoved(now, left); n != had[nodes[0].ID] {
			t.Fatalf("%d copies move because a node with %d goes", n, had[nodes[0].ID])
		}
		now, nodes = left, nodes[1:]
	}
}

// A shard whose preferred primary goes is preferred where its other copy is: no array moves for that.
func TestTheOtherCopySucceeds(t *testing.T) {
	nodes := someNodes(7, 4, 0)
	was := Place(nodes, 256, 2)
	is := Rebalance(was, nodes[1:], 2)
	succeeded, all := 0, 0
	for shard := range was {
		if was[shard][0] == nodes[0].ID {
			all++
			if is[shard][0] == was[shard][1] {
				succeeded++
			}
		}
	}
	if succeeded < all*9/10 {
		t.Errorf("of %d shards, %d are preferred where their other copy is", all, succeeded)
	}
}
