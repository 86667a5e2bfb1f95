package ndctl

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

func (a *app) joinCommand() *cobra.Command {
	return &cobra.Command{
		Use: "join HOST:GOSSIP-PORT", Short: "Have a node join the cluster at an address", Args: cobra.ExactArgs(1),
		Long: `Asks the node at --addr (CLUSTER MEET) to become a member of the cluster of which a node gossips at HOST:GOSSIP-PORT. Nodes join
when they start, so that it answers how this is done; exit code 1 then, as nothing has joined.`,
		RunE: func(c *cobra.Command, args []string) error {
			host, port, err := net.SplitHostPort(args[0])
			if n, numberErr := strconv.Atoi(port); err != nil || numberErr != nil || n < 1 || n > 65535 || host == "" {
				return usageError("join takes HOST:GOSSIP-PORT, such as node1:7946, not %q", args[0])
			}
			return a.onCluster(c.Context(), func(v *view) error { return v.join(c.Context(), host, port) })
		},
	}
}

func (v *view) join(ctx context.Context, host, port string) error {
	m := v.byID(v.told.Self)
	ip := host
	if found, err := net.DefaultResolver.LookupHost(ctx, host); err == nil && len(found) > 0 {
		ip = found[0]
	}
	if err := m.do(ctx, "CLUSTER", "MEET", ip, port).Err(); err == nil || rightsHint(err) != "" || lost(err) {
		return err
	}
	from := net.JoinHostPort(host, port)
	if len(v.nodes) > 1 {
		return failed(`%s is a member of a cluster of %d nodes already, and a node does not change its cluster while it runs.
To add another node to that cluster, start it with an empty folder:
  ndring --node-id NAME --dir FOLDER --shards %d --join %s
To move this node elsewhere: ndctl leave, stop it, and start it so.`, m.label(), len(v.nodes), len(v.told.Shards), from)
	}
	return failed(`%s is a cluster of one, and a node joins another cluster when it starts. Stop it, and start it with an empty folder:
  ndring --node-id NAME --dir FOLDER --shards N --join %s
where N is the number of shards of that cluster (ndctl status). What it has now stays in its old folder: copy it with ndctl get and put.
The other way round, nodes that are started with --join and the gossip address of %s become members of its cluster, and it keeps what it has.`, m.label(), from, m.label())
}

func (a *app) forgetCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "forget NODE", Short: "Give up a node that is gone for good", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Gives up a node that is gone for good (CLUSTER FORGET), by its name, its id, or the beginning of either. The shards of which it had the only copy begin empty
elsewhere: their arrays are given up. Not for a node that lives: that leaves, or is stopped first.`,
		Example: "  ndctl forget node3\n  ndctl forget 40b3eab6 --yes",
	}
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.onCluster(c.Context(), func(v *view) error {
			m, err := v.find(args[0])
			if err != nil {
				return err
			}
			if m.Up && !m.self {
				return fmt.Errorf("%s is alive, as %s sees it: have it leave (ndctl leave %[1]s), or stop it first", m.label(), v.nameOf(v.told.Self))
			}
			if err := a.confirm(*yes, v.forgetQuestion(m)); err != nil {
				return err
			}
			return v.forget(c.Context(), m)
		})
	}
	return c
}

// forgetQuestion says what is given up with a node.
func (v *view) forgetQuestion(m *member) string {
	only := 0
	for _, s := range v.told.Shards {
		if slices.Contains(s.InSync, m.ID) && len(s.InSync) == 1 {
			only++
		}
	}
	loss := "It has no shard of which there is no other copy."
	if only > 0 {
		loss = fmt.Sprintf("It has the only copy of %s: THEIR ARRAYS ARE GIVEN UP.", plural(only, "shard"))
	}
	return fmt.Sprintf("Forget %s (%s)? %s", m.label(), m.ID, loss)
}

// forget has a node of those that live take it out: the one that was asked, or else any other.
func (v *view) forget(ctx context.Context, gone *member) error {
	through := v.byID(v.told.Self)
	for _, m := range v.nodes {
		if through == gone && m != gone && m.Up && m.client != nil {
			through = m
		}
	}
	if through == gone {
		return fmt.Errorf("%s cannot be forgotten by itself: %w", gone.label(), errNobody)
	}
	if err := v.decide(ctx, through, lookAtNodes, "CLUSTER", "FORGET", gone.ID); err != nil {
		return v.app.partial([]failure{{through, err}})
	}
	fmt.Fprintf(v.app.out, "%s is forgotten\n", gone.label())
	return nil
}
