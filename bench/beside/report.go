package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/latency"
	"github.com/ndring/ndring/bench/machine"
)

type report struct {
	*options
	command string
	began   time.Time
	version string
	notes   []string

	large          *largeResult
	fromLog, whole []caught
	busy           *busyResult
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Beside large values, a catch-up and other processes\n\n`%s`, %s, %s\n\n- %s\n", r.command, r.began.Format(time.DateOnly), machine.Name(), r.version)
	fmt.Fprintf(&b, "\n%d nodes with two copies of each shard. All processes and clients share the machine. README.md explains the figures.\n", r.nodes)
	r.largeSection(&b)
	r.catchUpSection(&b)
	r.busySection(&b)
	if len(r.notes) > 0 {
		fmt.Fprintf(&b, "\n## Remarks\n\n- %s\n", strings.Join(r.notes, "\n- "))
	}
	return b.String()
}

func (r *report) largeSection(b *strings.Builder) {
	l := r.large
	if l == nil {
		return
	}
	fmt.Fprintf(b, "\n## Large values\n\n%d writes of %d MiB, one after the other, beside GETs and SETs of 1 KiB; each write took %s (median).", r.writes, r.largeMiB,
		latency.Format(latency.Quantile(l.took, 0.5)))
	b.WriteString(" No node should be suspected, and the p99 of the GETs should stay under five times that without large values.\n\n")
	b.WriteString("| traffic | requests | failed | GET p50 | p99 | max | SET p50 | p99 | max |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, row := range []struct {
		name string
		s    *sample
	}{{"alone", l.idle}, {"beside large values", l.beside}} {
		fmt.Fprintf(b, "| %s | %d | %d | %s | %s |\n", row.name, row.s.requests(), row.s.failures(), cells(row.s.gets), cells(row.s.sets))
	}
	fmt.Fprintf(b, "| ratio | - | - | %s | - | %s | - |\n", ratios(l.beside.gets, l.idle.gets), ratios(l.beside.sets, l.idle.sets))
	fmt.Fprintf(b, "\n| %s |\n| ---: | ---: | ---: | ---: | ---: |\n| %s |\n", countsHead, l.counts.cells())
	r.reasons("beside large values", l.beside)
}

// ratios returns the ratios of the p50 and of the p99 as cells of a table.
func ratios(of, to []time.Duration) string {
	var all []string
	for _, part := range []float64{0.5, 0.99} {
		all = append(all, fmt.Sprintf("**%.2f**", float64(latency.Quantile(of, part))/float64(max(1, latency.Quantile(to, part)))))
	}
	return strings.Join(all, " | ")
}

func (r *report) catchUpSection(b *strings.Builder) {
	if len(r.fromLog) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## Catch-up\n\nA node is killed and lacks %d MiB in values of %d KiB when it starts again: from the log, or everything because its folder is empty. ", r.backlog, r.piece)
	fmt.Fprintf(b, "%d clients write 1 KiB to shards of the other nodes of which it has a copy. Medians of %d rounds; ratios are medians of those within a round. The writes should slow down by at most 20 %%.\n\n", catchUpWriters, r.rounds)
	b.WriteString("| catch-up | writes/s, all copies | node down | beside the catch-up | ratio to all copies | ratio to node down | failed | start s | catch-up s | MB/s | of it through the log, MiB |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, row := range []struct {
		name string
		all  []caught
	}{{"from the log", r.fromLog}, {"empty folder", r.whole}} {
		if len(row.all) == 0 {
			continue
		}
		of := func(figure func(*caught) float64) float64 { return medianOf(row.all, figure) }
		failed := 0
		for _, c := range row.all {
			failed += c.failed
		}
		fmt.Fprintf(b, "| %s | %.0f | %.0f | %.0f | **%.2f** | **%.2f** | %d | %.1f | %.1f | %.0f | %.0f |\n", row.name,
			of(func(c *caught) float64 { return c.healthy }), of(func(c *caught) float64 { return c.lone }), of(func(c *caught) float64 { return c.during }),
			of(func(c *caught) float64 { return c.during / c.healthy }), of(func(c *caught) float64 { return c.during / c.lone }), failed,
			of(func(c *caught) float64 { return c.starts.Seconds() }), of(func(c *caught) float64 { return c.took.Seconds() }),
			of(func(c *caught) float64 { return float64(r.backlog<<20) / 1e6 / c.took.Seconds() }), of(func(c *caught) float64 { return float64(c.log >> 20) }))
	}
}

// medianOf returns the median of a figure.
func medianOf(all []caught, figure func(*caught) float64) float64 {
	var values []float64
	for i := range all {
		values = append(values, figure(&all[i]))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (r *report) busySection(b *strings.Builder) {
	if r.busy == nil {
		return
	}
	t := r.busy.traffic
	fmt.Fprintf(b, "\n## Busy machine\n\n%d other processes keep the processors busy for %v. 8 clients read and write 1 KiB each %v, follow redirects, and do not retry.\n\n", r.spinners, r.busyFor, busyPace)
	fmt.Fprintf(b, "| %s | requests | failed |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n| %s | %d | **%d** |\n\n", countsHead, r.busy.counts.cells(), t.requests(), t.failures())
	fmt.Fprintf(b, "| command | p50 | p99 | max |\n| --- | ---: | ---: | ---: |\n| GET | %s |\n| SET | %s |\n", cells(t.gets), cells(t.sets))
	r.reasons("on a busy machine", t)
}

// reasons notes why requests failed.
func (r *report) reasons(where string, s *sample) {
	if s.failures() > 0 {
		r.note("requests that failed %s: %s", where, s.reasons())
	}
}
