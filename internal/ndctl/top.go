package ndctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) topCommand() *cobra.Command {
	var interval time.Duration
	var once bool
	c := &cobra.Command{
		Use: "top", Short: "Show what the nodes do, again and again", Args: cobra.NoArgs,
		Long: `Shows what the nodes do, again and again until Ctrl-C: commands and bytes a second, keys, memory, and how many reads found their key, all since the last look.
With --once, with --json, and where there is no terminal, it looks once.`,
		RunE: func(c *cobra.Command, _ []string) error {
			if interval < time.Millisecond {
				return usageError("--interval must be at least 1ms")
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.top(c.Context(), interval, once || a.json || !terminal(a.out)) })
		},
	}
	c.Flags().DurationVarP(&interval, "interval", "i", time.Second, "time between two looks")
	c.Flags().BoolVar(&once, "once", false, "look once")
	return document(c, []loadReport{})
}

type loadReport struct {
	Name    string   `json:"name" doc:"of the node"`
	Ops     *float64 `json:"ops_per_second" doc:"commands; null if the node does not answer"`
	Keys    *int64   `json:"keys" doc:"keys that it has; likewise"`
	Memory  *int64   `json:"memory_bytes" doc:"memory that it uses; likewise"`
	In      *float64 `json:"bytes_in_per_second" doc:"bytes from clients; likewise"`
	Out     *float64 `json:"bytes_out_per_second" doc:"bytes to clients; likewise"`
	Hits    *float64 `json:"hit_ratio" doc:"part of the reads that found their key, from 0 to 1; null too if there were none"`
	Clients *int64   `json:"clients" doc:"connections of clients; likewise"`
	Error   string   `json:"error,omitempty" doc:"why it does not answer"`
	absent  string   // the state of one that does not answer
}

func (v *view) top(ctx context.Context, interval time.Duration, once bool) error {
	before, _ := v.infos(ctx, "INFO")
	for {
		if !wait(ctx, interval) {
			return nil // Ctrl-C is how this ends
		}
		now, failed := v.infos(ctx, "INFO")
		if ctx.Err() != nil {
			return nil
		}
		reports := make([]loadReport, len(v.nodes))
		for i, m := range v.nodes {
			reports[i] = loadOf(m.label(), before[i], now[i], errorOf(failed, m))
		}
		if !once {
			fmt.Fprint(v.app.out, "\x1b[H\x1b[2J")
		}
		if err := v.app.show(reports, func() { v.app.writeLoad(reports) }); err != nil {
			return err
		}
		if once {
			return v.app.partial(failed)
		}
		before = now
	}
}

// loadOf compares two looks at a node, by its own clock.
func loadOf(name string, before, now info, failed error) loadReport {
	r := loadReport{Name: name}
	if failed != nil {
		r.Error, r.absent = words(failed), absence(failed)
		return r
	}
	if before == nil || before["run_id"] != now["run_id"] || before.number("uptime_in_seconds") > now.number("uptime_in_seconds") {
		before = now // it was started meanwhile
	}
	seconds := float64(now.number("server_time_usec")-before.number("server_time_usec")) / 1e6
	rate := func(field string) *float64 {
		x := 0.0
		if n := now.number(field) - before.number(field); seconds > 0 && n > 0 {
			x = float64(n) / seconds
		}
		return &x
	}
	r.Ops, r.In, r.Out = rate("total_commands_processed"), rate("total_net_input_bytes"), rate("total_net_output_bytes")
	r.Keys, r.Memory, r.Clients = pointer(now.keys()), pointer(now.number("used_memory")), pointer(now.number("connected_clients"))
	hits, misses := now.number("keyspace_hits")-before.number("keyspace_hits"), now.number("keyspace_misses")-before.number("keyspace_misses")
	if hits >= 0 && misses >= 0 && hits+misses > 0 {
		ratio := float64(hits) / float64(hits+misses)
		r.Hits = &ratio
	}
	return r
}

func (a *app) writeLoad(all []loadReport) {
	t := newTable("NODE", "OPS/S", "KEYS", "MEMORY", "IN/S", "OUT/S", "HITS", "CLIENTS")
	for _, r := range all {
		if r.Error != "" {
			t.add(tinted(red, r.Name), rightly(r.absent), unknown, unknown, unknown, unknown, unknown, unknown)
			continue
		}
		hits := unknown
		if r.Hits != nil {
			hits = rightly(fmt.Sprintf("%.1f %%", 100**r.Hits))
		}
		t.add(text(r.Name), rightly(fmt.Sprintf("%.0f", *r.Ops)), number(*r.Keys), sizeCell(*r.Memory), sizeCell(int64(*r.In)), sizeCell(int64(*r.Out)), hits, number(*r.Clients))
	}
	a.writeTable(t)
}
