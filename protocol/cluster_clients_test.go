package protocol

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// realNodes starts three servers with one topology, in which shards are assigned round-robin.
func realNodes(t *testing.T) (servers [3]*testServer, topo *topology.Topology) {
	t.Helper()
	topo = &topology.Topology{Cluster: "c1", Shards: make([]topology.Shard, 256)}
	for i, id := range []topology.NodeID{selfID, otherID, thirdID} {
		servers[i] = start(t, Config{})
		servers[i].id.Store(id)
		at := netip.MustParseAddrPort(servers[i].addr)
		topo.Nodes = append(topo.Nodes, topology.Node{ID: id, Listeners: map[string]topology.Address{"default": {Host: at.Addr().String(), Port: int(at.Port()), Derived: true}}})
	}
	for i := range topo.Shards {
		owner := topo.Nodes[i%3].ID
		topo.Shards[i] = topology.Shard{Epoch: 7, Primary: owner, ISR: []topology.NodeID{owner, topo.Nodes[(i+1)%3].ID}}
	}
	for _, s := range servers {
		s.follow(t, topo)
	}
	return servers, topo
}

// A standard client finds every key, and still does after all shards have moved, empty, to the next node.
func TestGoRedisFollowsTheTopology(t *testing.T) {
	t.Parallel()
	for _, proto := range []int{2, 3} {
		t.Run(fmt.Sprint("RESP", proto), func(t *testing.T) {
			t.Parallel()
			servers, topo := realNodes(t)
			client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{servers[0].addr}, Protocol: proto})
			defer client.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			fill := func(name string) {
				for i := range 100 {
					if err := client.Do(ctx, "NP.SET", fmt.Sprint(name, i), arrayA).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			fill("k")
			for i, s := range servers {
				if keys := s.store.Stats().Keys; keys < 20 {
					t.Errorf("node %d has %d of 100 keys", i, keys)
				}
			}
			moved := *topo
			moved.Shards = slices.Clone(topo.Shards)
			for i := range moved.Shards {
				owner := topo.Nodes[(i+1)%3].ID
				moved.Shards[i] = topology.Shard{Epoch: 8, EmptySince: 8, Primary: owner, ISR: []topology.NodeID{owner}}
			}
			for _, s := range servers {
				s.follow(t, &moved)
			}
			fill("m")
			for i, s := range servers {
				if stats := s.store.Stats(); stats.Keys < 20 || stats.KeysNotServed != 0 {
					t.Errorf("node %d has %d of 100 keys, and keeps %d stale ones", i, stats.Keys, stats.KeysNotServed)
				}
			}
			for i := range 100 {
				if got, err := client.Do(ctx, "NP.GET", fmt.Sprint("m", i)).Text(); err != nil || got != arrayA {
					t.Fatalf("m%d: %q, %v", i, got, err)
				}
			}
		})
	}
}

func TestGoRedisReadsTheReplies(t *testing.T) {
	t.Parallel()
	servers, topo := realNodes(t)
	servers[0].view.Store(&fakeCluster{links: []ClusterLink{{Node: otherID, Since: time.Now()}}, members: map[topology.NodeID]Liveness{thirdID: {}}})
	for _, proto := range []int{2, 3} {
		client := redis.NewClient(&redis.Options{Addr: servers[0].addr, Protocol: proto})
		defer client.Close()
		//lint:ignore SA1019 go-redis' cluster client sends this command
		slots, err := client.ClusterSlots(t.Context()).Result()
		if err != nil || len(slots) != len(topo.Shards) {
			t.Fatalf("%d rows, %v", len(slots), err)
		}
		for i, row := range slots {
			if row.Start != i*64 || row.End != i*64+63 || len(row.Nodes) != 1 || row.Nodes[0].ID != string(topo.Shards[i].Primary) || row.Nodes[0].Addr != servers[i%3].addr {
				t.Fatalf("row %d: %+v", i, row)
			}
		}
		shards, err := client.ClusterShards(t.Context()).Result()
		if err != nil || len(shards) != 3 || len(shards[2].Slots) != 85 || len(shards[2].Nodes) != 2 {
			t.Fatalf("%+v, %v", shards, err)
		}
		if primary, replica := shards[2].Nodes[0], shards[2].Nodes[1]; primary.Health != "fail" || primary.Role != "master" || replica.Role != "replica" || replica.ID != selfID {
			t.Errorf("%+v, %+v", primary, replica)
		}
		if links, err := client.ClusterLinks(t.Context()).Result(); err != nil || len(links) != 1 || links[0].Direction != "to" || links[0].Node != otherID {
			t.Errorf("%+v, %v", links, err)
		}
	}
}
