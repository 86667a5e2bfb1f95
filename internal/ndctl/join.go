package ndctl

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ndring/ndring/cluster/view"
)

func joinCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "join HOST:GOSSIP-PORT", Short: "Ask a node to join a cluster", Args: cobra.ExactArgs(1),
		Long: `Asks the node at --addr (CLUSTER MEET) to join the cluster of the node whose gossip address is HOST:GOSSIP-PORT. A node joins a cluster
when it starts, so the node refuses, ndctl explains how to do it, and the exit code is 1.`,
		RunE: func(c *cobra.Command, args []string) error {
			host, port, err := net.SplitHostPort(args[0])
			if n, numberErr := strconv.Atoi(port); err != nil || numberErr != nil || n < 1 || n > 65535 || host == "" {
				return usageError("join takes HOST:GOSSIP-PORT, such as node1:7946, not %q", args[0])
			}
			return a.withSession(c.Context(), func(s *session) error { return join(c.Context(), s, host, port) })
		},
	}
}

func join(ctx context.Context, s *session, host, port string) error {
	m := s.self()
	ip := host
	if found, err := net.DefaultResolver.LookupHost(ctx, host); err == nil && len(found) > 0 {
		ip = found[0]
	}
	if err := m.do(ctx, "CLUSTER", "MEET", ip, port).Err(); err == nil || rightsHint(err) != "" || isConnectionError(err) {
		return err
	}
	seed := net.JoinHostPort(host, port)
	if len(s.members) > 1 {
		return failure(`%s is already a member of a cluster of %d nodes, and a running node cannot change its cluster.
To add another node to that cluster, start it with an empty folder:
  ndring --node-id NAME --dir FOLDER --shards %d --join %s
To move this node to another cluster: ndctl leave, stop it, and start it as above.`, m.Label(), len(s.members), len(s.cluster.Shards), seed)
	}
	return failure(`%s is a cluster of one node, and a node joins another cluster only when it starts. Stop it, and start it with an empty folder:
  ndring --node-id NAME --dir FOLDER --shards N --join %s
where N is the number of shards of that cluster (ndctl status). Its arrays stay in the old folder: copy them with ndctl get and put.
Alternatively, start the other nodes with --join and the gossip address of %s: they become members of its cluster, and it keeps its arrays.`, m.Label(), seed, m.Label())
}

func forgetCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "forget NODE", Short: "Remove a node that is lost for good", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Removes a node that is lost for good from the cluster (CLUSTER FORGET). NODE is its name, its id, or the beginning of either. Shards whose only copy was on it
start empty on other nodes: their arrays are lost. Do not use it for a node that is alive: let that leave, or stop it first.`,
		Example: "  ndctl forget node3\n  ndctl forget 40b3eab6 --yes",
	}
	yes := yesFlag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.find(args[0])
			if err != nil {
				return err
			}
			if m.Up && !m.self {
				return fmt.Errorf("%s is alive, as %s sees it: let it leave (ndctl leave %[1]s), or stop it first", m.Label(), s.self().Label())
			}
			if err := a.prompt.confirm(*yes, forgetQuestion(s.cluster, m)); err != nil {
				return err
			}
			return forget(c.Context(), s, a.out, m)
		})
	}
	return c
}

// forgetQuestion says what is lost with a node.
func forgetQuestion(c *view.Cluster, m *member) string {
	only := 0
	for _, s := range c.Shards {
		if slices.Contains(s.InSync, m.ID) && len(s.InSync) == 1 {
			only++
		}
	}
	loss := "Every shard on it has another copy."
	if only > 0 {
		loss = fmt.Sprintf("It has the only copy of %s: THEIR ARRAYS WILL BE LOST.", plural(only, "shard"))
	}
	return fmt.Sprintf("Forget %s (%s)? %s", m.Label(), m.ID, loss)
}

// forget removes a node through the node that was asked first, or through any other live node if
// that is the one to forget.
func forget(ctx context.Context, s *session, p *printer, gone *member) error {
	through := s.self()
	for _, m := range s.members {
		if through == gone && m != gone && m.Up && m.client != nil {
			through = m
		}
	}
	if through == gone {
		return fmt.Errorf("%s cannot forget itself, and no other node answers", gone.Label())
	}
	if err := s.propose(ctx, through, checkNodes, "CLUSTER", "FORGET", string(gone.ID)); err != nil {
		return p.failures(nodeFailures{{through, err}})
	}
	p.printf("%s is forgotten\n", gone.Label())
	return nil
}
