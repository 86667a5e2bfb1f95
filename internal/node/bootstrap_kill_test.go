package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

// killRounds is how many bootstraps TestBootstrapKill disturbs; more with -tags faults.
var killRounds = 4

// Nodes are killed at random moments of the bootstrap, and started again: never are there two clusters, and in the end there is one that serves.
func TestBootstrapKill(t *testing.T) {
	t.Parallel()
	if text := os.Getenv("NDRING_BOOTSTRAPS"); text != "" {
		fmt.Sscan(text, &killRounds)
	}
	for round := range killRounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			all := gather(t, "n1", "n2", "n3", "n4", "n5")[:3+2*r.IntN(2)]
			start := func(m *member) { m.start("--join", seedsOf(all...), "--bootstrap-expect", fmt.Sprint(len(all))) }
			for _, m := range all {
				start(m)
			}
			made := map[string]int{} // clusters that have ever been made
			var down []*member
			for range 2 + r.IntN(6) {
				time.Sleep(time.Duration(r.Int64N(int64(600 * time.Millisecond)))) // the moment is what is random here
				if len(down) > 0 && r.IntN(3) > 0 {
					start(down[0])
					down = down[1:]
				}
				m := all[r.IntN(len(all))]
				m.kill()
				count(made, m)
				if r.IntN(2) == 0 {
					start(m)
				} else if !slices.Contains(down, m) {
					down = append(down, m)
				}
			}
			for _, m := range down {
				if m.hasExited() {
					start(m)
				}
			}
			id := whole(t, all...)
			for _, m := range all {
				count(made, m)
			}
			if len(made) > 1 || len(made) == 1 && made[id] == 0 {
				t.Errorf("seed %d: the cluster is %s, and these were made: %v", seed, id, made)
			}
			serves(t, all...)
		})
	}
}

var makesLine = regexp.MustCompile(`msg="this node makes a cluster" cluster=(\S+)`)

// count notes the clusters that a process says it has made.
func count(made map[string]int, m *member) {
	for _, found := range makesLine.FindAllStringSubmatch(m.logged(), -1) {
		made[found[1]]++
	}
}
