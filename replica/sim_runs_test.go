package replica

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func envNumber(name string, otherwise uint64) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// simRuns is what came of many seeds.
type simRuns struct {
	mu     sync.Mutex
	next   uint64
	last   uint64
	failed uint64 // the lowest seed with a violation; 0 for none
	wrong  string
	counts map[string]int
}

// take returns the next seed to run, and false if none is left or one has failed.
func (r *simRuns) take() (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next > r.last || r.failed > 0 {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

// note adds a run.
func (r *simRuns) note(s *sim, wrong string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, n := range s.counts {
		r.counts[name] += n
	}
	if wrong != "" && (r.failed == 0 || s.seed < r.failed) {
		r.failed, r.wrong = s.seed, wrong
	}
}

// runSeeds runs seeds up to the first violation, one worker for each core. Seeds are handed out in order, and each that was begun
// is finished, so the lowest one with a violation is the same in each run.
func runSeeds(t testing.TB, first, last uint64, set func(*sim)) *simRuns {
	r := &simRuns{next: first, last: last, counts: map[string]int{}}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, ok := r.take(); ok; seed, ok = r.take() {
				s := newSim(t, seed)
				if set != nil {
					set(s)
				}
				r.note(s, s.run())
			}
		})
	}
	workers.Wait()
	return r
}

// explain runs a seed again and shows the events before its violation.
func explain(t testing.TB, seed uint64, set func(*sim)) {
	t.Helper()
	s := newTracedSim(t, seed)
	set(s)
	s.run()
	for _, line := range s.events[max(0, len(s.events)-60):] {
		t.Log(line)
	}
}

func TestSimulation(t *testing.T) { testSimulation(t, false, simMustHappen) }

// The same while copies move from node to node and those that no row names are dropped.
func TestSimulationOfMoves(t *testing.T) {
	testSimulation(t, true, []string{"write committed", "read answered", "promoted", "expanded", "shrunk", "transferred", "loss of power", "dropped", "brought back", "installed"})
}

func testSimulation(t *testing.T, moves bool, mustHappen []string) {
	set := func(s *sim) { s.moves = moves }
	if seed := envNumber("NDRING_SIM_SEED", 0); seed > 0 {
		s := newTracedSim(t, seed)
		set(s)
		wrong := s.run()
		t.Log(strings.Join(s.events, "\n"))
		if wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
		t.Logf("seed %d: %d events with the hash %016x", seed, len(s.events), s.trace)
		return
	}
	seeds := envNumber("NDRING_SIM_SEEDS", 400)
	if testing.Short() {
		seeds = min(seeds, 200)
	}
	if moves { // each takes three times as long
		seeds = max(seeds/4, min(seeds, 200))
	}
	began := time.Now()
	r := runSeeds(t, 1, seeds, set)
	if r.failed > 0 {
		explain(t, r.failed, set)
		t.Fatalf("seed %d: %s\nrepeat it with make sim SEED=%d", r.failed, r.wrong, r.failed)
	}
	t.Logf("%d seeds, %.0f/s: %v", seeds, float64(seeds)/time.Since(began).Seconds(), r.counts)
	for _, name := range mustHappen[:len(mustHappen)*min(int(seeds)/100, 1)] {
		if r.counts[name] == 0 {
			t.Errorf("in no seed: %s", name)
		}
	}
}

// simMustHappen are events without which a run of many seeds proves little.
var simMustHappen = []string{
	"write committed", "read answered", "promoted", "promoted unclean", "begun empty", "truncated", "expanded", "shrunk", "transferred", "resigned", "reported", "restarted with a suffix", "renewed",
	"cloned", "loss of power", "damaged", "put back",
}

// A seed decides everything: without that no failure could be repeated. That its events are kept changes nothing.
func TestSimulationRepeats(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		a, b, quiet := newTracedSim(t, seed), newTracedSim(t, seed), newSim(t, seed)
		if x, y := a.run(), b.run(); x != y || a.trace != b.trace || a.trace == 0 {
			t.Fatalf("seed %d: %x %s, then %x %s", seed, a.trace, x, b.trace, y)
		}
		if quiet.run(); quiet.now != a.now || quiet.ids != a.ids || quiet.r.Uint64() != a.r.Uint64() {
			t.Fatalf("seed %d: without its events it goes another way", seed)
		}
	}
}
