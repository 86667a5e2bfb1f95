package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/clusters"
	"github.com/ndring/ndring/bench/machine"
)

// replicasBench measures the cost of a second copy, compared with Redis and Valkey.
type replicasBench struct {
	binary, base string // ndring programs
	root         string
	servers      string
	only         string
	data, keys   int
	connections  int
	rounds       int
	long         time.Duration
	log          bool
	copiesLimit  time.Duration // for the second copies of a new cluster

	array   *array
	running []*replicated
	loads   []load
	samples map[load]map[string][]sample // by server, one per round

	command  string
	began    time.Time
	versions []string
	notes    []string
}

func replicasMain(args []string) error {
	flags := flag.NewFlagSet("bench replicas", flag.ExitOnError)
	b := &replicasBench{began: time.Now(), samples: map[load]map[string][]sample{}, command: strings.Join(append([]string{"bench replicas"}, args...), " ")}
	flags.StringVar(&b.binary, "binary", "../bin/ndring", "the ndring program")
	flags.StringVar(&b.base, "base", "", "an ndring program of another commit, of the servers \"base 1\" and \"base 2\"")
	flags.StringVar(&b.only, "only", "", "only cases whose name contains this")
	flags.StringVar(&b.root, "root", "../.cache/trixie", "a Debian 13 root file system with Valkey")
	flags.StringVar(&b.servers, "servers", "ndring 1,ndring 2,redis,valkey", "servers to measure; the number is that of ndring's copies")
	flags.IntVar(&b.keys, "keys", 50_000, "arrays to store")
	flags.IntVar(&b.connections, "connections", 50, "number of connections")
	flags.IntVar(&b.rounds, "rounds", 5, "rounds per case and server")
	flags.DurationVar(&b.long, "time", time.Second, "length of each round")
	flags.BoolVar(&b.log, "log", false, "with a log on disk that is synced every second; otherwise nothing is on disk")
	out := flags.String("out", "", "also write the report to this file")
	smoke := flags.Bool("smoke", false, "a minimal run of each case, in seconds, to check that it works; the figures mean nothing")
	flags.Parse(args)
	b.data, b.copiesLimit = 1<<10, time.Minute
	if *smoke {
		b.keys, b.rounds, b.long = 1000, 1, 20*time.Millisecond
	}
	if !clusters.NdringReplicates {
		b.copiesLimit = 5 * time.Second
	}
	b.array = newArray(b.data, b.keys)
	defer b.stop()
	if err := errors.Join(b.start(), b.measure()); err != nil {
		return err
	}
	text := b.text()
	fmt.Print(text)
	if *out != "" {
		return os.WriteFile(*out, []byte(text), 0o644)
	}
	return nil
}

func (b *replicasBench) stop() {
	for _, r := range b.running {
		r.Close()
	}
}

func (b *replicasBench) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
	say("%s", b.notes[len(b.notes)-1])
}

// start starts and fills all servers.
func (b *replicasBench) start() error {
	for _, name := range strings.Split(b.servers, ",") {
		say("start and fill %s", name)
		var r *replicated
		var err error
		switch name {
		case "ndring 1", "ndring 2":
			r, err = b.ndring("ndring", b.binary, int(name[len(name)-1]-'0'))
		case "base 1", "base 2":
			r, err = b.ndring("base", b.base, int(name[len(name)-1]-'0'))
		case "redis":
			r, err = b.pair(name, "redis-server", "")
		case "valkey":
			if _, missing := os.Stat(filepath.Join(b.root, "usr/bin/valkey-server")); missing != nil {
				b.note("Valkey was not measured: %s has no valkey-server. Run scripts/trixie-root as root to install it", b.root)
				continue
			}
			r, err = b.pair(name, "/usr/bin/valkey-server", b.root)
		default:
			err = fmt.Errorf("no server is called %q", name)
		}
		if err != nil {
			return err
		}
		b.running = append(b.running, r)
		if err := r.fill(b.array); err != nil {
			return err
		}
	}
	return nil
}

func (b *replicasBench) ndring(name, binary string, copies int) (*replicated, error) {
	if err := b.version(binary, "version"); err != nil {
		return nil, err
	}
	c, err := clusters.Ndring(clusters.NdringOptions{Binary: binary, Nodes: 3, Replicas: copies, NoDisk: !b.log})
	if err != nil {
		return nil, err
	}
	r := &replicated{Cluster: c, name: name + ", one copy", prefix: "NP.", copies: copies}
	if copies == 2 {
		r.name = name + ", two copies"
	}
	if err := c.WaitHealthy(copies, b.copiesLimit); err != nil {
		if clusters.NdringReplicates {
			c.Close()
			return nil, err
		}
		r.copies = 1
		r.name += " (has one)"
		b.note("ndring started with --replicas %d has one copy of each shard, so its figures are those of one copy: %v", copies, err)
	}
	return r, nil
}

