// Beside measures small requests beside large values and on a busy machine, and writes beside a copy that
// catches up. See ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ndring/ndring/bench/clusters"
	"github.com/ndring/ndring/bench/npy"
)

type options struct {
	binary, only string
	nodes        int

	largeMiB, writes int           // MiB of a large value; how many are written
	idle             time.Duration // of traffic without them

	backlog, piece int // MiB that a copy has to catch up, in values of so many KiB
	rounds         int
	window         time.Duration // of writes without a catch-up

	spinners int
	busyFor  time.Duration

	limit time.Duration
	out   string
}

func main() {
	spinIfAsked()
	var o options
	smoke := flag.Bool("smoke", false, "a minimal run of each case, in seconds, to check that it works; the figures mean nothing")
	flag.StringVar(&o.binary, "binary", "../bin/ndring", "the ndring program")
	flag.StringVar(&o.only, "only", "", "measure only the parts whose name contains this: large, catch-up, busy")
	flag.IntVar(&o.nodes, "nodes", 3, "nodes of each cluster")
	flag.IntVar(&o.largeMiB, "large", 512, "large: MiB of a value")
	flag.IntVar(&o.writes, "writes", 8, "large: values to write, one after the other")
	flag.DurationVar(&o.idle, "idle", 20*time.Second, "large: length of the traffic without large values")
	flag.IntVar(&o.backlog, "backlog", 2048, "catch-up: MiB that the copies of the stopped node lack")
	flag.IntVar(&o.piece, "piece", 128, "catch-up: KiB of each value of them")
	flag.IntVar(&o.rounds, "rounds", 3, "catch-up: rounds of each case")
	flag.DurationVar(&o.window, "window", 10*time.Second, "catch-up: length of the writes without a catch-up")
	flag.IntVar(&o.spinners, "spinners", 8, "busy: processes that keep the processors busy")
	flag.DurationVar(&o.busyFor, "busy", 10*time.Minute, "busy: length of the traffic")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "limit for a return to health")
	flag.StringVar(&o.out, "out", "", "also write the report to this file")
	flag.Parse()
	if *smoke {
		o.largeMiB, o.writes, o.idle, o.backlog, o.rounds, o.window, o.busyFor = 8, 2, time.Second, 16, 1, time.Second, time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "beside:", err)
		os.Exit(1)
	}
}

// bench is one part with its cluster.
type bench struct {
	*options
	*report
	context context.Context
	cluster *clusters.Cluster
}

func (o *options) run(ctx context.Context) error {
	r := &report{options: o, command: strings.Join(append([]string{"go run ./beside"}, os.Args[1:]...), " "), began: time.Now()}
	var err error
	if r.version, err = clusters.Version(o.binary); err != nil {
		return err
	}
	var failed []error // a part that fails does not take the figures of the others with it
	for _, part := range []struct {
		name   string
		memory int // MiB of each node
		run    func(*bench) error
	}{
		{"large", largeKeys*2*o.largeMiB + 1024, (*bench).largeValues},
		{"catch-up", 3*o.backlog + 1024, (*bench).catchUps},
		{"busy", 1024, (*bench).busyMachine},
	} {
		if ctx.Err() != nil || !strings.Contains(part.name, o.only) {
			continue
		}
		say("%s", part.name)
		if err := o.measure(ctx, r, part.memory, part.run); err != nil {
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
func (o *options) measure(ctx context.Context, r *report, memory int, part func(*bench) error) error {
	of := clusters.NdringOptions{Binary: o.binary, Nodes: o.nodes, Replicas: 2, Extra: []string{"--maxmemory", fmt.Sprintf("%dmb", memory)}}
	return clusters.Measure(ctx, of, o.limit, func(c *clusters.Cluster) error {
		return part(&bench{options: o, report: r, context: ctx, cluster: c})
	})
}

// sleep waits for a time, or until an interrupt.
func (b *bench) sleep(d time.Duration) error { return clusters.Sleep(b.context, d) }

// small returns traffic with arrays of 1 KiB, whose keys satisfy a condition.
func (b *bench) small(n int, pace time.Duration, is func(primary string, replicas []string) bool) (*traffic, error) {
	v, err := b.cluster.View()
	if err != nil {
		return nil, err
	}
	keys, err := v.Keys(n, "small", is)
	if err != nil {
		return nil, err
	}
	t := &traffic{cluster: b.cluster, keys: keys, value: npy.Float32(1 << 10), pace: pace}
	return t, t.fill()
}

func anywhere(string, []string) bool { return true }

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
