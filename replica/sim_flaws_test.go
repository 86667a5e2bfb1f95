package replica

import (
	"testing"
)

// simFlawCases are rules to leave out, one at a time: the checks must find a schedule that breaks them.
// The names are those of docs/replication.md. Not found within 2,000 seeds, and so not here: reportAtStart, expandEarly
// (replica/model finds both), lastStartOnly, relinquishedByStore, openUnsealed, damagedReports, emptyUnasked.
var simFlawCases = []struct {
	name string
	from uint64 // the seed to begin with: one that found it. Any change here may need another, which the search then finds
	set  func(*Flaws, *simFlaws)
}{
	{"noEpochCheck", 499, func(f *Flaws, _ *simFlaws) { f.NoEpochCheck = true }},
	{"noLease", 266, func(f *Flaws, _ *simFlaws) { f.NoLease = true }},
	{"silenceEpoch", 1, func(f *Flaws, _ *simFlaws) { f.SilenceEpoch = true }},
	{"commitUncut", 16, func(f *Flaws, _ *simFlaws) { f.CommitUncut = true }},
	{"applyEarly", 1, func(f *Flaws, _ *simFlaws) { f.ApplyEarly = true }},
	{"noTruncate", 1, func(f *Flaws, _ *simFlaws) { f.NoTruncate = true }},
	{"staleTruncate", 370, func(f *Flaws, _ *simFlaws) { f.StaleTruncate = true }},
	{"openEarly", 187, func(f *Flaws, _ *simFlaws) { f.OpenEarly = true }},
	{"transferOpen", 1051, func(f *Flaws, _ *simFlaws) { f.TransferOpen = true }},
	{"ackEarly", 19, func(f *Flaws, _ *simFlaws) { f.AckEarly = true }},
	{"ackMajority", 94, func(f *Flaws, _ *simFlaws) { f.AckMajority = true }},
	{"ackAnyInc", 258, func(f *Flaws, _ *simFlaws) { f.AckAnyInc = true }},
	{"commitISROnly", 281, func(f *Flaws, _ *simFlaws) { f.CommitISROnly = true }},
	{"shrinkEarly", 77, func(f *Flaws, _ *simFlaws) { f.ShrinkEarly = true }},
	{"ackUnwritten", 1, func(f *Flaws, _ *simFlaws) { f.AckUnwritten = true }},
	{"leaseISROnly", 1086, func(f *Flaws, _ *simFlaws) { f.LeaseISROnly = true }},
	{"nodeLease", 499, func(f *Flaws, _ *simFlaws) { f.NodeLease = true }},
	{"ackLater", 43, func(_ *Flaws, w *simFlaws) { w.ackLater = true }},
	{"joinQuiet", 728, func(_ *Flaws, w *simFlaws) { w.joinQuiet = true }},
	{"joinKeepsPrimary", 2, func(_ *Flaws, w *simFlaws) { w.joinKeepsPrimary = true }},
	{"promoteAny", 2, func(_ *Flaws, w *simFlaws) { w.promoteAny = true }},
	{"noUnclean", 7, func(_ *Flaws, w *simFlaws) { w.noUnclean = true }},
	{"forgetUnclean", 232, func(_ *Flaws, w *simFlaws) { w.forgetUnclean = true }},
	{"replayAll", 174, func(_ *Flaws, w *simFlaws) { w.replayAll = true }},
	{"withdrawProposal", 1147, func(_ *Flaws, w *simFlaws) { w.withdrawProposal = true }},
	{"appendLast", 1, func(_ *Flaws, w *simFlaws) { w.appendLast = true }},
	{"visibleEarly", 8, func(_ *Flaws, w *simFlaws) { w.noHoldBack = true }},
}

func TestFlawsAreFound(t *testing.T) {
	seeds := envNumber("NDRING_SIM_SEEDS", 2000)
	for _, c := range simFlawCases {
		t.Run(c.name, func(t *testing.T) {
			set := func(s *sim) { c.set(&s.flaws, &s.world) }
			from := min(c.from, seeds)
			r := runSeeds(t, from, seeds, set)
			if r.failed == 0 {
				r = runSeeds(t, 1, from-1, set)
			}
			if r.failed == 0 {
				t.Errorf("the simulator finds nothing wrong in %d seeds", seeds)
				return
			}
			t.Logf("seed %d, the %dth tried: %s", r.failed, 1+(r.failed+seeds-from)%seeds, r.wrong)
		})
	}
}
