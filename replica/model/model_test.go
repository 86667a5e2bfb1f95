package main

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// run is one search: the bounds, and a flaw with what it must break.
type run struct {
	without string
	bounds  bounds
	breaks  kind // kinds that are as short to break have "or" between them
	steps   int  // of the shortest schedule
	slow    bool // it sees more than 100,000 states
}

// Each rule that is left out must be found, by the shortest schedule there is.
var flawRuns = []run{
	{"nodeLease", bounds{isr: 2, epochs: 2, writes: 1}, staleRead, 7, false},
	{"reportAtStart", bounds{isr: 2, epochs: 3, writes: 1, kills: 1}, staleRead, 10, true},
	{"silenceEpoch", bounds{isr: 2, epochs: 3, writes: 1}, staleRead, 12, false},
	{"commitUncut", bounds{isr: 2, epochs: 2, writes: 1}, uncommit, 8, false},
	{"joinQuiet", bounds{isr: 2, epochs: 2, writes: 1, kills: 1}, refused, 5, false},
	{"memberInc,joinQuiet", bounds{isr: 3, epochs: 2, writes: 1, kills: 1}, staleRead, 11, true},
	{"noUnclean", bounds{isr: 2, epochs: 3, writes: 1, powers: 1}, lostCommit, 9, false},
	{"forgetUnclean", bounds{isr: 2, epochs: 3, writes: 1, kills: 1, powers: 1}, lostCommit, 10, true},
	{"lastStartOnly", bounds{isr: 2, epochs: 3, writes: 1, kills: 1, backups: 1}, lostCommit, 10, true},
	{"replayAll", bounds{isr: 2, epochs: 3, writes: 1, kills: 1}, uncommit, 8, false},
	{"leaseISROnly", bounds{isr: 2, epochs: 3, writes: 1}, staleRead, 13, false},
	{"ackAnyInc", bounds{isr: 2, epochs: 4, writes: 1, powers: 1}, lostCommit, 14, true},
	{"expandEarly", bounds{isr: 2, epochs: 4, writes: 2}, lostCommit, 18, true},
	{"noEpochCheck", bounds{isr: 2, epochs: 4, writes: 1}, lostCommit, 15, true},
	{"noLease", bounds{isr: 2, epochs: 2, writes: 1}, staleRead, 6, false},
	{"ackEarly", bounds{isr: 2, epochs: 2, writes: 1}, lostCommit, 5, false},
	{"ackMajority", bounds{isr: 3, epochs: 2, writes: 1}, lostCommit, 6, false},
	{"promoteAny", bounds{isr: 2, epochs: 2, writes: 1}, staleRead, 6, false},
	{"commitISROnly", bounds{isr: 2, epochs: 4, writes: 1}, lostCommit, 17, true},
	{"shrinkEarly", bounds{isr: 2, epochs: 2, writes: 1}, lostCommit, 6, false},
	{"applyEarly", bounds{isr: 2, epochs: 2, writes: 1}, uncommit, 7, false},
	{"openEarly", bounds{isr: 2, epochs: 2, writes: 1}, staleRead, 7, false},
	{"noTruncate", bounds{isr: 2, epochs: 5, writes: 1}, lostCommit, 15, true},
	{"transferOpen", bounds{isr: 2, epochs: 3, writes: 1, handovers: 1}, staleRead, 9, false},
	{"joinKeepsPrimary", bounds{isr: 2, epochs: 2, writes: 1, powers: 1}, lostCommit + " or " + uncommit, 8, false},
	{"aloneAssumed", bounds{isr: 1, epochs: 3, writes: 2}, lostCommit, 13, true},
}

// The rules as they are must pass. README.md has the figures of larger bounds.
var ruleRuns = []run{
	{bounds: bounds{isr: 2, epochs: 2, writes: 1, kills: 1}},
	{bounds: bounds{isr: 3, epochs: 2, writes: 2}},
	{bounds: bounds{isr: 1, epochs: 2, writes: 1}},
	{bounds: bounds{isr: 2, epochs: 3, writes: 1}, slow: true},
	{bounds: bounds{isr: 2, epochs: 3, writes: 1, kills: 1}, slow: true},
	{bounds: bounds{isr: 2, epochs: 3, writes: 1, handovers: 1}, slow: true},
	{bounds: bounds{isr: 2, epochs: 3, writes: 1, backups: 1}, slow: true},
	{bounds: bounds{isr: 3, epochs: 3, writes: 1}, slow: true},
	{bounds: bounds{isr: 1, epochs: 3, writes: 1}, slow: true},
	// The order of the log does not need the no-op of a primary that started alone: it knows that
	// all it has is committed.
	{without: "aloneSends", bounds: bounds{isr: 1, epochs: 3, writes: 1}, slow: true},
}

