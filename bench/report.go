package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ndring/ndring/bench/machine"
)

// report is the result of a run.
type report struct {
	command  string
	began    time.Time
	versions []string
	kinds    []kind
	loads    []load
	samples  map[load]map[string][]sample // by server, one per round
	memory   []namedMemory
	large    *largeUse
	python   pythonResults
}

type namedMemory struct {
	server string
	memoryUse
}

type spread struct{ Median, Min, Max float64 }

type pythonResults struct {
	Parser, Python, NumPy string
	RedisPy               string `json:"redis-py"`
	Results               []struct {
		Op                         string
		Data                       int
		Ours, Recipe, Ratio, Share spread
	}
}

func median(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

// of returns a figure of a load on a server over all rounds.
func (r *report) of(l load, server string, figure func(sample) float64) spread {
	var values []float64
	for _, s := range r.samples[l][server] {
		values = append(values, figure(s))
	}
	return median(values)
}

// ratio returns a figure of one server divided by that of another, round by round.
func (r *report) ratio(l load, a, b string, figure func(sample) float64) spread {
	var values []float64
	for i, s := range r.samples[l][a] {
		if i < len(r.samples[l][b]) {
			values = append(values, figure(s)/figure(r.samples[l][b][i]))
		}
	}
	return median(values)
}

func cpuPerGB(s sample) float64   { return s.CPUPerGB }
func cpuPerMop(s sample) float64  { return s.CPUPerMop }
func opsASecond(s sample) float64 { return s.Ops }

// target is a row of the table at the top of the report.
type target struct {
	what, want string
	got        spread
	met        bool
}

func (r *report) targets() (rows []target) {
	atLeast := func(what string, got spread, limit float64, unit string) {
		if got.Median > 0 {
			rows = append(rows, target{what, fmt.Sprintf("at least %v%s", limit, unit), got, got.Median >= limit})
		}
	}
	atMost := func(what string, got spread, limit float64, unit string) {
		if got.Median > 0 {
			rows = append(rows, target{what, fmt.Sprintf("at most %v%s", limit, unit), got, got.Median <= limit})
		}
	}
	wanted := map[string]map[int]float64{"GET": {1 << 10: 2.5, 256 << 10: 2.5, 64 << 20: 4}, "SET": {1 << 10: 1.6, 256 << 10: 1.5, 64 << 20: 4}}
	for _, p := range r.python.Results {
		if limit, ok := wanted[p.Op][p.Data]; ok {
			atLeast(fmt.Sprintf("Python %s %s, arrays per second, compared with the recipe on redis-server", p.Op, size(p.Data)), p.Ratio, limit, "x")
		}
	}
	for _, p := range r.python.Results {
		if p.Data >= 256<<10 {
			atLeast(fmt.Sprintf("Python %s %s, compared with the same client on the server that stores nothing", p.Op, size(p.Data)), p.Share, 0.8, "x")
		}
	}
	for _, l := range r.loads {
		many := l.Connections > 1
		switch {
		case l.TLS && l.Data >= 256<<10:
			atMost(l.String()+": CPU per GB, compared with redis-server", r.ratio(l, "ndring", "redis", cpuPerGB), 1, "x")
		case l.TLS && l.Pipeline == 1:
			atMost(l.String()+": CPU per operation, compared with redis-server", r.ratio(l, "ndring", "redis", cpuPerMop), 1.2, "x")
		case l.TLS:
		case l.Op == "GET" && l.Data >= 256<<10 && many:
			atMost(l.String()+": CPU per GB, compared with redis-server", r.ratio(l, "ndring", "redis", cpuPerGB), 0.75, "x")
			atMost(l.String()+": CPU per GB, compared with the server that stores nothing", r.ratio(l, "ndring", "null", cpuPerGB), 1.25, "x")
		case l.Op == "SET" && l.Data == 64<<20 && many:
			atMost(l.String()+": CPU per GB, compared with redis-server", r.ratio(l, "ndring", "redis", cpuPerGB), 0.4, "x")
		case l.Op == "SET" && l.Pipeline == 1 && many && l.Data > 1<<10:
			atMost(l.String()+": CPU per GB, compared with redis-server", r.ratio(l, "ndring", "redis", cpuPerGB), 1.3, "x")
		case l.Data == 1<<10 && many && l.Pipeline == 1:
			atMost(l.String()+": CPU per operation, compared with redis-server", r.ratio(l, "ndring", "redis", cpuPerMop), 1.2, "x")
		case l.Data == 1<<10 && l.Op == "GET" && l.Pipeline > 1:
			atLeast(l.String()+": operations per second, compared with redis-server", r.ratio(l, "ndring", "redis", opsASecond), 1, "x")
		}
	}
	for _, m := range r.memory {
		if m.server == "ndring" {
			limit := 1.17
			if m.Data > 1<<10 {
				limit = 1.03
			}
			atMost(fmt.Sprintf("process memory per stored byte, %d arrays of %s, after 4 s of overwrites", m.Keys, size(m.Data)), spread{m.Overwritten, m.Overwritten, m.Overwritten}, limit, "")
		}
	}
	if u := r.large; u != nil {
		atMost("512 MiB in: extra process memory per byte", spread{u.In, u.In, u.In}, 1.1, "")
		atMost("512 MiB out: extra process memory per byte", spread{u.Out, u.Out, u.Out}, 1.1, "")
		ratio := u.During / u.IdleP99
		atMost("p99 of other clients' 1 KiB GETs during the transfers, compared with before", spread{ratio, ratio, ratio}, 5, "x")
	}
	return rows
}

func (r *report) write(w io.Writer) {
	fmt.Fprintf(w, "# Benchmark\n\n`%s`, %s, %s\n\n", r.command, r.began.Format(time.DateOnly), machine.Name())
	for _, v := range r.versions {
		fmt.Fprintf(w, "- %s\n", v)
	}
	if p := r.python; p.Python != "" {
		fmt.Fprintf(w, "- Python %s, numpy %s, redis-py %s with %s\n", p.Python, p.NumPy, p.RedisPy, p.Parser)
	}
	fmt.Fprintf(w, "\nMedian (minimum to maximum) of the rounds. README.md explains the figures.\n\n## Targets\n\n| figure | target | measured | |\n| --- | --- | --- | --- |\n")
	for _, t := range r.targets() {
		verdict := "met"
		if !t.met {
			verdict = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.what, t.want, t.got, verdict)
	}
	if len(r.loads) > 0 {
		fmt.Fprintf(w, "\n## Servers\n\n| load | server | operations/s | MB/s | p50 µs | p99 µs | CPU s/GB | CPU s/million |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	}
	for _, l := range r.loads {
		for _, k := range r.kinds {
			if len(r.samples[l][k.name]) == 0 {
				continue
			}
			get := func(f func(sample) float64) spread { return r.of(l, k.name, f) }
			fmt.Fprintf(w, "| %s | %s | %s | %.0f | %.0f | %.0f | %s | %s |\n", l, k.name, get(opsASecond).whole(), get(func(s sample) float64 { return s.MB }).Median,
				get(func(s sample) float64 { return s.P50 }).Median, get(func(s sample) float64 { return s.P99 }).Median, get(cpuPerGB), get(cpuPerMop))
		}
	}
	if len(r.memory) > 0 {
		fmt.Fprintf(w, "\n## Process memory per stored .npy byte\n\n| arrays | server | filled | after 4 s of overwrites | peak |\n| --- | --- | ---: | ---: | ---: |\n")
	}
	for _, m := range r.memory {
		fmt.Fprintf(w, "| %d of %s | %s | %.3f | %.3f | %.3f |\n", m.Keys, size(m.Data), m.server, m.Filled, m.Overwritten, m.Peak)
	}
	if u := r.large; u != nil {
		fmt.Fprintf(w, "\n## One array of 512 MiB\n\nExtra process memory per byte: %.3f in (the array itself is 1), %.3f out. p99 of four other clients' 1 KiB GETs: %.0f µs before, %.0f µs during the transfers.\n", u.In, u.Out, u.IdleP99, u.During)
	}
	if len(r.python.Results) > 0 {
		fmt.Fprintf(w, "\n## Python\n\n| operation | array | ours/s | recipe/s | ours / recipe | ours / server that stores nothing |\n| --- | --- | ---: | ---: | ---: | ---: |\n")
	}
	for _, p := range r.python.Results {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", p.Op, size(p.Data), p.Ours.whole(), p.Recipe.whole(), p.Ratio, p.Share)
	}
}

func (s spread) String() string { return fmt.Sprintf("%.3g (%.3g to %.3g)", s.Median, s.Min, s.Max) }
func (s spread) whole() string  { return fmt.Sprintf("%.0f (%.0f to %.0f)", s.Median, s.Min, s.Max) }

// save writes the report and its plots to a folder.
func (r *report) save(folder string, quick bool) error {
	name := "full"
	if quick {
		name = "quick"
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(folder, name+".md"))
	if err != nil {
		return err
	}
	r.write(f)
	if err := f.Close(); err != nil {
		return err
	}
	for plot, svg := range r.plots() {
		if err := os.WriteFile(filepath.Join(folder, name+"-"+plot+".svg"), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}
