// Command model explores everything that can happen to one shard with three copies, within bounds,
// or random walks beyond them. It checks the rules of replication before any code of theirs runs;
// docs/replication.md says what they are, and README.md what the model covers. It knows nothing of
// the rest of ndring.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

func main() {
	var b bounds
	flag.IntVar(&b.isr, "isr", 2, "copies in the ISR at the beginning; the others are learners")
	flag.IntVar(&b.epochs, "epochs", 4, fmt.Sprintf("epochs, at most %d", maxEpochs-1))
	flag.IntVar(&b.writes, "writes", 2, "writes")
	flag.IntVar(&b.kills, "kills", 1, "kill -9 and start")
	flag.IntVar(&b.powers, "powers", 0, "losses of power: any part of the log's end is gone")
	flag.IntVar(&b.wipes, "wipes", 0, "losses of a disk")
	flag.IntVar(&b.handovers, "handovers", 0, "transfers and resignations")
	flag.IntVar(&b.backups, "backups", 0, "folders that are put back to an earlier state")
	limit := flag.Int("limit", 40_000_000, "states after which the search stops")
	walks := flag.Int("walks", 0, fmt.Sprintf("take so many random walks of %d steps instead", walkLength))
	seed := flag.Uint64("seed", 1, "seed of the walks")
	without := flag.String("without", "", "rules to leave out, with commas between them")
	flag.Parse()
	f, err := parseFlaws(*without)
	if err == nil {
		err = b.check()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "model:", err)
		os.Exit(2)
	}

	began := time.Now()
	e := explorer{bounds: b, flaws: f}
	if *walks > 0 {
		e.walk(*walks, rand.New(rand.NewPCG(*seed, 7)))
	} else {
		e.search(*limit)
	}
	for i, step := range e.schedule {
		fmt.Printf("%3d  %s\n", i+1, step)
	}
	fmt.Printf("without [%s] isr %d epochs %d writes %d kills %d powers %d wipes %d handovers %d backups %d: %s, %.0f s\n",
		*without, b.isr, b.epochs, b.writes, b.kills, b.powers, b.wipes, b.handovers, b.backups, e.summary(), time.Since(began).Seconds())
	if e.found != nil {
		os.Exit(1)
	}
}

func (b bounds) check() error {
	if b.isr < 1 || b.isr > nodes {
		return fmt.Errorf("-isr must be between 1 and %d, not %d", nodes, b.isr)
	}
	if b.epochs < 1 || b.epochs >= maxEpochs {
		return fmt.Errorf("-epochs must be between 1 and %d, not %d", maxEpochs-1, b.epochs)
	}
	for _, n := range []int{b.writes, b.kills, b.powers, b.wipes, b.handovers, b.backups} {
		if n < 0 || n > 15 {
			return fmt.Errorf("the number of writes and faults must be between 0 and 15, not %d", n)
		}
	}
	if n := b.kills + b.powers + b.wipes + b.backups; n > maxRestarts {
		return fmt.Errorf("there may be at most %d restarts, not %d", maxRestarts, n)
	}
	return nil
}

func (e *explorer) summary() string {
	what := "nothing wrong"
	if e.found != nil {
		what = fmt.Sprintf("VIOLATION (%s): %s", e.found.kind, e.found.text)
	}
	return fmt.Sprintf("%s; %d states, %d steps, depth %d, complete: %v", what, e.states, e.transitions, e.depth, e.complete)
}
