//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// lost waits until all other nodes consider a node down and have taken over its shards: they serve all keys, also those that the
// node had, and accept writes.
func (c *cluster) lost(t *testing.T, node int, all data, own []string) {
	t.Helper()
	served := data{}
	for i := 1; i <= nodes; i++ {
		if i == node {
			continue
		}
		client := c.node(t, i)
		eventually(t, fmt.Sprintf("%s tells that %s is away, and who serves its keys", name(i), name(node)), func() error {
			for _, key := range own {
				if err := client.Do(t.Context(), "NP.META", key).Err(); err != nil && !strings.HasPrefix(err.Error(), "MOVED ") {
					return fmt.Errorf("%q: %v", key, err)
				}
			}
			f, err := info(t.Context(), client)
			if f["cluster_nodes_down_names"] != name(node) || f["cluster_quorum"] != "1" {
				return fmt.Errorf("down: %q, quorum %s, %v", f["cluster_nodes_down_names"], f["cluster_quorum"], err)
			}
			return nil
		})
		mine := data{}
		for _, key := range all.of(t, c, i) {
			mine[key], served[key] = all[key], all[key]
		}
		if err := mine.served(t.Context(), client); err != nil {
			t.Errorf("%s, while %s is away: %v", name(i), name(node), err)
		}
		for key, want := range mine {
			if err := client.Do(t.Context(), "NP.SET", key, want).Err(); err != nil {
				t.Errorf("%s accepts no writes while %s is away: %v", name(i), name(node), err)
			}
			break
		}
	}
	if left := all.without(slices.Collect(maps.Keys(served))); len(left) > 0 {
		t.Errorf("%d keys are served by no node while %s is away, which had %d", len(left), name(node), len(own))
	}
}

// While a container is paused the others take over its shards and say which node is missing. Afterwards all nodes serve
// again without help.
func TestPausedContainer(t *testing.T) {
	c, r := shared(t)
	node := 1 + r.IntN(nodes)
	id, all := c.whole(t), c.fill(t, r)
	own := all.of(t, c, node)
	container := c.container(t, node)
	c.docker(t, "pause", container)
	unpause := func() { _, _ = c.try("docker", "unpause", container) }
	defer unpause()
	c.lost(t, node, all, own)
	containers := c.docker(t, "ps", "-q", "--filter", "label=com.docker.compose.project="+c.project)
	if out, err := c.try("scripts/upgrade"); err == nil || !strings.Contains(out, name(node)+" does not serve") {
		t.Errorf("an upgrade starts while %s is away: %v: %s", name(node), err, out)
	}
	if now := c.docker(t, "ps", "-q", "--filter", "label=com.docker.compose.project="+c.project); now != containers {
		t.Errorf("a refused upgrade has replaced containers: %q, before %q", now, containers)
	}
	unpause()
	if now := c.whole(t); now != id {
		t.Fatalf("the cluster id was %s and is %s", id, now)
	}
	c.mustServe(t, r, all)
	t.Logf("%s was paused, with %d of %d keys", name(node), len(own), len(all))
}

// A container that is disconnected from the network and reconnected with another address rejoins the cluster
// without a restart.
func TestCutNetwork(t *testing.T) {
	c, r := shared(t)
	node := 1 + r.IntN(nodes)
	id, all := c.whole(t), c.fill(t, r)
	own := all.of(t, c, node)
	container := c.container(t, node)
	before, started := c.ip(t, container), c.docker(t, "inspect", "-f", "{{.State.StartedAt}} {{.State.Pid}}", container)
	connect := func() (string, error) {
		return c.try("docker", "network", "connect", "--alias", name(node), c.network(), container)
	}
	c.docker(t, "network", "disconnect", c.network(), container)
	defer func() { _, _ = connect() }()
	c.squat(t, before)
	c.lost(t, node, all, own)
	if out, err := connect(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	after := c.ip(t, container)
	if after == before || after == "" {
		t.Fatalf("%s has the address %q, before %q", name(node), after, before)
	}
	if now := c.whole(t); now != id {
		t.Fatalf("the cluster id was %s and is %s", id, now)
	}
	c.mustServe(t, r, all)
	if now := c.docker(t, "inspect", "-f", "{{.State.StartedAt}} {{.State.Pid}}", container); now != started {
		t.Errorf("the container was restarted: %s, before %s", now, started)
	}
	inside := c.sides(t, node)[1]
	if seen := strings.Fields(inside.python(t, c, "nodes")); !slices.Contains(seen, name(node)+":7379") {
		t.Errorf("a client inside sees %v", seen)
	}
	t.Logf("%s was cut off with %d of %d keys; its address was %s and is %s", name(node), len(own), len(all), before, after)
}
