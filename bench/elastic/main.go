// Elastic measures clients while a cluster grows and shrinks, and while copies move. See ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ndring/ndring/bench/clusters"
)

type options struct {
	binary, only, python string
	extra                string

	shards  int
	dataMiB int // of arrays that no client reads or writes while it measures
	sizes   []int
	calm    time.Duration // of traffic without moves
	rounds  int           // of the part "beside"
	limit   time.Duration
	out     string
}

func main() {
	o := options{sizes: []int{16 << 10, 256 << 10, 4 << 20, 64 << 20}}
	smoke := flag.Bool("smoke", false, "a minimal run of each part, in seconds, to check that it works; the figures mean nothing")
	flag.StringVar(&o.binary, "binary", "../bin/ndring", "the ndring program")
	flag.StringVar(&o.python, "python", "../.venv/bin/python", "a Python with NumPy and the client")
	flag.StringVar(&o.only, "only", "", "measure only the parts whose name contains this: grow, beside")
	flag.StringVar(&o.extra, "options", "", "more options of the nodes, separated by blanks")
	flag.IntVar(&o.shards, "shards", 64, "shards")
	flag.IntVar(&o.dataMiB, "data", 1024, "MiB of arrays of 256 KiB that are there before")
	largest := flag.Int("largest", 64<<10, "grow: KiB of the largest arrays that clients write, at least 16")
	flag.DurationVar(&o.calm, "calm", 15*time.Second, "length of the traffic without moves")
	flag.IntVar(&o.rounds, "rounds", 3, "beside: rounds")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "limit for each step")
	flag.StringVar(&o.out, "out", "", "also write the report to this file")
	flag.Parse()
	o.sizes = slices.DeleteFunc(o.sizes, func(size int) bool { return size > max(*largest, 16)<<10 })
	if *smoke {
		o.dataMiB, o.calm, o.rounds, o.sizes = 16, time.Second, 1, []int{16 << 10, 256 << 10, 4 << 20}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "elastic:", err)
		os.Exit(1)
	}
}

// bench is one part with its cluster.
type bench struct {
	*options
	*report
	context context.Context
	cluster *clusters.Cluster

	learners []seen // in the present step
}

func (o *options) run(ctx context.Context) error {
	r := &report{options: o, command: strings.Join(append([]string{"go run ./elastic"}, os.Args[1:]...), " "), began: time.Now()}
	var err error
	if r.version, err = clusters.Version(o.binary); err != nil {
		return err
	}
	var failed []error // a part that fails does not take the figures of the other with it
	for _, part := range []struct {
		name         string
		nodes, spare int
		run          func(*bench) error
	}{
		{"grow", 3, 2, (*bench).growAndShrink},
		{"beside", 4, 0, (*bench).besideMoves},
	} {
		if ctx.Err() != nil || !strings.Contains(part.name, o.only) {
			continue
		}
		say("%s", part.name)
		if err := o.measure(ctx, r, part.nodes, part.spare, part.run); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", part.name, err))
			r.note("%s ended early: %s", part.name, strings.SplitN(err.Error(), "\n", 2)[0])
		}
	}
	text := r.text()
	fmt.Print(text)
	if o.out != "" {
		failed = append(failed, os.WriteFile(o.out, []byte(text), 0o644))
	}
	return errors.Join(append(failed, ctx.Err())...)
}

// measure runs a part on a cluster of its own.
func (o *options) measure(ctx context.Context, r *report, nodes, spare int, part func(*bench) error) error {
	extra := append([]string{"--shards", fmt.Sprint(o.shards), "--maxmemory", fmt.Sprintf("%dmb", 3*o.dataMiB+2048)}, strings.Fields(o.extra)...)
	of := clusters.NdringOptions{Binary: o.binary, Nodes: nodes, Spare: spare, Replicas: 2, Extra: extra}
	return clusters.Measure(ctx, of, o.limit, func(c *clusters.Cluster) error {
		return part(&bench{options: o, report: r, context: ctx, cluster: c})
	})
}

// sleep waits for a time, or until an interrupt.
func (b *bench) sleep(d time.Duration) error { return clusters.Sleep(b.context, d) }

// until waits for a condition. Each look costs a node a topology.
func (b *bench) until(check func() error) error {
	return clusters.Until(b.context, b.limit, 50*time.Millisecond, check)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
