package ndctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func rebalanceCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "rebalance", Short: "Give each node its share of the shards", Args: cobra.NoArgs,
		Long: `Gives each node its share of the shards, by its weight (CLUSTER REBALANCE). It shows what moves and asks first; as few copies move as possible.
The cluster does so by itself when nodes join or leave, unless the setting rebalance is operator. Shards that were moved by hand are levelled too.
At most two copies at a node are on their way at once, and none to a node without room for it and a tenth more.`,
		Example: "  ndctl rebalance --plan\n  ndctl rebalance --wait",
	}
	o := a.orderFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			return o.run(c.Context(), s, "Move these copies?", "CLUSTER", "REBALANCE")
		})
	}
	return c
}

func moveCommand(a *app) *cobra.Command {
	var to, from string
	c := &cobra.Command{
		Use: "move SHARD", Short: "Move one copy of a shard to another node", Args: cobra.ExactArgs(1),
		Long: `Moves the copy of a shard from its preferred primary, or from the node of --from, to another node (CLUSTER MOVE). A node that has a copy already becomes the
preferred primary. The shard stays there until nodes join or leave, or until the next rebalance.`,
		Example: "  ndctl move 17 --to node4\n  ndctl move 17 --to node4 --from node2 --wait",
	}
	o := a.orderFlags(c)
	a.nodeFlagCalled("to", c, &to, "the node that gets the copy")
	a.nodeFlagCalled("from", c, &from, "the node that gives its copy up; by default the preferred primary")
	c.RunE = func(c *cobra.Command, args []string) error {
		shard, err := strconv.ParseUint(args[0], 10, 31)
		switch {
		case err != nil:
			return usageError("%q is not the number of a shard", args[0])
		case to == "":
			return usageError("--to is missing: the node that gets the copy")
		}
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.find(to)
			if err != nil {
				return err
			}
			command := []any{"CLUSTER", "MOVE", "SHARD", shard, "TO", string(m.ID)}
			if from != "" {
				giver, err := s.find(from)
				if err != nil {
					return err
				}
				command = append(command, "FROM", string(giver.ID))
			}
			return o.run(c.Context(), s, fmt.Sprintf("Move shard %d to %s?", shard, m.Label()), command...)
		})
	}
	return c
}

func drainCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "drain NODE", Short: "Move all copies of a node to others", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Moves all copies of a node to other nodes (CLUSTER DRAIN). The node stays a member without copies, for maintenance for example, until undrain. Clients
notice nothing: each copy is made elsewhere before this one goes.`,
		Example: "  ndctl drain node3 --plan\n  ndctl drain node3 --wait && docker stop node3",
	}
	o := a.orderFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.withSession(c.Context(), func(s *session) error {
			m, err := s.find(args[0])
			if err != nil {
				return err
			}
			return o.run(c.Context(), s, fmt.Sprintf("Drain %s?", m.Label()), "CLUSTER", "DRAIN", string(m.ID))
		})
	}
	return c
}

func undrainCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "undrain NODE", Short: "Give a drained node its share again", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Makes a node that is drained, or that has not left yet, stay (CLUSTER UNDRAIN). It gets its share of the shards again.`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.withSession(c.Context(), func(s *session) error {
				m, err := s.find(args[0])
				if err != nil {
					return err
				}
				if err := s.propose(c.Context(), s.self(), checkNodes, "CLUSTER", "UNDRAIN", string(m.ID)); err != nil {
					return a.out.failures(nodeFailures{{s.self(), err}})
				}
				a.out.printf("%s stays, and gets its share of the shards: ndctl moves shows how far it is\n", m.Label())
				return nil
			})
		},
	}
}

func replaceCommand(a *app) *cobra.Command {
	var with string
	c := &cobra.Command{
		Use: "replace OLD", Short: "Give the copies of a node to another one", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Gives the copies of the node OLD to the node of --with, and lets OLD leave the cluster (CLUSTER REPLACE). If OLD is dead, the copies are made anew from others.
Start the new node first. To keep it from getting a share of its own before, set rebalance to operator (ndctl config set rebalance operator --cluster).`,
		Example: "  ndctl replace node3 --with node6 --plan\n  ndctl replace node3 --with node6 --wait",
	}
	o := a.orderFlags(c)
	a.nodeFlagCalled("with", c, &with, "the node that gets the copies")
	c.RunE = func(c *cobra.Command, args []string) error {
		if with == "" {
			return usageError("--with is missing: the node that gets the copies")
		}
		return a.withSession(c.Context(), func(s *session) error {
			old, err := s.find(args[0])
			if err != nil {
				return err
			}
			m, err := s.find(with)
			if err != nil {
				return err
			}
			return o.run(c.Context(), s, fmt.Sprintf("Replace %s by %s?", old.Label(), m.Label()), "CLUSTER", "REPLACE", string(old.ID), "WITH", string(m.ID))
		})
	}
	return c
}
