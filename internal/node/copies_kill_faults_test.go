//go:build faults

package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/loadtest"
)

// fault is something that happens to a cluster, to one node above all. It is over when do returns.
type fault struct {
	name   string
	weight int
	do     func(c *copiesCluster, i int)
}

// faults returns what may happen to a cluster without the loss of an acknowledged write. With logs that is any number of kills, and
// a crash that takes a disk with it if there are two clean copies of all. Without logs, copies are unclean after each restart.
func faults(logs, cuts bool) (all []fault) {
	if logs {
		all = append(all, fault{"kill", 4, kill}, fault{"all at once", 1, killAll}, fault{"stop", 1, stop})
	} else {
		all = append(all, fault{"crash", 4, crash}, fault{"stop", 1, func(c *copiesCluster, i int) {
			c.awaitQuiet()
			stop(c, i)
		}})
	}
	all = append(all, fault{"freeze", 3, freeze}, fault{"wipe", 1, wipe})
	if cuts {
		all = append(all, fault{"cut", 5, cut}, fault{"one-way cut", 5, cutOneWay})
	}
	if cuts && logs {
		all = append(all, fault{"kill within a cut", 2, killWithinCut})
	}
	return all
}

// fault does one thing to the cluster.
func (c *copiesCluster) fault(all []fault) {
	sum := 0
	for _, f := range all {
		sum += f.weight
	}
	n, i := c.r.IntN(sum), c.r.IntN(len(c.procs))
	for _, f := range all {
		if n -= f.weight; n < 0 {
			c.count[f.name]++
			f.do(c, i)
			break
		}
	}
	c.pause(time.Second)
}

func kill(c *copiesCluster, i int) {
	c.kill(i)
	c.pause(2500 * time.Millisecond)
	c.start(i)
}

func killAll(c *copiesCluster, _ int) {
	for i := range c.procs {
		c.kill(i)
	}
	for _, i := range c.r.Perm(len(c.procs)) {
		c.start(i)
	}
}

func crash(c *copiesCluster, i int) {
	c.crash(i)
	c.pause(2500 * time.Millisecond)
	c.start(i)
}

func freeze(c *copiesCluster, i int) {
	c.procs[i].cmd.Process.Signal(syscall.SIGSTOP)
	c.pause(3 * time.Second)
	c.procs[i].cmd.Process.Signal(syscall.SIGCONT)
}

func wipe(c *copiesCluster, i int) {
	c.crash(i)
	if err := os.RemoveAll(filepath.Join(c.dir, strconv.Itoa(i))); err != nil {
		c.t.Fatal(err)
	}
	c.start(i)
	c.awaitCopies()
}

func stop(c *copiesCluster, i int) {
	c.procs[i].cmd.Process.Signal(syscall.SIGTERM)
	c.procs[i].awaitExit(c.t)
	c.start(i)
}

// cutLasts returns how long a cut lasts: 1 to 6 s.
func (c *copiesCluster) cutLasts() time.Duration {
	return time.Second + time.Duration(c.r.Int64N(int64(5*time.Second)))
}

// cutFor cuts what is forbidden between nodes, whose numbers begin with 0, for a time in which do runs first.
func (c *copiesCluster) cutFor(what string, forbidden func(from, to int) bool, lasts time.Duration, do func()) {
	c.t.Helper()
	c.t.Logf("%s for %v", what, lasts.Round(time.Millisecond))
	shifted := func(from, to int) bool { return forbidden(from-1, to-1) }
	c.network.cut(len(c.procs), shifted, true)
	healed := time.After(lasts)
	do()
	<-healed
	c.network.cut(len(c.procs), shifted, false)
}

// cutOff returns a cut of a node from the others, both ways, or of two nodes if that leaves a majority.
func (c *copiesCluster) cutOff(i int) (what string, forbidden func(from, to int) bool) {
	off := []int{i}
	if len(c.procs) >= 5 && c.r.IntN(2) == 0 {
		off = append(off, (i+1+c.r.IntN(len(c.procs)-1))%len(c.procs))
	}
	return fmt.Sprintf("%v cut off", off), func(from, to int) bool {
		return slices.Contains(off, from) != slices.Contains(off, to)
	}
}

