package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ndring/ndring/internal/loadtest"
)

// How long faults happen in a simulation, by the time of its bubble: the race detector makes each second of it take two and more.
const (
	simTime      = 60 * time.Second
	simTimeShort = 20 * time.Second // unless seeds were asked for
)

// simSlack is how long a key may be seen after its deadline: while a write that rests on it waits for its commit, at most until its
// outcome is uncertain after 5 s. All clocks agree.
const simSlack = 6 * time.Second

// simHang is how long the clock of a bubble may stand still. On a busy machine a second of it takes several.
const simHang = 5 * time.Minute

// TestSimulatedNodes runs five whole nodes in a bubble with a fake clock, under a load of many writers of few keys and under faults
// that follow from the seed: processes are killed and machines lose their power between any two writes to disk or network, nodes are
// frozen and cut off in one direction or both, disks fail and are full. No acknowledged write is lost, no read is stale, and at rest
// the copies are equal. NDRING_NODES_SEEDS=n runs n seeds, NDRING_NODES_SEED=n runs one and prints its faults; otherwise it is one
// seed, for a third of the time.
func TestSimulatedNodes(t *testing.T) {
	first, seeds, span := 1, 1, simTimeShort
	if text := os.Getenv("NDRING_NODES_SEEDS"); text != "" {
		seeds, _ = strconv.Atoi(text)
		span = simTime
	}
	one := os.Getenv("NDRING_NODES_SEED")
	if one != "" {
		first, _ = strconv.Atoi(one)
		seeds, span = 1, simTime
	}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := newSimulation(uint64(seed), span)
			s.watched(func() { synctest.Test(t, s.run) })
			s.judge(t, one != "")
		})
	}
}

// simulation is one seed.
type simulation struct {
	seed    uint64
	random  *rand.Rand // of the cluster
	always  bool
	faults  []simFault
	cluster *simCluster
	load    *loadtest.Histories
	err     error
	losses  uint64        // possible losses that the cluster has counted
	seconds atomic.Int64  // that the bubble's clock has counted
	took    time.Duration // by the bubble's clock
	began   time.Time     // by the real clock
}

func newSimulation(seed uint64, span time.Duration) *simulation {
	plan := rand.New(rand.NewPCG(seed, 1))
	s := &simulation{seed: seed, random: rand.New(rand.NewPCG(seed, 2)), always: plan.IntN(2) == 0, began: time.Now()}
	s.faults = planFaults(plan, span, s.always)
	return s
}

// watched runs a simulation, and ends the test if the bubble's clock stands still: it does while a goroutine waits for a mutex whose
// owner sleeps, for example.
func (s *simulation) watched(run func()) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			before := s.seconds.Load()
			select {
			case <-done:
				return
			case <-time.After(simHang):
			}
			if s.seconds.Load() == before {
				stacks := make([]byte, 16<<20)
				panic(fmt.Sprintf("seed %d hangs:\n%s", s.seed, stacks[:runtime.Stack(stacks, true)]))
			}
		}
	}()
	run()
}

// count counts the seconds of the bubble's clock.
func (s *simulation) count(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
			s.seconds.Add(1)
		}
	}
}

// run is the simulation in its bubble.
func (s *simulation) run(t *testing.T) {
	began := time.Now()
	counting, stop := context.WithCancel(t.Context())
	defer stop()
	go s.count(counting)
	s.cluster = newSimCluster(t, s.random, s.always)
	defer s.cluster.stop()
	for _, n := range s.cluster.nodes {
		n.start()
	}
	if s.err = awaitNil(time.Minute, s.cluster.healthy); s.err != nil {
		return
	}
	s.load = &loadtest.Histories{
		Addrs: s.cluster.addrs(simClientPort), Dial: s.cluster.dial, Seed: s.seed, Writers: 8, Timeout: time.Second, Slack: simSlack, Folder: os.Getenv("NDRING_HISTORIES"),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.load.Run(ctx) }()
	s.cluster.apply(s.faults)
	time.Sleep(time.Second)
	cancel()
	if s.err = <-ended; errors.Is(s.err, loadtest.ErrViolation) {
		return
	}
	if s.err = s.rest(t); s.err != nil {
		s.err = fmt.Errorf("after all faults have ended: %w", s.err)
	}
	s.took = time.Since(began)
}

// rest waits until the cluster has recovered from all faults, and compares its copies.
func (s *simulation) rest(t *testing.T) error {
	if err := awaitNil(2*time.Minute, s.cluster.healthy); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.load.FinalReads(ctx); err != nil {
		return err
	}
	if err := awaitNil(time.Minute, s.cluster.same); err != nil {
		return err
	}
	var failed error
	for _, n := range s.cluster.nodes {
		run := n.current().run
		if stats := run.store.CopyStats(); stats.DigestMismatches > 0 {
			failed = errors.Join(failed, fmt.Errorf("%s has found that copies differ, %d times", n.name, stats.DigestMismatches))
		}
	}
	// With appendfsync always all copies of a shard may lose their power. The promotion of a learner that has more than they do
	// counts as a possible loss then.
	if s.losses = s.cluster.nodes[0].current().run.Topology().PossibleLosses; s.losses > 0 && !s.always {
		failed = errors.Join(failed, fmt.Errorf("%d possible losses", s.losses))
	}
	return failed
}

// judge checks the histories, by the real clock.
func (s *simulation) judge(t *testing.T, show bool) {
	err, fsync, sum := s.err, "everysec", loadtest.Counts{}
	if s.always {
		fsync = "always"
	}
	var report loadtest.Report
	if s.load != nil {
		report = s.load.Check()
		err = errors.Join(err, report.Err())
		sum = report.Total()
	}
	t.Logf("seed %d: appendfsync %s, %d operations ok, %d refused, %d unknown, %d checked, %d violations, %d possible losses; %v; %.0f s simulated in %.1f s",
		s.seed, fsync, sum.OK, sum.Refused, sum.Unknown, report.Checked, len(report.Violations), s.losses, s.cluster.count, s.took.Seconds(), time.Since(s.began).Seconds())
	if show || err != nil {
		for _, f := range s.faults {
			t.Log(f)
		}
	}
	if err == nil {
		return
	}
	t.Errorf("NDRING_NODES_SEED=%d: %v", s.seed, err)
	for _, n := range s.cluster.nodes {
		text := n.log.String()
		if dir := os.Getenv("NDRING_NODES_LOGS"); dir != "" {
			os.WriteFile(fmt.Sprintf("%s/%d-%s.log", dir, s.seed, n.name), []byte(text), 0o666)
		}
		t.Logf("%s:\n%s", n.name, text[max(0, len(text)-4000):])
	}
}
