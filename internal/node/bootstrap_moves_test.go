package node

import (
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// A node whose seeds also belong to another cluster stays in its own, and logs a warning.
func TestBootstrapWithASeedOfAnotherCluster(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3", "other")
	ours, other := all[:3], all[3]
	startAll(ours)
	other.start()
	id, otherID := whole(t, ours...), whole(t, other)
	kept := someArrays(30)
	kept.store(t, clusterClient(t, ours...))
	ours[0].stop()
	ours[0].start("--join", seedsOf(other, ours[1]), "--bootstrap-expect", "3")
	if again := whole(t, ours...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	eventually(t, "the node warns", ours, func() string {
		return lacks(ours[0].logged(), `level=WARN msg="rejected a node of another cluster"`, otherID)
	})
	kept.readable(t, ours...)

	// An empty node whose seeds lead to both joins neither.
	stray := newMember(t, "stray")
	stray.start("--join", seedsOf(other, ours[1]))
	stray.fails("ndring cannot start", "--join leads to nodes of different clusters: ", id, otherID)
	if again := whole(t, other); again != otherID {
		t.Errorf("cluster %s has become %s", otherID, again)
	}
	whole(t, ours...)
}

// All nodes stop and come back with new addresses: they are the same cluster again without an operator.
func TestBootstrapWithNewAddresses(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	for _, test := range []struct {
		name string
		come func(all []*member)
	}{
		{"one of the new addresses is a seed", func(all []*member) {
			for _, m := range all {
				m.move()
			}
			for _, m := range all {
				m.start("--join", all[1].seed())
			}
		}},
		{"the seeds are the flags that they were started with, with other addresses", func(all []*member) {
			for _, m := range all {
				m.move()
			}
			startAll(all)
		}},
		{"one keeps its address, which is in the others' address books", func(all []*member) {
			for _, m := range all[1:] {
				m.move()
			}
			for _, m := range all {
				m.start()
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			all := gather(t, "n1", "n2", "n3")
			startAll(all)
			id := whole(t, all...)
			kept := someArrays(200)
			kept.store(t, clusterClient(t, all...))
			inParallel((*member).stop, all...)
			test.come(all)
			if again := whole(t, all...); again != id {
				t.Errorf("cluster %s has become %s", id, again)
			}
			kept.readable(t, all...)
			serves(t, all...)
		})
	}
}

// Without other copies, the shards of a stopped node are unavailable, with its name in the error, until it comes back.
func TestBootstrapThenOneNodeStops(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all, "--replicas", "1")
	id := whole(t, all...)
	kept := someArrays(100)
	kept.store(t, clusterClient(t, all...))
	gone, here := all[2], all[:2]
	gone.stop()
	for _, m := range here {
		eventually(t, "the others know that it is down", all, func() string {
			return lacks(m.says("CLUSTER", "INFO"), "cluster_nodes_down_names:n3", "cluster_state:fail")
		})
	}
	down, up := 0, 0
	for key, npy := range kept {
		answers := map[string]string{}
		eventually(t, "no client is redirected to the node that is down, after a moment", all, func() string {
			for _, m := range here {
				answers[m.name] = m.says("NP.GET", key)
				if strings.HasPrefix(answers[m.name], "MOVED ") && strings.HasSuffix(answers[m.name], " "+gone.client()) {
					return answers[m.name]
				}
			}
			return ""
		})
		switch first, second := answers["n1"], answers["n2"]; {
		case first == npy && strings.HasPrefix(second, "MOVED ") && strings.HasSuffix(second, " "+here[0].client()),
			second == npy && strings.HasPrefix(first, "MOVED ") && strings.HasSuffix(first, " "+here[1].client()):
			up++
		case first == second && lacks(first, "CLUSTERDOWN Hash slot ", " is not served: its node n3 (", " is down") == "":
			if down++; down == 1 {
				t.Logf("%s: %s", key, first)
			}
		default:
			t.Fatalf("%s: %q", key, answers)
		}
	}
	if down == 0 || up == 0 {
		t.Errorf("without one of three nodes, %d arrays are readable and %d are not", up, down)
	}
	gone.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	kept.readable(t, all...)
}
