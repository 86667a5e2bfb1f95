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

func slowlogCommand(a *app) *cobra.Command {
	var count int
	c := &cobra.Command{
		Use: "slowlog", Short: "Show the slow commands of all nodes", Args: cobra.NoArgs,
		Long: "Shows the commands of all nodes that took long to execute (slowlog-log-slower-than), the newest first.",
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1 {
				return usageError("--count must be at least 1")
			}
			return a.withSession(c.Context(), func(s *session) error { return showSlowlog(c.Context(), s, a.out, count) })
		},
	}
	c.Flags().IntVarP(&count, "count", "n", 20, "how many commands to show")
	return document(c, slowReports{})
}

type slowReports []slowReport

type slowReport struct {
	Node    string   `json:"node" doc:"name of the node that executed the command"`
	ID      int64    `json:"id" doc:"number of the entry on that node"`
	At      int64    `json:"time" doc:"when it was executed, as Unix time in seconds"`
	Micros  int64    `json:"duration_us" doc:"how long it took, in microseconds"`
	Command []string `json:"command" doc:"name and arguments; long ones are cut, passwords are left out"`
	Client  string   `json:"client" doc:"address of the client"`
	Name    string   `json:"client_name,omitempty" doc:"name of the client"`
}

func showSlowlog(ctx context.Context, s *session, p *printer, count int) error {
	var mu sync.Mutex // guards all
	all := slowReports{}
	failed := each(ctx, s.members, func(ctx context.Context, _ int, m *member) error {
		reply, err := m.do(ctx, "SLOWLOG", "GET", count).Slice()
		mu.Lock()
		defer mu.Unlock()
		for _, entry := range reply {
			if r, ok := parseSlow(m.Label(), entry); ok {
				all = append(all, r)
			}
		}
		return err
	})
	slices.SortFunc(all, func(a, b slowReport) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Node, b.Node), cmp.Compare(b.ID, a.ID))
	})
	all = all[:min(count, len(all))]
	if err := p.show(all); err != nil {
		return err
	}
	return p.failures(failed)
}

// parseSlow reads an entry of SLOWLOG GET.
func parseSlow(node string, entry any) (r slowReport, ok bool) {
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

func (all slowReports) print(p *printer) {
	t := newTable("TIME", "NODE", "TOOK", "CLIENT", "COMMAND")
	for _, r := range all {
		t.add(text(time.Unix(r.At, 0).Format(time.DateTime)), text(r.Node), rightAligned((time.Duration(r.Micros) * time.Microsecond).String()),
			text(strings.TrimSpace(r.Client+" "+r.Name)), text(quoted(r.Command)))
	}
	t.print(p)
}

// quoted joins the words of a command and quotes those with bytes that are not printable ASCII.
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
