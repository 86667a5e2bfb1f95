// Failover measures how long a cluster does not take writes after the death of a process, and how many
// acknowledged writes are lost: ndring and Redis Cluster under the same harness. See ../README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/clusters"
)

type options struct {
	binary, only      string
	kills, slow, fast int // kills of primaries: ndring, Redis Cluster with its default timeout, with one second
	replicas, moves   int
	wait              time.Duration
	limit, window     time.Duration
	freeze            time.Duration
	out               string
	smoke             bool
}

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "../bin/ndring", "the ndring program")
	flag.StringVar(&o.only, "only", "", "measure only systems whose name contains this: ndring, 'timeout 1 s', WAIT")
	flag.IntVar(&o.kills, "kills", 60, "kills of a primary of ndring; every fourth is of the process that is also raft's leader")
	flag.IntVar(&o.slow, "kills-default", 5, "kills of a primary of Redis Cluster with its default timeout, about 25 s each")
	flag.IntVar(&o.fast, "kills-redis", 20, "kills of a primary of Redis Cluster with a timeout of one second")
	flag.IntVar(&o.replicas, "replicas", 8, "kills of a replica")
	flag.IntVar(&o.moves, "handovers", 8, "planned handovers; at most three of Redis Cluster with its default timeout")
	flag.DurationVar(&o.wait, "wait", 100*time.Millisecond, "timeout of WAIT 1")
	flag.DurationVar(&o.limit, "limit", time.Minute, "limit for a failover, and for the return to health")
	flag.DurationVar(&o.window, "window", 3*time.Second, "how long to watch writes after the death of a replica")
	flag.DurationVar(&o.freeze, "freeze", 0, "stop the replica of the killed primary for this long before the kill: how much an acknowledgement without it is worth")
	flag.StringVar(&o.out, "out", "", "also write the report to this file")
	flag.BoolVar(&o.smoke, "smoke", false, "a minimal run of each case, in seconds, to check that it works; the figures mean nothing")
	flag.Parse()
	if o.smoke {
		o.kills, o.fast, o.slow, o.replicas, o.moves, o.window = 1, 1, 0, 1, 1, time.Second
	}
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

// mode is a system in one configuration.
type mode struct {
	name   string
	start  func() (*clusters.Cluster, error)
	ndring bool
	wait   time.Duration // of the WAIT 1 after each write; 0: none
	kills  int
	moves  int           // planned handovers
	rest   time.Duration // before each of them
	limit  time.Duration
}

func (o *options) modes() []mode {
	redis := func(name string, timeout, wait time.Duration, kills, moves int) mode {
		start := func() (*clusters.Cluster, error) { return clusters.Redis(clusters.RedisOptions{NodeTimeout: timeout}) }
		// A primary of Redis votes for replicas of one other primary once in twice the timeout, also in a
		// planned handover.
		return mode{name: "Redis Cluster, timeout " + name, start: start, wait: wait, kills: kills, moves: moves, rest: 2*timeout + time.Second, limit: o.limit}
	}
	own := func() (*clusters.Cluster, error) {
		return clusters.Ndring(clusters.NdringOptions{Binary: o.binary, Nodes: 3, Replicas: 2})
	}
	ownLimit := o.limit
	if o.smoke && !clusters.NdringReplicates {
		ownLimit = 3 * time.Second
	}
	few := min(o.moves, 3) // with the rests, half a minute each
	return []mode{
		{name: "ndring", start: own, ndring: true, kills: o.kills, moves: o.moves, limit: ownLimit},
		redis("15 s (default)", 15*time.Second, 0, o.slow, few),
		redis("15 s (default), WAIT 1", 15*time.Second, o.wait, o.slow, 0), // WAIT does not change a handover
		redis("1 s", time.Second, 0, o.fast, o.moves),
		redis("1 s, WAIT 1", time.Second, o.wait, o.fast, 0),
	}
}

func (o *options) run() error {
	r := &report{command: strings.Join(append([]string{"go run ./failover"}, os.Args[1:]...), " "), began: time.Now(), wait: o.wait, window: o.window}
	for _, command := range [][]string{{o.binary, "version"}, {"redis-server", "--version"}} {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", command[0], err)
		}
		r.versions = append(r.versions, strings.TrimSpace(string(out)))
	}
	var failed []error // a mode that fails does not take the figures of the others with it
	for _, m := range o.modes() {
		if m.kills == 0 || !strings.Contains(m.name, o.only) {
			continue
		}
		result := &result{name: m.name}
		if err := o.measure(&m, result); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
			result.notes = append(result.notes, "ended early: "+strings.SplitN(err.Error(), "\n", 2)[0])
		}
		r.results = append(r.results, result)
	}
	text := r.text()
	fmt.Print(text)
	if o.out != "" {
		failed = append(failed, os.WriteFile(o.out, []byte(text), 0o644))
	}
	return errors.Join(failed...)
}

// measure runs all parts on one cluster. The result has what was measured before an error, too.
func (o *options) measure(m *mode, r *result) error {
	say("%s: start", m.name)
	c, err := m.start()
	if err != nil {
		return err
	}
	defer c.Close()
	b := &bench{options: o, mode: m, cluster: c, copies: 2, result: r}
	for _, part := range []func() error{b.prepare, b.primaries, b.replicaDeaths, b.handovers} {
		if err := part(); err != nil {
			return fmt.Errorf("%w\n%s", err, c.Logs())
		}
	}
	return nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