func (r run) search(t *testing.T) explorer {
	t.Helper()
	if r.slow {
		slowtest.Skip(t)
		if slowtest.Race {
			t.Skip("takes a minute with the race detector: make model-check runs it without")
		}
	}
	f, err := parseFlaws(r.without)
	if err != nil {
		t.Fatal(err)
	}
	e := explorer{bounds: r.bounds, flaws: f}
	e.search(10_000_000)
	return e
}

func TestFlawsAreFound(t *testing.T) {
	for _, r := range flawRuns {
		t.Run(r.without, func(t *testing.T) {
			e := r.search(t)
			if e.found == nil {
				t.Fatalf("%+v: %s", r.bounds, e.summary())
			}
			if steps := len(e.schedule) - 1; !strings.Contains(string(r.breaks), string(e.found.kind)) || steps != r.steps {
				t.Errorf("found a %s after %d steps, want a %s after %d:\n%s", e.found.kind, steps, r.breaks, r.steps, strings.Join(e.schedule, "\n"))
			}
		})
	}
}

func TestRulesHold(t *testing.T) {
	for _, r := range ruleRuns {
		e := r.search(t)
		if e.found != nil || !e.complete {
			t.Errorf("without [%s] %+v: %s\n%s", r.without, r.bounds, e.summary(), strings.Join(e.schedule, "\n"))
		}
	}
}

// A flaw that no run leaves out would be a rule that no run checks.
func TestEveryFlawHasARun(t *testing.T) {
	tried := map[string]bool{}
	for _, r := range append(flawRuns, ruleRuns...) {
		for _, name := range strings.Split(r.without, ",") {
			tried[name] = true
		}
	}
	for name := range new(flaws).switches() {
		if !tried[name] {
			t.Errorf("no run leaves out %s", name)
		}
	}
}

// The rules hold for nothing if a kind of step can never be taken. The walks take every one, and
// go beyond the bounds of the searches.
func TestWalksTakeEveryStep(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	taken := map[string]bool{}
	for isr := 1; isr <= nodes; isr++ {
		e := explorer{bounds: bounds{isr: isr, epochs: 6, writes: 4, kills: 2, powers: 1, wipes: 1, handovers: 2, backups: 1}}
		e.taken = taken
		e.walk(1000, rand.New(rand.NewPCG(seed, uint64(isr))))
		if e.found != nil {
			t.Errorf("%d in the ISR: %s\n%s", isr, e.summary(), strings.Join(e.schedule, "\n"))
		}
	}
	for _, what := range []string{
		"%d learns epoch %d", "%d appends write %d in epoch %d", "%d appends its no-op in epoch %d", "%d commits in epoch %d",
		"%d receives up to %d of epoch %d", "%d makes visible up to %d", "%d acknowledges a heartbeat of %d", "%d is asked, and reports in epoch %d",
		"%d has waited longer than any lease that it granted", "%d reports the primary of epoch %d", "promoted: %d, ISR %03b",
		"%d looks up a value that is out of date", "%d proposes to shrink the ISR by %d", "%d proposes to expand the ISR by %d",
		"%d proposes to hand over to %d", "%d proposes to resign, %d", "what %d proposed (%d, node %d) is decided", "the new start of %d is decided (lost: %d)",
		"%d is killed and started", "%d is killed and started, and knows of no commit", "%d loses power, keeps %d entries", "%d loses its disk", "the folder of %d is put back to %d entries",
	} {
		if !taken[what] {
			t.Errorf("no walk took the step %q", what)
		}
	}
}

func TestParametersAreChecked(t *testing.T) {
	if _, err := parseFlaws("noLease,noSuchRule"); err == nil || !strings.Contains(err.Error(), `"noSuchRule"`) {
		t.Errorf("an unknown flaw: %v", err)
	}
	for _, b := range []bounds{{isr: 0, epochs: 2}, {isr: 4, epochs: 2}, {isr: 2, epochs: 0}, {isr: 2, epochs: maxEpochs}, {isr: 2, epochs: 2, writes: 16}, {isr: 2, epochs: 2, kills: -1}, {isr: 2, epochs: 2, kills: 4, powers: 3}} {
		if b.check() == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
	if err := (bounds{isr: 2, epochs: 4, writes: 2, kills: 1}).check(); err != nil {
		t.Error(err)
	}
}
