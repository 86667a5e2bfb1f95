package topology

import (
	"maps"
	"slices"
	"testing"
)

// A simulation without one of the rules must find what goes wrong: otherwise it would not notice if the code lost the rule.
func TestASimulationWithoutARuleFindsIt(t *testing.T) {
	for _, flaw := range slices.Sorted(maps.Keys(simFlaws)) {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(800) {
				s := newSim(seed, flaw)
				if found := s.run(); found != "" {
					t.Logf("without \"%s\", seed %d finds: %s", simFlaws[flaw], seed, found)
					return
				}
			}
			t.Errorf("no seed finds that a rule is missing: %s", simFlaws[flaw])
		})
	}
}
