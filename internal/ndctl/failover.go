package ndctl

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

func failoverCommand(a *app) *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "failover [SHARD...]", Short: "Hand shards over to a node that has copies of them",
		Long: `Makes a node the primary of shards of which it has clean in-sync copies (CLUSTER FAILOVER): of the shards that are named, or else of all such shards.
Their primaries hand them over without a failed request. For a minute the node keeps them, even where another node is the preferred primary.
If a primary is down, the cluster promotes a clean copy by itself. --takeover promotes what the node has although no clean copy is left or known: it
vouches that the old primaries are off for good, and acknowledged writes that the node lacks are lost. --plan only shows which shards would change their primary.`,
		Example: "  ndctl failover --node node2 --plan\n  ndctl failover --node node2\n  ndctl failover 17 42 --node node2\n  ndctl failover --node node2 --takeover",
	}
	a.nodeFlag(c, &node, "the node that gets the shards; by default the one at --addr")
	plan := false
	planFlag(c, &plan)
	takeover := c.Flags().Bool("takeover", false, "promote copies that may lack acknowledged writes")
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, shard := range args {
			if _, err := strconv.ParseUint(shard, 10, 31); err != nil {
				return usageError("%q is not the number of a shard", shard)
			}
		}
		if plan && *takeover {
			return usageError("--plan and --takeover exclude each other")
		}
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.targetNode(node, "--node")
			if err != nil {
				return err
			}
			report := newFailoverReport(s.cluster, m, args)
			if plan {
				return showFailoverPlan(a.out, report)
			}
			if *takeover {
				if err := a.prompt.confirm(*yes, fmt.Sprintf("Promote the copies of %s, and lose what they lack?", m.Label())); err != nil {
					return err
				}
			}
			for _, request := range failoverRequests(args, *takeover) {
				if err := s.propose(c.Context(), m, "check ndctl shards", request...); err != nil {
					return a.out.failures(nodeFailures{{m, err}})
				}
			}
			report.Started = true
			return a.out.show(report)
		})
	}
	return document(c, &failoverReport{})
}

// failoverReport is what a failover would do, or has done.
type failoverReport struct {
	Node     string                `json:"node" doc:"name of the node that gets the shards"`
	Shards   []failoverShardReport `json:"shards" doc:"shards that get another primary, as the node that was asked sees them; not those of --takeover"`
	Problems []string              `json:"problems" doc:"why shards that are named do not, in words that may change"`
	Started  bool                  `json:"started" doc:"true if it was done, false with --plan"`
}

type failoverShardReport struct {
	Shard   int    `json:"shard" doc:"number of the shard"`
	First   int    `json:"first_slot" doc:"its first slot"`
	Last    int    `json:"last_slot" doc:"its last slot"`
	Primary string `json:"primary" doc:"name of its present primary; empty if it has none"`
}

// newFailoverReport returns which of the named shards, or of all, a node gets.
func newFailoverReport(c *view.Cluster, m *member, named []string) *failoverReport {
	r := &failoverReport{Node: m.Label(), Shards: []failoverShardReport{}, Problems: []string{}}
	wanted := map[int]bool{}
	for _, arg := range named {
		shard, _ := strconv.Atoi(arg) // it was checked
		if wanted[shard] = true; shard >= len(c.Shards) {
			r.Problems = append(r.Problems, fmt.Sprintf("there is no shard %d: the cluster has %s", shard, plural(len(c.Shards), "shard")))
		}
	}
	for i := range c.Shards {
		row := &c.Shards[i]
		if len(named) > 0 && !wanted[i] {
			continue
		}
		switch why := whyNoFailover(row, m); {
		case why == "":
			first, last := c.Slots(i)
			r.Shards = append(r.Shards, failoverShardReport{i, first, last, c.Label(row.Primary)})
		case len(named) > 0:
			r.Problems = append(r.Problems, fmt.Sprintf("shard %d: %s %s", i, m.Label(), why))
		}
	}
	return r
}

// whyNoFailover says why a node cannot be made the primary of a shard, or "" if it can.
func whyNoFailover(row *view.Shard, m *member) string {
	switch {
	case row.Primary == m.ID:
		return "is its primary already"
	case !slices.Contains(row.Clean(), m.ID):
		return "has no clean in-sync copy of it"
	}
	return ""
}

func showFailoverPlan(p *printer, r *failoverReport) error {
	if len(r.Shards) == 0 && len(r.Problems) == 0 {
		r.Problems = append(r.Problems, r.Node+" has no clean in-sync copy of a shard of another primary")
	}
	if err := p.show(r); err != nil {
		return err
	}
	if len(r.Problems) > 0 {
		return errPrinted
	}
	return nil
}

func (r *failoverReport) print(p *printer) {
	if r.Started {
		p.printf("%s serves the shards\n", r.Node)
		return
	}
	if len(r.Shards) > 0 {
		t := newTable("SHARD", "SLOTS", "PRIMARY", "AFTERWARDS")
		for _, s := range r.Shards {
			t.add(number(int64(s.Shard)), text(slotsText(s.First, s.Last)), text(orDash(s.Primary)), text(r.Node))
		}
		t.print(p)
		p.printf("\n")
	}
	verb := "get"
	if len(r.Shards) == 1 {
		verb = "gets"
	}
	p.printf("%s %s %s as the primary\n", plural(len(r.Shards), "shard"), verb, r.Node)
	for _, problem := range r.Problems {
		p.printf("%s %s\n", p.paint(red, "problem:"), problem)
	}
}

// failoverRequests returns the commands for shards, or the one for all.
func failoverRequests(shards []string, takeover bool) (all [][]any) {
	add := func(args ...any) {
		if takeover {
			args = append(args, "TAKEOVER")
		}
		all = append(all, args)
	}
	if len(shards) == 0 {
		add("CLUSTER", "FAILOVER")
	}
	for _, shard := range shards {
		add("CLUSTER", "FAILOVER", "SHARD", shard)
	}
	return all
}
