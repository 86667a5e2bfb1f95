package ndctl

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

const checkShards = "check ndctl shards --unserved"

func beginEmptyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "begin-empty SHARD...", Short: "Let shards begin empty whose last copy was wiped", Args: cobra.MinimumNArgs(1),
		Long: `Lets shards begin empty whose last copy is lost because its node came back with another data folder (CLUSTER BEGIN-EMPTY). SHARD is a number of ` + "`shards`" + `, or all for
all shards that wait for it. With the setting empty-shards auto they begin empty by themselves, a minute after the node came back. If you still have the old folder, stop the
node and start it with that instead.

Before you use it, make sure that the old process of the node has ended: if it runs somewhere, cut off from the cluster, its clients still read and write the old arrays.`,
		Example: "  ndctl begin-empty all\n  ndctl begin-empty 5 12 --yes",
	}
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			report, err := newBeginEmptyReport(s.cluster, args)
			if err != nil {
				return err
			}
			if len(report.Shards) == 0 {
				return a.out.show(report)
			}
			if err := a.prompt.confirm(*yes, report.question()); err != nil {
				return err
			}
			order := []any{"CLUSTER", "BEGIN-EMPTY"}
			for _, shard := range report.Shards {
				order = append(order, shard)
			}
			if err := s.propose(c.Context(), s.self(), checkShards, order...); err != nil {
				return a.out.failures(nodeFailures{{s.self(), err}})
			}
			return a.out.show(report)
		})
	}
	return document(c, beginEmptyReport{})
}

type beginEmptyReport struct {
	Shards []int    `json:"shards" doc:"numbers of the shards that begin empty"`
	Nodes  []string `json:"nodes" doc:"names of the nodes that had their last copies"`
}

// newBeginEmptyReport returns the shards that the arguments name. Each must wait to begin empty.
func newBeginEmptyReport(c *view.Cluster, args []string) (beginEmptyReport, error) {
	r := beginEmptyReport{Shards: []int{}, Nodes: []string{}}
	waiting := c.Wiped()
	if len(args) == 1 && args[0] == "all" {
		r.Shards = append(r.Shards, waiting...)
	} else {
		for _, arg := range args {
			shard, err := strconv.Atoi(arg)
			switch {
			case err != nil:
				return r, usageError("%q is not the number of a shard", arg)
			case shard < 0 || shard >= len(c.Shards):
				return r, fmt.Errorf("there is no shard %d: the cluster has %s", shard, plural(len(c.Shards), "shard"))
			case !slices.Contains(waiting, shard):
				return r, fmt.Errorf("shard %d does not wait to begin empty: %s", shard, stateOfShard(c, shard))
			case !slices.Contains(r.Shards, shard):
				r.Shards = append(r.Shards, shard)
			}
		}
	}
	for _, shard := range r.Shards {
		for _, name := range c.Labels(c.Shards[shard].WaitsOn) {
			if !slices.Contains(r.Nodes, name) {
				r.Nodes = append(r.Nodes, name)
			}
		}
	}
	return r, nil
}

// stateOfShard says why a shard does not wait to begin empty.
func stateOfShard(c *view.Cluster, shard int) string {
	s := &c.Shards[shard]
	switch {
	case s.Primary != "":
		return "its primary is " + c.Label(s.Primary)
	case s.WaitsFor == topology.WaitsForNode:
		return "it begins empty as soon as a node can serve it"
	}
	return "it has a copy on " + strings.Join(c.Labels(s.InSync), ", ") + ". If that is lost for good: ndctl forget"
}

func (r beginEmptyReport) question() string {
	return fmt.Sprintf("Let %s begin empty? Their last copies were on %s: THEIR ARRAYS WILL BE LOST.", plural(len(r.Shards), "shard"), strings.Join(r.Nodes, ", "))
}

func (r beginEmptyReport) print(p *printer) {
	if len(r.Shards) == 0 {
		p.printf("no shard waits to begin empty\n")
		return
	}
	p.printf("%s may begin empty\n", plural(len(r.Shards), "shard"))
}
