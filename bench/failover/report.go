package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/bench/latency"
	"github.com/ndring/ndring/bench/machine"
)

// kill is the death of a primary's process.
type kill struct {
	leader    bool // it was raft's leader too
	recovered bool // within the limit
	took      time.Duration
	healthy   time.Duration // from the restart of the process
	losses
}

// disturbance is what writers saw of a replica's death or of a handover.
type disturbance struct {
	longest time.Duration
	endless bool // writes had not gone on when the measurement ended
	failed  int
}

func (d disturbance) String() string {
	if d.endless {
		return "over " + latency.Format(d.longest)
	}
	return latency.Format(d.longest)
}

// result is what was measured of a mode.
type result struct {
	name   string
	notes  []string
	kills  []kill
	deaths []disturbance
	moves  []disturbance
}

type report struct {
	command      string
	began        time.Time
	versions     []string
	wait, window time.Duration
	results      []*result
}

func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Failover\n\n`%s`, %s, %s\n\n", r.command, r.began.Format(time.DateOnly), machine.Name())
	for _, v := range r.versions {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	b.WriteString("\nAll processes and clients share the machine. README.md explains the figures.\n")
	r.primaries(&b)
	r.disturbances(&b, "Death of a replica's process", fmt.Sprintf("Writes to the shards of which the killed process had a copy, for %v; then it is restarted.", r.window), "stall",
		func(m *result) []disturbance { return m.deaths })
	r.disturbances(&b, "Planned handover", "`CLUSTER FAILOVER` to a replica, under writes.", "pause", func(m *result) []disturbance { return m.moves })
	r.remarks(&b)
	return b.String()
}

// primaries writes the table of kills. ndring's kills of the leader have a row of their own too.
func (r *report) primaries(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Death of a primary's process\n\nFrom SIGKILL to the first OK for a write of the same key. Each WAIT 1 has a timeout of %v.\n\n", r.wait)
	b.WriteString("| system | kills | p50 | p99 | max | acknowledged writes | of them lost | kills with losses | doubtful keys | healthy after restart, p50 |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, m := range r.results {
		killRow(b, m.name, m.kills)
		leaders := slices.DeleteFunc(slices.Clone(m.kills), func(k kill) bool { return !k.leader })
		if len(leaders) > 0 {
			killRow(b, m.name+": those of raft's leader", leaders)
		}
	}
}

func killRow(b *strings.Builder, name string, kills []kill) {
	var took, healthy []time.Duration
	var sum losses
	with, none := 0, 0
	for _, k := range kills {
		sum.add(k.losses)
		healthy = append(healthy, k.healthy)
		if k.lost > 0 {
			with++
		}
		if k.recovered {
			took = append(took, k.took)
		} else {
			none++
		}
	}
	p50, p99, most := latency.Format(latency.Quantile(took, 0.5)), latency.Format(latency.Quantile(took, 0.99)), latency.Format(latency.Quantile(took, 1))
	if none > 0 {
		p50, p99, most = "-", "-", fmt.Sprintf("no failover in %d", none)
	}
	fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %d | **%d** | %d | %d | %s |\n", name, len(kills), p50, p99, most, sum.acked, sum.lost, with, sum.doubtful, latency.Format(latency.Quantile(healthy, 0.5)))
}

func (r *report) disturbances(b *strings.Builder, title, how, word string, of func(*result) []disturbance) {
	if !slices.ContainsFunc(r.results, func(m *result) bool { return len(of(m)) > 0 }) {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n", title, how)
	fmt.Fprintf(b, "| system | times | longest %s, p50 | max | failed requests |\n| --- | ---: | ---: | ---: | ---: |\n", word)
	for _, m := range r.results {
		all := of(m)
		if len(all) == 0 {
			continue
		}
		all = slices.SortedFunc(slices.Values(all), func(x, y disturbance) int { return int(x.longest - y.longest) })
		failed := 0
		for _, d := range all {
			failed += d.failed
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %d |\n", m.name, len(all), all[(len(all)-1)/2], all[len(all)-1], failed)
	}
}

func (r *report) remarks(b *strings.Builder) {
	title := "\n## Remarks\n\n"
	for _, m := range r.results {
		for _, note := range m.notes {
			fmt.Fprintf(b, "%s- %s: %s\n", title, m.name, note)
			title = ""
		}
	}
}
