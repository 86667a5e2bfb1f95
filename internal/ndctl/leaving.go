package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	lookAtNodes = "look at ndctl nodes and ndctl raft status"
	lookAgain   = 100 * time.Millisecond // while a node leaves
)

func (a *app) leaveCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "leave [NODE]", Short: "Have a node leave the cluster in order", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Has a node hand over its shards and leave the cluster (CLUSTER LEAVE): the one that is named, or else the one at --addr. It has to be empty, since shards
with arrays do not move: a node with keys refuses, and stays as it is. It may be stopped when nodes at another node does not list it any more, and status is well
there: its vote has to be another's first. --wait waits for that. There is no way back but to let it leave: started anew after that, it joins again.
Exit code 1 if it refuses, or has not left within --wait-timeout, when it goes on leaving.`,
		Example: "  ndctl leave node3 --wait\n  ndctl leave node3 --yes --wait --wait-timeout 5m && docker stop node3",
	}
	yes := yesFlag(c)
	wait := c.Flags().Bool("wait", false, "wait until it is out of the cluster")
	limit := c.Flags().Duration("wait-timeout", time.Minute, "how long --wait waits")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *limit <= 0 {
			return usageError("--wait-timeout must be longer than nothing")
		}
		return a.onCluster(c.Context(), func(v *view) error {
			m, err := v.meant(strings.Join(args, ""), "NODE")
			if err != nil {
				return err
			}
			if err := a.confirm(*yes, fmt.Sprintf("Have %s leave the cluster?", m.label())); err != nil {
				return err
			}
			if err := v.decide(c.Context(), m, lookAtNodes, "CLUSTER", "LEAVE"); err != nil {
				return a.partial([]failure{{m, err}})
			}
			if !*wait {
				fmt.Fprintf(a.out, "%s leaves: it hands over its shards and takes no others. When ndctl nodes at another node does not list it any more, and ndctl status is well, stop it\n", m.label())
				return nil
			}
			if err := v.awaitGone(c.Context(), m, *limit); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s has left the cluster: stop it\n", m.label())
			return nil
		})
	}
	return c
}

// awaitGone waits until other nodes know a topology without a node, and decide without it: one that leads or votes must not be stopped before its vote is another's.
func (v *view) awaitGone(ctx context.Context, gone *member, limit time.Duration) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	shards := -1 // that it serves; below 0 while nobody has said
	for {
		if t := v.askOthers(within, gone); t != nil {
			at := slices.IndexFunc(t.Nodes, func(n toldNode) bool { return n.ID == gone.ID })
			switch {
			case at < 0 && t.Quorum && t.Leader != "" && t.Leader != gone.ID && !slices.Contains(t.Voters, gone.ID):
				return nil
			case at >= 0 && !t.Nodes[at].Leaving && t.Nodes[at].Started != gone.Started:
				return fmt.Errorf("%s has left the cluster, and has joined it again since: it was started anew", gone.label())
			}
			shards = 0
			for _, s := range t.Shards {
				if s.Primary == gone.ID {
					shards++
				}
			}
		}
		if !wait(within, lookAgain) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%s has not left within %s: %s", gone.label(), limit, v.whyStays(ctx, gone, shards))
}

// askOthers returns the topology that another node knows; nil if none answers.
func (v *view) askOthers(ctx context.Context, but *member) *told {
	for _, m := range v.nodes {
		if m == but || m.client == nil || !m.Up {
			continue
		}
		if t, err := askTopology(ctx, m.client); err == nil {
			return t
		}
	}
	return nil
}

// whyStays says what keeps a node from leaving.
func (v *view) whyStays(ctx context.Context, m *member, shards int) string {
	i, err := m.ask(ctx, "INFO", "keyspace")
	switch {
	case shards < 0:
		return "no other node answers that could say how far it is"
	case shards == 0:
		return "it serves no shard any more, but the others do not decide without it yet; " + lookAtNodes
	case err == nil && i.keys() > 0:
		return fmt.Sprintf("it still serves %s, and has %s. Shards with arrays do not move: once these keys are deleted it goes on (ndctl bigkeys, FLUSHALL on that node)",
			plural(shards, "shard"), plural(int(i.keys()), "key"))
	}
	return fmt.Sprintf("it still serves %s, and goes on handing them over; %s", plural(shards, "shard"), lookAtNodes)
}
