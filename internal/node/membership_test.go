package node

import (
	"sync/atomic"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// A dead node is forgotten: its shards begin empty on the others. It may come back without its arrays.
func TestMembershipForget(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all, "--replicas", "1")
	id := whole(t, all...)
	kept := someArrays(100)
	kept.store(t, clusterClient(t, all...))
	gone, here := all[2], all[:2]
	goneID := gone.says("CLUSTER", "MYID")
	if reply := here[0].says("CLUSTER", "FORGET", goneID); lacks(reply, `ERR node n3 (`, ") is alive: send it CLUSTER LEAVE, or stop it first") != "" {
		t.Errorf("FORGET of a node that is alive: %s", reply)
	}
	gone.kill()
	eventually(t, "the others know that it is down", all, func() string { return lacks(here[0].says("CLUSTER", "INFO"), "cluster_nodes_down_names:n3") })
	eventually(t, "it is forgotten", all, func() string { // if it was the leader, there is none for a moment
		if reply := here[0].says("CLUSTER", "FORGET", goneID); reply != "OK" {
			return reply
		}
		return ""
	})
	whole(t, here...)
	left := kept.leftOf(t, here...)
	if len(left) == 0 || len(left) == len(kept) {
		t.Errorf("without one of three nodes, %d of %d arrays are left", len(left), len(kept))
	}
	serves(t, here...)

	// Some of its arrays are stored again: the ones in its folder are older.
	written := arrays{}
	for key := range kept {
		if left[key] == "" && len(written) < len(kept)/6 {
			written[key] = npyOf(77, 77)
			left[key] = written[key]
		}
	}
	written.store(t, clusterClient(t, here...))
	gone.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	after := arrays{}
	for key, npy := range kept {
		after[key] = npy
		if written[key] != "" {
			after[key] = written[key]
		}
	}
	if got := after.leftOf(t, all...); len(got) != len(left) {
		t.Errorf("%d arrays are left after the node came back, not %d", len(got), len(left))
	}
	left.readable(t, all...)
	serves(t, all...)
}

// A node without arrays leaves: the others have its shards, and it can be stopped.
func TestMembershipLeave(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	leaver, here := all[2], all[:2]
	if reply := leaver.says("CLUSTER", "LEAVE"); reply != "OK" {
		t.Errorf("LEAVE: %s", reply)
	}
	whole(t, here...)
	eventually(t, "the node says that it can be stopped", all, func() string {
		return lacks(leaver.info()["cluster_waiting_for"], "the cluster has removed it (CLUSTER LEAVE or FORGET), so it can be stopped; after a restart it joins again")
	})
	t.Logf("cluster_waiting_for: %s", leaver.info()["cluster_waiting_for"])
	t.Logf("a client is told: %s", leaver.says("NP.GET", "foo"))
	leaver.stop()
	whole(t, here...)
	serves(t, here...)
}

// A node joins while a client reads: its share of the shards moves to it with their arrays, and no answer is wrong.
func TestMembershipJoinWhileReading(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3", "n4")
	first, fourth := all[:3], all[3]
	startAll(first)
	id := whole(t, first...)
	haveCopies(t, first...)
	kept := someArrays(100) // some in each shard
	c := clusterClient(t, first...)
	kept.store(t, c)

	stop, stopped := make(chan struct{}), make(chan error, 1)
	var rounds atomic.Int64
	go func() {
		for {
			if err := kept.check(t.Context(), c); err != nil {
				stopped <- err
				return
			}
			rounds.Add(1)
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
		}
	}()
	fourth.start("--join", first[1].seed())
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	eventually(t, "the new node serves its share of 64 shards", all, func() string {
		return lacks(fourth.says("CLUSTER", "INFO"), "cluster_my_shards:16\r")
	})
	haveCopies(t, all...)
	if here := kept.ofSlots(t, fourth); len(here) == 0 {
		t.Error("none of the arrays has moved to the new node")
	}
	seen := rounds.Load()
	eventually(t, "the client has read all since", all, func() string {
		if rounds.Load() >= seen+2 || len(stopped) > 0 {
			return ""
		}
		return "not yet"
	})
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	t.Logf("the client has read all %d times", rounds.Load())
	kept.readable(t, all...)
	serves(t, all...)
}
