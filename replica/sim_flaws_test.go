package replica

import (
	"testing"
)

// simFlawCases are rules to leave out, one at a time: the checks must find a schedule that breaks them.
// The names are those of docs/replication.md.
var simFlawCases = []struct {
	name string
	from uint64 // the seed to begin with: one that found it. Any change here may need another, which the search then finds
	set  func(*Flaws, *simFlaws)
}{
	{"noEpochCheck", 360, func(f *Flaws, _ *simFlaws) { f.NoEpochCheck = true }},
	{"noLease", 265, func(f *Flaws, _ *simFlaws) { f.NoLease = true }},
	{"silenceEpoch", 1, func(f *Flaws, _ *simFlaws) { f.SilenceEpoch = true }},
	{"commitUncut", 13, func(f *Flaws, _ *simFlaws) { f.CommitUncut = true }},
	{"applyEarly", 1, func(f *Flaws, _ *simFlaws) { f.ApplyEarly = true }},
	{"noTruncate", 1, func(f *Flaws, _ *simFlaws) { f.NoTruncate = true }},
	{"staleTruncate", 268, func(f *Flaws, _ *simFlaws) { f.StaleTruncate = true }},
	{"openEarly", 48, func(f *Flaws, _ *simFlaws) { f.OpenEarly = true }},
	{"transferOpen", 40, func(f *Flaws, _ *simFlaws) { f.TransferOpen = true }},
	{"ackEarly", 8, func(f *Flaws, _ *simFlaws) { f.AckEarly = true }},
	{"ackMajority", 26, func(f *Flaws, _ *simFlaws) { f.AckMajority = true }},
	{"ackAnyInc", 3, func(f *Flaws, _ *simFlaws) { f.AckAnyInc = true }},
	{"commitISROnly", 44, func(f *Flaws, _ *simFlaws) { f.CommitISROnly = true }},
	{"shrinkEarly", 23, func(f *Flaws, _ *simFlaws) { f.ShrinkEarly = true }},
	{"ackUnwritten", 1, func(f *Flaws, _ *simFlaws) { f.AckUnwritten = true }},
	{"openUnsealed", 1518, func(f *Flaws, _ *simFlaws) { f.OpenUnsealed = true }},
	{"damagedReports", 342, func(f *Flaws, _ *simFlaws) { f.DamagedReports = true }},
	{"joinQuiet", 674, func(_ *Flaws, w *simFlaws) { w.joinQuiet = true }},
	{"joinKeepsPrimary", 2, func(_ *Flaws, w *simFlaws) { w.joinKeepsPrimary = true }},
	{"promoteAny", 1, func(_ *Flaws, w *simFlaws) { w.promoteAny = true }},
	{"noUnclean", 4, func(_ *Flaws, w *simFlaws) { w.noUnclean = true }},
	{"forgetUnclean", 180, func(_ *Flaws, w *simFlaws) { w.forgetUnclean = true }},
	{"replayAll", 144, func(_ *Flaws, w *simFlaws) { w.replayAll = true }},
	{"withdrawProposal", 390, func(_ *Flaws, w *simFlaws) { w.withdrawProposal = true }},
	{"appendLast", 1, func(_ *Flaws, w *simFlaws) { w.appendLast = true }},
	{"visibleEarly", 8, func(_ *Flaws, w *simFlaws) { w.noHoldBack = true }},
	{"emptyUnasked", 930, func(_ *Flaws, w *simFlaws) { w.emptyUnasked = true }},
}

func TestFlawsAreFound(t *testing.T) {
	seeds := envNumber("NDRING_SIM_SEEDS", 2000)
	for _, c := range simFlawCases {
		t.Run(c.name, func(t *testing.T) {
			for i := range seeds {
				s := newSim(t, 1+(c.from-1+i)%seeds)
				c.set(&s.flaws, &s.world)
				if wrong := s.run(); wrong != "" {
					t.Logf("seed %d, the %dth tried: %s", s.seed, i+1, wrong)
					return
				}
			}
			t.Errorf("the simulator finds nothing wrong in %d seeds", seeds)
		})
	}
}
