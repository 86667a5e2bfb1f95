package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

const (
	checkNodes        = "check ndctl nodes and ndctl raft status"
	leavePollInterval = 100 * time.Millisecond
)

func leaveCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "leave [NODE]", Short: "Let a node leave the cluster in an orderly way", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Makes a node hand over its shards and leave the cluster (CLUSTER LEAVE): the named node, or else the node at --addr. It stays a member
until other nodes have copies of all of its shards. Stop the node only when ` + "`nodes`" + ` at another node no longer lists it and ` + "`status`" + ` there is healthy:
its vote must first move to another node. --wait waits for that. Leaving cannot be cancelled; started again afterwards, the node joins again.
The exit code is 1 if the node refuses, or has not left within --wait-timeout; it then continues to leave.`,
		Example: "  ndctl leave node3 --wait\n  ndctl leave node3 --yes --wait --wait-timeout 5m && docker stop node3",
	}
	yes := yesFlag(c)
	wait := c.Flags().Bool("wait", false, "wait until the node has left the cluster")
	limit := c.Flags().Duration("wait-timeout", time.Minute, "how long --wait waits")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *limit <= 0 {
			return usageError("--wait-timeout must be positive")
		}
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.targetNode(strings.Join(args, ""), "NODE")
			if err != nil {
				return err
			}
			if err := a.prompt.confirm(*yes, fmt.Sprintf("Let %s leave the cluster?", m.Label())); err != nil {
				return err
			}
			if err := s.propose(c.Context(), m, checkNodes, "CLUSTER", "LEAVE"); err != nil {
				return a.out.failures(nodeFailures{{m, err}})
			}
			if !*wait {
				a.out.printf("%s is leaving: it hands over its shards. Stop it when ndctl nodes at another node no longer lists it and ndctl status is healthy\n", m.Label())
				return nil
			}
			if err := awaitGone(c.Context(), s, m, *limit); err != nil {
				return err
			}
			a.out.printf("%s has left the cluster: stop it\n", m.Label())
			return nil
		})
	}
	return c
}

// awaitGone waits until another node sees a topology without the node and a quorum that does not
// need it: a leader or voter must not be stopped before its vote has moved.
func awaitGone(ctx context.Context, s *session, gone *member, limit time.Duration) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	shards := -1 // that it serves; negative until another node has answered
	for {
		if c := fetchFromOthers(within, s, gone); c != nil {
			n := c.Node(gone.ID)
			switch {
			case n == nil && c.Quorum && c.Leader != "" && c.Leader != gone.ID && !slices.Contains(c.Voters, gone.ID):
				return nil
			case n != nil && !n.Leaving && n.Incarnation != gone.Incarnation:
				return fmt.Errorf("%s has left the cluster and joined it again: it was restarted", gone.Label())
			}
			shards = 0
			for _, row := range c.Shards {
				if row.Primary == gone.ID {
					shards++
				}
			}
		}
		if !sleep(within, leavePollInterval) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s has not left within %s: %s", gone.Label(), limit, whyNotGone(ctx, gone, shards))
}

// fetchFromOthers returns the cluster as a node other than one sees it, or nil if none answers.
func fetchFromOthers(ctx context.Context, s *session, except *member) *view.Cluster {
	for _, m := range s.members {
		if m == except || m.client == nil || !m.Up {
			continue
		}
		if c, err := fetchCluster(ctx, m.client); err == nil {
			return c
		}
	}
	return nil
}

// whyNotGone says what keeps a node from leaving.
func whyNotGone(ctx context.Context, m *member, shards int) string {
	i, err := m.info(ctx, "INFO", "keyspace")
	switch {
	case shards < 0:
		return "no other node answers, so its progress is unknown"
	case shards == 0:
		return "it no longer serves any shard, but the others cannot decide without it yet; " + checkNodes
	case err == nil && i.keys() > 0:
		return fmt.Sprintf("it still serves %s with %s and continues to copy them to other nodes (ndctl shards --node shows how far it is)",
			plural(shards, "shard"), plural(int(i.keys()), "key"))
	}
	return fmt.Sprintf("it still serves %s and continues to hand them over; %s", plural(shards, "shard"), checkNodes)
}
