package node

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/slowtest"
)

// killRounds is the number of bootstraps that TestBootstrapKill disturbs, 0 for the default.
var killRounds = 0

// Nodes are killed at random moments of the bootstrap and restarted: there are never two clusters, and in the end one
// serves.
func TestBootstrapKill(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	if killRounds == 0 {
		killRounds = 2
	}
	if text := os.Getenv("NDRING_BOOTSTRAPS"); text != "" {
		fmt.Sscan(text, &killRounds)
	}
	var mu sync.Mutex // guards phases
	phases := map[string]int{}
	t.Run("rounds", func(t *testing.T) {
		for round := range killRounds {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				t.Parallel()
				found := killDuringBootstrap(t)
				mu.Lock()
				defer mu.Unlock()
				for _, phase := range found {
					phases[phase]++
				}
			})
		}
	})
	t.Logf("kills by what the node had done: %v", phases)
	for _, phase := range bootstrapPhases {
		if killRounds >= 20 && phases[phase] == 0 {
			t.Errorf("no kill hit a node that %s", phase)
		}
	}
}

// killDuringBootstrap returns what the nodes had done when they were killed.
func killDuringBootstrap(t *testing.T) (phases []string) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	all := gather(t, "n1", "n2", "n3", "n4", "n5")[:3+2*r.IntN(2)]
	start := func(m *member) { m.start("--join", seedsOf(all...), "--bootstrap-expect", fmt.Sprint(len(all))) }
	for _, m := range all {
		start(m)
	}
	made := map[string]int{} // clusters made so far
	for range 3 + r.IntN(6) {
		if m := all[r.IntN(len(all))]; m.hasExited() {
			start(m)
			continue
		}
		m := await(all, bootstrapPhases[r.IntN(len(bootstrapPhases))], time.Second)
		if m == nil {
			m = all[r.IntN(len(all))]
		}
		time.Sleep(time.Duration(r.Int64N(int64(20+r.IntN(2)*200))) * time.Millisecond) // a random moment
		m.kill()
		count(made, m)
		phases = append(phases, m.phase())
		if r.IntN(2) == 0 {
			start(m)
		}
	}
	for _, m := range all {
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
	return phases
}

// bootstrapPhases are what a node has done, in order.
var bootstrapPhases = []string{"did nothing", "gave a claim", "belonged to a cluster", "served"}

// await returns the first member that reaches a phase; nil if none does in that time.
func await(all []*member, phase string, limit time.Duration) *member {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, m := range all {
			if !m.hasExited() && m.phase() == phase {
				return m
			}
		}
	}
	return nil
}

// phase tells from the folder and the log how far a node had got.
func (m *member) phase() string {
	content, _ := os.ReadFile(filepath.Join(m.folder, "cluster", "identity.json"))
	switch {
	case strings.Contains(m.logged(), "ndring is ready"):
		return "served"
	case lacks(string(content), `"server":`) == "":
		return "belonged to a cluster"
	case lacks(string(content), `"claim":`) == "":
		return "gave a claim"
	}
	return "did nothing"
}

var makesLine = regexp.MustCompile(`msg="bootstrapping a cluster" cluster=(\S+)`)

// count counts the clusters that a process logs it has made.
func count(made map[string]int, m *member) {
	for _, found := range makesLine.FindAllStringSubmatch(m.logged(), -1) {
		made[found[1]]++
	}
}
