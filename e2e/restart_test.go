//go:build e2e

package e2e

import (
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
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

// An upgrade replaces the containers one at a time while clients write and read: no acknowledged write is lost,
// and every read returns the last write.
func TestUpgradeUnderLoad(t *testing.T) {
	c, r := shared(t)
	all := c.fill(t, r)
	before := make([]string, nodes+1)
	for i := 1; i <= nodes; i++ {
		before[i] = c.container(t, i)
	}
	l := &loadtest.Load{Client: c.client}
	stop, watched := startLoad(t, l, r), c.watch(t, all)
	c.run(t, "scripts/upgrade")
	watched()
	c.whole(t)
	acks := l.Acks.Load()
	eventually(t, "writes go on after the last restart", func() error { return more(l.Acks.Load(), acks+100) })
	stop()
	for i := 1; i <= nodes; i++ {
		if c.container(t, i) == before[i] {
			t.Errorf("%s still has its old container", name(i))
		}
	}
	client := c.client(rand.New(r))
	defer client.Close()
	for _, err := range l.Verify(t.Context(), client) {
		t.Errorf("at the end: %v", err)
	}
	c.mustServe(t, r, all)
	t.Logf("%d acknowledged writes, %d reads, %d tries failed", l.Acks.Load(), l.Reads.Load(), l.Tries.Load())
}

// watch polls all nodes until stop is called. stop fails the test if two nodes were away at once, or one never was.
func (c *cluster) watch(t *testing.T, all data) (stop func()) {
	t.Helper()
	var clients [nodes + 1]*redis.Client
	var keys [nodes + 1]string
	for i := 1; i <= nodes; i++ {
		clients[i], keys[i] = c.node(t, i), all.of(t, c, i)[0]
	}
	look := func() (away []string) {
		for i := 1; i <= nodes; i++ {
			var slow net.Error
			if err := clients[i].Do(t.Context(), "NP.META", keys[i]).Err(); err != nil && !(errors.As(err, &slow) && slow.Timeout()) {
				away = append(away, name(i))
			}
		}
		return away
	}
	once, ended := map[string]bool{}, make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for before := look(); ; {
			after := look()
			// Each node goes away once. A node that was away in two successive polls was away in between too.
			both := slices.DeleteFunc(slices.Clone(after), func(n string) bool { return !slices.Contains(before, n) })
			if len(both) > 1 && t.Context().Err() == nil {
				t.Errorf("%v were away at the same time", both)
				return
			}
			for _, n := range both {
				once[n] = true
			}
			before = after
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(ended)
		group.Wait()
		if len(once) != nodes && !t.Failed() {
			t.Errorf("seen to be away: %v, want all %d nodes", once, nodes)
		}
	})
	t.Cleanup(stop)
	return stop
}
