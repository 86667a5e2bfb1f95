package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
)

// A node sends clients to the new node of a shard only after that has heard of it, or has had time to.
func TestClientsAreSentOnWhenTheNewNodeHasHeard(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]error{"heard": nil, "no answer": errors.New("no answer")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDecider(t)
			var asked []topology.NodeID
			d.hears = func(_ context.Context, to topology.NodeID, index uint64) error {
				if asked = append(asked, to); index != d.newest().Index {
					t.Errorf("node %s is asked for topology %d, want %d", to, index, d.newest().Index)
				}
				return outcome
			}
			d.answers = list(d.apply)
			d.handOver(t.Context(), d.newest())
			to := d.obey(d.newest())
			if before := d.routed.Shards[0].Primary; before != "a" || len(to) != 1 || to[0] != "b" {
				t.Fatalf("before b has heard, clients are sent to %q; to be asked: %q", before, to)
			}
			if again := d.obey(d.newest()); len(again) > 0 || d.routed.Shards[0].Primary != "a" {
				t.Errorf("b is asked again: %q", again)
			}
			d.part(t.Context(), to[0], d.newest())
			if len(d.news) == 0 {
				t.Error("the node does not look again")
			}
			if again := d.obey(d.newest()); len(again) > 0 || d.routed.Shards[0].Primary != "b" || len(d.parting) > 0 {
				t.Errorf("afterwards, clients are sent to %q; to be asked: %q; parting: %v", d.routed.Shards[0].Primary, again, d.parting)
			}
			if len(asked) != 1 {
				t.Errorf("asked: %q", asked)
			}
		})
	}
}

// A shard that goes on to a third node while the second has not heard of it waits for the third.
func TestAPartingShardThatGoesOn(t *testing.T) {
	t.Parallel()
	d := newDecider(t)
	d.hears = func(context.Context, topology.NodeID, uint64) error { return nil }
	d.answers = list(d.apply)
	d.handOver(t.Context(), d.newest())
	first := d.newest()
	d.obey(first)
	epoch := first.Shards[0].Epoch
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.NodeJoin, Nodes: []topology.Node{{ID: "c", Incarnation: 1}}}}})
	d.apply(topology.Command{Ops: []topology.Op{{Kind: topology.TransferPrimary, Epoch: epoch, Node: "c", Incarnation: 1, Empty: true}}})
	if row := d.newest().Shards[0]; row.Primary != "c" {
		t.Fatalf("row %+v", row)
	}
	if to := d.obey(d.newest()); len(to) != 1 || to[0] != "c" {
		t.Fatalf("to be asked: %q, want c", to)
	}
	d.part(t.Context(), "b", first) // comes late
	if d.obey(d.newest()); d.routed.Shards[0].Primary != "a" {
		t.Errorf("clients are sent to %q before c has heard", d.routed.Shards[0].Primary)
	}
	d.part(t.Context(), "c", d.newest())
	if d.obey(d.newest()); d.routed.Shards[0].Primary != "c" {
		t.Errorf("clients are sent to %q, want c", d.routed.Shards[0].Primary)
	}
}

// Shards that change their node while clients use them cost an unmodified client no error: no two nodes send it to each other until it gives up.
func TestNoRedirectsInCircles(t *testing.T) {
	t.Parallel()
	quiet()
	nodes := openCluster(t, 3, "--shards", "256")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].ClientAddrs()[0].String()}})
			defer c.Close()
			for i := 0; ctx.Err() == nil; i++ {
				if err := c.Exists(ctx, "some key "+strings.Repeat("x", i%200)).Err(); err != nil && ctx.Err() == nil {
					t.Errorf("a client gets %v", err)
					return
				}
			}
		})
	}
	for _, id := range []string{"d", "e"} {
		nodes = append(nodes, joinCluster(t, nodes, "--node-id", id))
		awaitTopology(t, nodes, asAssigned)
	}
	cancel()
	group.Wait()
}
