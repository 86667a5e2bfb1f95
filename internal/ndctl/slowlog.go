package ndctl

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) slowlogCommand() *cobra.Command {
	var count int
	c := &cobra.Command{
		Use: "slowlog", Short: "Show the slow commands of all nodes", Args: cobra.NoArgs,
		Long: "Shows the commands that took long to execute (slowlog-log-slower-than), of all nodes, the newest first.",
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1 {
				return usageError("--count must be at least 1")
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.slowlog(c.Context(), count) })
		},
	}
	c.Flags().IntVarP(&count, "count", "n", 20, "how many commands to show")
	return document(c, []slowReport{})
}

type slowReport struct {
	Node    string   `json:"node" doc:"name of the node that executed it"`
	ID      int64    `json:"id" doc:"its number there"`
	At      int64    `json:"time" doc:"when, in s since 1970"`
	Micros  int64    `json:"duration_us" doc:"how long it took, in µs"`
	Command []string `json:"command" doc:"name and arguments; long ones are cut, passwords left out"`
	Client  string   `json:"client" doc:"address of the client"`
	Name    string   `json:"client_name,omitempty" doc:"and its name"`
}

func (v *view) slowlog(ctx context.Context, count int) error {
	var mu sync.Mutex // guards all
	all := []slowReport{}
	failed := each(ctx, v.nodes, func(ctx context.Context, _ int, m *member) error {
		reply, err := m.do(ctx, "SLOWLOG", "GET", count).Slice()
		mu.Lock()
		defer mu.Unlock()
		for _, e := range reply {
			if r, ok := slowOf(m.label(), e); ok {
				all = append(all, r)
			}
		}
		return err
	})
	slices.SortFunc(all, func(a, b slowReport) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Node, b.Node), cmp.Compare(b.ID, a.ID))
	})
	all = all[:min(count, len(all))]
	if err := v.app.show(all, func() { v.app.writeSlowlog(all, time.Local) }); err != nil {
		return err
	}
	return v.app.partial(failed)
}

// slowOf reads an entry of SLOWLOG GET.
func slowOf(node string, entry any) (r slowReport, ok bool) {
	fields, _ := entry.([]any)
	if len(fields) < 6 {
		return r, false
	}
	args, _ := fields[3].([]any)
	r = slowReport{Node: node, Client: fmt.Sprint(fields[4]), Name: fmt.Sprint(fields[5]), Command: []string{}}
	r.ID, _ = fields[0].(int64)
	r.At, _ = fields[1].(int64)
	r.Micros, _ = fields[2].(int64)
	for _, arg := range args {
		r.Command = append(r.Command, fmt.Sprint(arg))
	}
	return r, true
}

func (a *app) writeSlowlog(all []slowReport, zone *time.Location) {
	t := newTable("TIME", "NODE", "TOOK", "CLIENT", "COMMAND")
	for _, r := range all {
		t.add(text(time.Unix(r.At, 0).In(zone).Format("2006-01-02 15:04:05")), text(r.Node), rightly((time.Duration(r.Micros) * time.Microsecond).String()),
			text(strings.TrimSpace(r.Client+" "+r.Name)), text(quoted(r.Command)))
	}
	a.writeTable(t)
}

// quoted writes a command so that it can be read, whatever bytes are in it.
func quoted(words []string) string {
	var shown []string
	for _, w := range words {
		if strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) || w == "" {
			w = strconv.QuoteToASCII(w)
		}
		shown = append(shown, w)
	}
	return strings.Join(shown, " ")
}
