package node

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// Nodes started in any order, at once or one after the other, with different seeds, make one cluster.
func TestBootstrapInAnyOrder(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	names := []string{"n1", "n2", "n3", "n4", "n5"}
	for _, test := range []struct {
		name      string
		nodes     int
		staggered bool // each starts once the earlier ones see each other
		pairs     bool // each knows itself and one other
	}{
		{"three at once", 3, false, false},
		{"three one after the other", 3, true, false},
		{"five that know one other", 5, false, true},
		{"five one after the other that know some others", 5, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			all := gather(t, names[:test.nodes]...)
			r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			for i, m := range all {
				known := []*member{m, all[(i+1)%len(all)]} // so that no node is isolated
				if !test.pairs {
					known = append(known, all[r.IntN(len(all))])
				}
				r.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
				m.start("--join", seedsOf(known...), "--bootstrap-expect", fmt.Sprint(len(all)))
				if test.staggered && i < len(all)-1 {
					eventually(t, "the node waits", all, func() string { return lacks(m.info()["cluster_waiting_for"], fmt.Sprintf("%d nodes", len(all))) })
				}
			}
			id := whole(t, all...)
			for _, m := range all {
				if nodes := m.says("CLUSTER", "NODES"); strings.Count(nodes, "\n") != len(all) {
					t.Errorf("%s knows the nodes\n%s", m.name, nodes)
				}
			}
			t.Logf("cluster %s", id)
			serves(t, all...)
		})
	}
}

// lacks returns text unless it contains all parts.
func lacks(text string, parts ...string) string {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return fmt.Sprintf("%q has no %q", text, part)
		}
	}
	return ""
}

func TestBootstrapWithOneMissing(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	args := []string{"--join", seedsOf(all...), "--bootstrap-expect", "3"}
	here := all[:2]
	for _, m := range here {
		m.start(args...)
	}
	for _, m := range here {
		parts := []string{"3 nodes to bootstrap a cluster; it sees 2: ", "n1 (", "n2 (", all[2].seed()}
		eventually(t, "each reports how many nodes it sees", here, func() string { return lacks(m.info()["cluster_waiting_for"], parts...) })
		eventually(t, "/readyz says so", here, func() string { return lacks(m.readyz(), append(parts, "503 not ready: the node is waiting for ")...) })
		eventually(t, "its log says so", here, func() string { return lacks(m.logged(), append(parts, `msg="node is waiting" for="`)...) })
		eventually(t, "clients get an error", here, func() string {
			return lacks(m.says("NP.GET", "foo"), append(parts, "CLUSTERDOWN this node is not part of a cluster yet: ")...)
		})
		t.Logf("%s: %s", m.name, m.readyz())
		t.Logf("%s: %s", m.name, m.says("NP.GET", "foo"))
	}
	all[2].start(args...)
	whole(t, all...)
	serves(t, all...)
}
