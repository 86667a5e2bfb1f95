package ndctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func failoverCommand(a *app) *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "failover [SHARD...]", Short: "Hand shards over to a node that has copies of them",
		Long: `Makes a node the primary of shards of which it has clean in-sync copies (CLUSTER FAILOVER): of the shards that are named, or else of all such shards.
Their primaries hand them over without a failed request. For a minute the node keeps them, even where another node is the preferred primary.
If a primary is down, the cluster promotes a clean copy by itself. --takeover promotes what the node has although no clean copy is left or known: it
vouches that the old primaries are off for good, and acknowledged writes that the node lacks are lost.`,
		Example: "  ndctl failover --node node2\n  ndctl failover 17 42 --node node2\n  ndctl failover --node node2 --takeover",
	}
	a.nodeFlag(c, &node, "the node that gets the shards; by default the one at --addr")
	takeover := c.Flags().Bool("takeover", false, "promote copies that may lack acknowledged writes")
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, shard := range args {
			if _, err := strconv.ParseUint(shard, 10, 31); err != nil {
				return usageError("%q is not the number of a shard", shard)
			}
		}
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.targetNode(node, "--node")
			if err != nil {
				return err
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
			a.out.printf("%s serves the shards\n", m.Label())
			return nil
		})
	}
	return c
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
