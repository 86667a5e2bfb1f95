package ndctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func topCommand(a *app) *cobra.Command {
	var interval time.Duration
	var once, shards bool
	var count int
	c := &cobra.Command{
		Use: "top", Short: "Show the load of the nodes or shards, and keep it up to date", Args: cobra.NoArgs,
		Long: `Shows the load of each node until Ctrl-C: commands and bytes per second, keys, memory, and the share of reads that found their key, all since the last refresh.
With --shards it shows the hottest shards instead: their reads and writes per second, keys, bytes, and their share of all reads and writes.
With --once, with --json, or without a terminal, it shows the load once.`,
		Example: "  ndctl top\n  ndctl top --shards -n 20",
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case interval < time.Millisecond:
				return usageError("--interval must be at least 1ms")
			case count < 1:
				return usageError("--count must be at least 1")
			case c.Flags().Changed("count") && !shards:
				return usageError("--count needs --shards")
			}
			once = once || a.out.json || !isTerminal(a.out.out)
			return a.withSession(c.Context(), func(s *session) error {
				if shards {
					return showHotShards(c.Context(), s, a.out, interval, once, count)
				}
				return showTop(c.Context(), s, a.out, interval, once)
			})
		},
	}
	c.Flags().DurationVarP(&interval, "interval", "i", time.Second, "time between two refreshes")
	c.Flags().BoolVar(&once, "once", false, "show the load once")
	c.Flags().BoolVar(&shards, "shards", false, "show the hottest shards instead of the nodes")
	c.Flags().IntVarP(&count, "count", "n", 10, "how many shards to show")
	return documentFlag(document(c, loadReports{}), "--shards", hotShardReports{})
}

type loadReports []loadReport

type loadReport struct {
	Name    string   `json:"name" doc:"name of the node"`
	Ops     *float64 `json:"ops_per_second" doc:"commands per second; null if the node does not answer"`
	Keys    *int64   `json:"keys" doc:"number of its keys; null if it does not answer"`
	Memory  *int64   `json:"memory_bytes" doc:"memory that it uses; null if it does not answer"`
	In      *float64 `json:"bytes_in_per_second" doc:"bytes from clients per second; null if it does not answer"`
	Out     *float64 `json:"bytes_out_per_second" doc:"bytes to clients per second; null if it does not answer"`
	Hits    *float64 `json:"hit_ratio" doc:"share of the reads that found their key, from 0 to 1; null without reads"`
	Clients *int64   `json:"clients" doc:"connected clients; null if it does not answer"`
	Error   string   `json:"error,omitempty" doc:"why it does not answer"`
	state   string   // of a node that does not answer
}

func showTop(ctx context.Context, s *session, p *printer, interval time.Duration, once bool) error {
	before, _ := s.infos(ctx, "INFO")
	for {
		if !sleep(ctx, interval) {
			return nil // Ctrl-C is the normal end
		}
		now, failed := s.infos(ctx, "INFO")
		if ctx.Err() != nil {
			return nil
		}
		reports := make(loadReports, len(s.members))
		for i, m := range s.members {
			reports[i] = newLoadReport(m.Label(), before[i], now[i], failed.of(m))
		}
		if !once {
			p.printf("\x1b[H\x1b[2J")
		}
		if err := p.show(reports); err != nil {
			return err
		}
		if once {
			return p.failures(failed)
		}
		before = now
	}
}

// newLoadReport compares two infos of a node, by the node's own clock.
func newLoadReport(name string, before, now info, failed error) loadReport {
	r := loadReport{Name: name}
	if failed != nil {
		r.Error, r.state = explain(failed), stateOf(failed)
		return r
	}
	if before == nil || before["run_id"] != now["run_id"] || before.number("uptime_in_seconds") > now.number("uptime_in_seconds") {
		before = now // the node has been restarted
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

func (all loadReports) print(p *printer) {
	t := newTable("NODE", "OPS/S", "KEYS", "MEMORY", "IN/S", "OUT/S", "HITS", "CLIENTS")
	for _, r := range all {
		if r.Error != "" {
			t.add(tinted(red, r.Name), rightAligned(r.state), unknown, unknown, unknown, unknown, unknown, unknown)
			continue
		}
		hits := unknown
		if r.Hits != nil {
			hits = rightAligned(fmt.Sprintf("%.1f %%", 100**r.Hits))
		}
		t.add(text(r.Name), rightAligned(fmt.Sprintf("%.0f", *r.Ops)), number(*r.Keys), size(*r.Memory), size(int64(*r.In)), size(int64(*r.Out)), hits, number(*r.Clients))
	}
	t.print(p)
}