func (b *replicasBench) pair(name, program, root string) (*replicated, error) {
	command := []string{program, "--version"}
	if root != "" {
		command = append([]string{"chroot", root}, command...)
	}
	if err := b.version(command...); err != nil {
		return nil, err
	}
	c, err := clusters.Pair(clusters.PairOptions{Name: name, Program: program, Root: root, Log: b.log})
	if err != nil {
		return nil, err
	}
	return &replicated{Cluster: c, name: name + ", one replica, WAIT 1", copies: 2, wait: true}, nil
}

func (b *replicasBench) version(command ...string) error {
	out, err := exec.Command(command[0], command[1:]...).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	if text := strings.TrimSpace(string(out)); !slices.Contains(b.versions, text) {
		b.versions = append(b.versions, text)
	}
	return nil
}

// measure runs each load on each server in turn, several times.
func (b *replicasBench) measure() error {
	for _, op := range []string{"SET", "GET"} {
		for _, pipeline := range []int{1, 16} {
			if l := (load{Op: op, Data: b.data, Connections: b.connections, Pipeline: pipeline, Keys: b.keys}); strings.Contains(l.String(), b.only) {
				b.loads = append(b.loads, l)
			}
		}
	}
	for range b.rounds {
		for _, l := range b.loads {
			if b.samples[l] == nil {
				b.samples[l] = map[string][]sample{}
			}
			for _, r := range b.running {
				say("%s: %s", l, r.name)
				s, err := b.run(l, r)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", r.name, l, err)
				}
				b.samples[l][r.name] = append(b.samples[l][r.name], s)
			}
		}
	}
	return nil
}

func (b *replicasBench) run(l load, r *replicated) (sample, error) {
	clients, err := r.dial(b.array, l.Connections)
	defer closeAll(clients)
	if err != nil {
		return sample{}, err
	}
	return l.measure(clients, b.array, b.long, r.cpu)
}

func (b *replicasBench) text() string {
	var t strings.Builder
	fmt.Fprintf(&t, "# Cost of a second copy\n\n`%s`, %s, %s\n\n", b.command, b.began.Format(time.DateOnly), machine.Name())
	for _, v := range b.versions {
		fmt.Fprintf(&t, "- %s\n", v)
	}
	disk := "Nothing is on disk."
	if b.log {
		disk = "Each copy has a log that is synced every second."
	}
	fmt.Fprintf(&t, "\n%s Median (minimum to maximum) of %d rounds of %v, all servers in turn in each. Ratios are those of the medians. README.md explains the figures.\n\n", disk, b.rounds, b.long)
	t.WriteString("| load | server | operations/s | ratio to ndring, one copy | ratio to redis | p50 µs | p99 µs | CPU s/million |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, l := range b.loads {
		for _, r := range b.running {
			get := func(f func(sample) float64) spread { return b.of(l, r.name, f) }
			fmt.Fprintf(&t, "| %s | %s | %s | %s | %s | %.0f | %.0f | %s |\n", l, r.name, get(opsASecond).whole(), b.ratio(l, r.name, "ndring, one copy"),
				b.ratio(l, r.name, "redis, one replica, WAIT 1"), get(func(s sample) float64 { return s.P50 }).Median, get(func(s sample) float64 { return s.P99 }).Median, get(cpuPerMop))
		}
	}
	fmt.Fprintf(&t, "\n## Memory and network per stored byte\n\nAfter storing %d arrays.\n\n| server | copies | memory | bytes between servers |\n| --- | ---: | ---: | ---: |\n", b.keys)
	for _, r := range b.running {
		between := fmt.Sprintf("%.2f", r.between)
		if b.log {
			between = "-"
		}
		fmt.Fprintf(&t, "| %s | %d | %.2f | %s |\n", r.name, r.copies, r.memory, between)
	}
	if len(b.notes) > 0 {
		fmt.Fprintf(&t, "\n## Remarks\n\n- %s\n", strings.Join(b.notes, "\n- "))
	}
	return t.String()
}

func (b *replicasBench) of(l load, server string, figure func(sample) float64) spread {
	var values []float64
	for _, s := range b.samples[l][server] {
		values = append(values, figure(s))
	}
	return median(values)
}

// ratio returns the ratio of the median rates of two servers.
func (b *replicasBench) ratio(l load, x, y string) string {
	base := b.of(l, y, opsASecond).Median
	if base == 0 {
		return "-"
	}
	return fmt.Sprintf("**%.2f**", b.of(l, x, opsASecond).Median/base)
}
