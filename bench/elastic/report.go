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

	steps            []step
	requests, failed int // in all, between the steps too
	checked, wrong   int // keys that were read at the end
	beside           []beside
}

func (r *report) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# While copies move\n\n`%s`, %s, %s\n\n- %s\n", r.command, r.began.Format(time.DateOnly), machine.Name(), r.version)
	b.WriteString("\nTwo copies of each shard. All processes and clients share the machine. README.md explains the figures.\n")
	r.growSection(&b)
	r.besideSection(&b)
	if len(r.notes) > 0 {
		fmt.Fprintf(&b, "\n## Remarks\n\n- %s\n", strings.Join(r.notes, "\n- "))
	}
	return b.String()
}

func (r *report) growSection(b *strings.Builder) {
	if len(r.steps) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## From 3 to 5 nodes and back\n\n%d shards and %d MiB of arrays of 256 KiB; go-redis and the Python client read and write 1 to %d KiB. Of %d requests in all, %d failed. At the end %d keys were read: %d were not as written.\n\n", r.shards, r.dataMiB,
		slices.Max(r.sizes)>>10, r.requests, r.failed, r.checked, r.wrong)
	b.WriteString("| step | s | requests | failed | SET of 1 KiB p50 | p99 | max | longest SET of each transferred shard p50 | p99 | max | GET of 1 KiB p50 | p99 | max |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, s := range r.steps {
		fmt.Fprintf(b, "| %s | %.1f | %d | **%d** | %s | %s | %s |\n", s.name, s.took.Seconds(), len(s.requests), sum(failures(s.requests)),
			cells(took(s.requests, func(r request) bool { return r.write && r.size == small })), cells(s.longest),
			cells(took(s.requests, func(r request) bool { return !r.write && r.size == small })))
	}
	b.WriteString("\n| step | copies moved | least possible | MiB of these copies | written to them meanwhile | MiB sent | ratio to the copies | to copies and writes | MB/s |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, s := range r.steps {
		if s.copies > 0 {
			fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %d | **%.2f** | %.2f | %.0f |\n", s.name, s.copies, s.least, s.size>>20, s.written>>20, s.sent>>20,
				float64(s.sent)/float64(max(1, s.size)), float64(s.sent)/float64(max(1, s.size+s.written)), float64(s.sent)/1e6/s.took.Seconds())
		}
	}
}

func (r *report) besideSection(b *strings.Builder) {
	if len(r.beside) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## Beside moves\n\nFour writers and four readers of 1 KiB without a pace, on 4 nodes with %d MiB: while no copy moves, and while one node is drained and gets its share again. The throughput should stay above 0.8, the p99 of GET under 3 times.\n\n", r.dataMiB)
	b.WriteString("| round | requests/s alone | beside moves | ratio | GET p99 alone | beside | ratio | SET p99 alone | beside | ratio | failed | MB/s moved |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for i := range r.beside {
		o := &r.beside[i]
		fmt.Fprintf(b, "| %d | %.0f | %.0f | **%.2f** | %s | %s | %d | %.0f |\n", i+1, o.rate(false), o.rate(true), o.rate(true)/o.rate(false),
			o.p99(isGet), o.p99(isSet), sum(failures(o.alone))+sum(failures(o.moving)), float64(o.sent)/1e6/o.movingFor.Seconds())
	}
}

// p99 returns the p99 of requests of a kind without and with moves, and their ratio, as cells of a table.
func (o *beside) p99(is func(request) bool) string {
	alone, moving := quantile(took(o.alone, is), 0.99), quantile(took(o.moving, is), 0.99)
	return fmt.Sprintf("%s | %s | **%.2f**", latency.Format(alone), latency.Format(moving), float64(moving)/float64(max(1, alone)))
}

func quantile(values []time.Duration, part float64) time.Duration {
	return latency.Quantile(values, part)
}

// cells returns p50, p99 and the maximum as cells of a table.
func cells(values []time.Duration) string {
	if len(values) == 0 {
		return "- | - | -"
	}
	return fmt.Sprintf("%s | %s | %s", latency.Format(quantile(values, 0.5)), latency.Format(quantile(values, 0.99)), latency.Format(quantile(values, 1)))
}