func cut(c *copiesCluster, i int) {
	what, forbidden := c.cutOff(i)
	c.cutFor(what, forbidden, c.cutLasts(), func() {})
}

// cutOneWay cuts a node's way to the others or from them, or a pair of nodes from each other or one from the other.
func cutOneWay(c *copiesCluster, i int) {
	j := (i + 1 + c.r.IntN(len(c.procs)-1)) % len(c.procs)
	var what string
	var forbidden func(from, to int) bool
	switch c.r.IntN(4) {
	case 0:
		what, forbidden = fmt.Sprintf("%d is not heard", i), func(from, _ int) bool { return from == i }
	case 1:
		what, forbidden = fmt.Sprintf("%d hears nothing", i), func(_, to int) bool { return to == i }
	case 2:
		what, forbidden = fmt.Sprintf("%d and %d do not hear each other", i, j), func(from, to int) bool {
			return from == i && to == j || from == j && to == i
		}
	case 3:
		what, forbidden = fmt.Sprintf("%d does not hear %d", i, j), func(from, to int) bool { return from == j && to == i }
	}
	c.cutFor(what, forbidden, c.cutLasts(), func() {})
}

// killWithinCut kills a node while it or another one is cut off. The node may start again on either side, or before or after the end.
func killWithinCut(c *copiesCluster, i int) {
	killed := c.r.IntN(len(c.procs))
	what, forbidden := c.cutOff(i)
	down := c.r.IntN(2) == 0 // until the cut is healed
	c.cutFor(fmt.Sprintf("%s, %d killed,", what, killed), forbidden, c.cutLasts(), func() {
		c.pause(2 * time.Second)
		c.kill(killed)
		if !down {
			c.pause(time.Second)
			c.start(killed)
		}
	})
	if down {
		c.start(killed)
	}
}

// TestKillCopies kills, freezes, stops and wipes nodes whose shards have two copies, one at a time and all at once, and in every
// second run cuts their network, under a load of many writers of few keys. In every third run nodes keep no log. The clients reach
// each node all the time, also one that is cut off. No acknowledged write is lost, no read is stale, no deleted key comes back.
//
// NDRING_FLAW names rules that the nodes leave out: then the test must fail.
func TestKillCopies(t *testing.T) {
	runs, first, span := 1, 0, 20*time.Second
	fmt.Sscan(os.Getenv("NDRING_COPIES_RUNS"), &runs)
	fmt.Sscan(os.Getenv("NDRING_COPIES_FIRST"), &first) // the number of a run decides its kind
	if text := os.Getenv("NDRING_COPIES_TIME"); text != "" {
		span, _ = time.ParseDuration(text)
	}
	for n := first; n < first+runs; n++ {
		seed := rand.Uint64()
		fmt.Sscan(os.Getenv("NDRING_COPIES_SEED"), &seed)
		run := copiesRun{seed: seed, nodes: 3, cuts: n%2 == 0, logs: n%3 != 2, span: span, flaw: os.Getenv("NDRING_FLAW")}
		if n%4 == 0 || n%4 == 3 {
			run.nodes = 5
		}
		t.Run(fmt.Sprint("run ", n), func(t *testing.T) {
			if err := run.do(t, faults(run.logs, run.cuts)); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		})
	}
}

// TestKillCopies finds nodes that answer reads without a lease when they are cut off. Otherwise it would prove nothing about cuts.
func TestKillCopiesFindsAMissingLease(t *testing.T) {
	found := false
	for n := 1; !found && n <= 5; n++ {
		t.Run(fmt.Sprint("run ", n), func(t *testing.T) {
			run := copiesRun{seed: rand.Uint64(), nodes: 3, cuts: true, logs: true, span: 30 * time.Second, flaw: "noLease"}
			err := run.do(t, []fault{{"cut", 1, cut}, {"one-way cut", 1, cutOneWay}})
			if found = errors.Is(err, loadtest.ErrViolation); err != nil && !found {
				t.Errorf("seed %d: %v", run.seed, err)
			}
		})
	}
	if !found {
		t.Error("runs without a lease have found no stale read")
	}
}

