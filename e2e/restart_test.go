//go:build e2e

package e2e

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// All containers come back with other addresses: it is the same cluster with all arrays, without help.
func TestAllNodesMove(t *testing.T) {
	c, r := shared(t)
	id, all, before := c.whole(t), c.fill(t, r), c.ips(t)
	sides := c.sides(t, 1)
	sides[0].python(t, c, "store", "elsewhere:")

	c.run(t, "scripts/compose", "rm", "--force", "--stop")
	c.squat(t, before[1:]...) // the nodes cannot get their old addresses
	t.Log(c.run(t, "scripts/up"))

	after := c.ips(t)
	for i := 1; i <= nodes; i++ {
		if slices.Contains(before[:], after[i]) {
			t.Fatalf("%s has the address %s, which was in use before: %v, now %v", name(i), after[i], before[1:], after[1:])
		}
	}
	if now := c.whole(t); now != id {
		t.Fatalf("the cluster id was %s and is %s", id, now)
	}
	t.Logf("from %v to %v", before[1:], after[1:])
	c.mustServe(t, r, all)
	for _, s := range sides {
		t.Logf("%s: %s", s.name, s.python(t, c, "check", "elsewhere:"))
	}
}

// A node that is restarted, or killed and started, serves all its arrays.
func TestNodeRestarts(t *testing.T) {
	c, r := shared(t)
	for _, how := range [][][]string{{{"restart"}}, {{"kill", "-s", "KILL"}, {"start"}}, {{"stop"}, {"start"}}} {
		node := 1 + r.IntN(nodes)
		all := c.fill(t, r)
		own := all.of(t, c, node)
		for _, args := range how {
			c.docker(t, append(args, c.container(t, node))...)
		}
		client := c.client(r)
		eventually(t, name(node)+" serves all that it had", func() error { return all.served(t.Context(), client) })
		client.Close()
		c.whole(t)
		c.mustServe(t, r, all)
		t.Logf("%v of %s, which has %d of %d keys", how, name(node), len(own), len(all))
	}
}

// An upgrade replaces the containers one at a time while applications write and read. No request fails, no acknowledged write is
// lost, every read returns the last write, and each shard has a primary and a clean copy all the time.
func TestUpgradeUnderLoad(t *testing.T) {
	c, r := shared(t)
	before := c.containers(t)
	c.inTurn(t, r, "scripts/upgrade")
	for i, id := range c.containers(t) {
		if i > 0 && id == before[i] {
			t.Errorf("%s still has its old container", name(i))
		}
	}
}

// The same for restarts of the containers.
func TestRollingRestartUnderLoad(t *testing.T) {
	c, r := shared(t)
	before := c.containers(t)
	c.inTurn(t, r, "scripts/restart")
	if after := c.containers(t); after != before {
		t.Errorf("the containers are %v, before %v", after, before)
	}
}

func (c *cluster) containers(t *testing.T) (all [nodes + 1]string) {
	for i := 1; i <= nodes; i++ {
		all[i] = c.container(t, i)
	}
	return all
}

// inTurn runs a script that takes one node after the other away, under load.
func (c *cluster) inTurn(t *testing.T, r *rand.Rand, script string) {
	t.Helper()
	all := c.fill(t, r)
	f := c.startTraffic(t, r)
	w, watched := c.watchCopies(t)
	start := time.Now()
	t.Log(c.run(t, script))
	took := time.Since(start)
	acks := f.load.Acks.Load()
	c.whole(t)
	eventually(t, "writes go on after the last restart", func() error { return more(f.load.Acks.Load(), acks+100) })
	watched()
	f.end(t, c, r)
	w.report(t)
	c.mustServe(t, r, all)
	t.Logf("%s took %.1f s", script, took.Seconds())
}