// copiesRun is one load under faults.
type copiesRun struct {
	seed       uint64
	nodes      int
	cuts, logs bool
	span       time.Duration
	flaw       string
	moves      bool // an operator moves copies all the time
}

// do returns an error for the promises that the cluster has broken, which is ErrViolation if a history shows it.
func (run *copiesRun) do(t *testing.T, all []fault) error {
	t.Logf("seed %d: %d nodes, cuts %v, logs %v", run.seed, run.nodes, run.cuts, run.logs)
	c := &copiesCluster{t: t, r: rand.New(rand.NewPCG(run.seed, 1)), flaw: run.flaw}
	if run.cuts {
		c.network = newNetwork(t, run.nodes)
	}
	var args []string
	if !run.logs {
		args = append(args, "--appendonly", "no")
	}
	if run.moves {
		args = append(args, "--replace-after", "2s")
	}
	c.open(run.nodes, args...)
	h := &loadtest.Histories{Addrs: c.addrs, Seed: run.seed, EachNode: true, Folder: os.Getenv("NDRING_HISTORIES")}
	ctx, cancel := context.WithTimeout(t.Context(), run.span)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	awaitLoad(ctx, h)
	operator := make(chan map[string]int, 1)
	go func() {
		if run.moves {
			operator <- c.operate(ctx, rand.New(rand.NewPCG(run.seed, 2)))
		}
		close(operator)
	}()
	for ctx.Err() == nil && len(ended) == 0 {
		c.fault(all)
	}
	cancel()
	err := <-ended
	if counts := <-operator; run.moves {
		t.Logf("the operator: %v", counts)
		c.keepAll()
	}
	if !errors.Is(err, loadtest.ErrViolation) {
		c.awaitCopies()
		err = errors.Join(err, h.FinalReads(t.Context()))
		c.sameCopies()
	}
	if n := c.differed(); n > 0 {
		err = errors.Join(err, fmt.Errorf("copies differed %d times", n))
	}
	report := h.Check()
	t.Logf("%v, %d processes\n%s", c.count, len(c.all), report.String())
	if len(report.Violations) > 0 {
		return errors.Join(err, loadtest.ErrViolation, report.Err())
	}
	return errors.Join(err, report.Err(), run.checkLosses(c), run.checkLoad(&report))
}

// awaitLoad waits until some operations were answered: otherwise the first fault might be all that happens in a short run.
func awaitLoad(ctx context.Context, h *loadtest.Histories) {
	for ctx.Err() == nil {
		if report := h.Report(); report.Total().OK >= 100 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// checkLosses returns an error if the cluster says that it may have lost something. With logs none of the faults gives it a reason: a
// kill leaves a copy clean, and a disk is wiped only while each shard has another clean copy. Without logs a copy is unclean after each
// start. On a busy machine the other one may be removed from the ISR just before a stop; then the unclean one is promoted and counted.
func (run *copiesRun) checkLosses(c *copiesCluster) error {
	c.t.Helper()
	n := c.topology(0).Losses
	c.t.Logf("%d possible losses", n)
	if n > 0 && run.logs {
		return fmt.Errorf("%d possible losses, although the nodes keep logs", n)
	}
	return nil
}

// leastChecked is how many operations a minute's load must have had checked: one that hardly any node answers proves nothing.
const leastChecked = 1000

// checkLoad returns an error if too few operations were checked for the time of the run.
func (run *copiesRun) checkLoad(report *loadtest.Report) error {
	if least := int(leastChecked * run.span.Minutes()); report.Checked < least {
		return fmt.Errorf("only %d operations were checked in %v, at least %d should be", report.Checked, run.span, least)
	}
	return nil
}
