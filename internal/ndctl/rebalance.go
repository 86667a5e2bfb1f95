package ndctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

const untilMoved = "all copies are made and all primaries have changed"

func rebalanceCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "rebalance", Short: "Give each node its share of the copies and primaries", Args: cobra.NoArgs,
		Long:    `Gives each node its share of the primaries and of the copies, by its weight (CLUSTER REBALANCE). It moves as few copies as that takes. ` + planFirst,
		Example: "  ndctl rebalance --plan\n  ndctl rebalance --yes --wait",
	}
	f := addChangeFlags(c, untilMoved)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.runChange(c, f, func(*session) (change, error) {
			return change{
				request: []any{"CLUSTER", "REBALANCE"}, question: "Move these copies?", done: "each node has its share", plan: "rebalance --plan", optional: true,
			}, nil
		})
	}
	return c
}

// planFirst describes what all commands that move copies have in common.
const planFirst = `First it shows the plan: what each node has and gets. If the
placement of the copies has changed by the time you confirm it, nothing is done. On a terminal, or with --wait, it then shows how far the moves are; Ctrl-C
leaves them running. The exit code is 1 if the plan has problems, or if --wait ends before all is done.`

func moveCommand(a *app) *cobra.Command {
	var to, from string
	c := &cobra.Command{
		Use: "move SHARD --to NODE", Short: "Move one copy of a shard to another node", Args: cobra.ExactArgs(1),
		Long: `Gives a node a copy of a shard, in place of the copy of another node (CLUSTER MOVE). SHARD is a number of ` + "`shards`" + `. Without --from, the preferred primary gives
its copy up; a node that has a copy already becomes the preferred primary. The copy stays where you move it until nodes join, leave, are drained or die, or ` + "`rebalance`" + ` is run. ` + planFirst,
		Example: "  ndctl move 17 --to node4\n  ndctl move 17 --from node1 --to node4 --yes --wait",
	}
	a.nodeFlagNamed(c, &to, "to", "the node that gets the copy")
	a.nodeFlagNamed(c, &from, "from", "the node that gives its copy up")
	f := addChangeFlags(c, untilMoved)
	c.RunE = func(c *cobra.Command, args []string) error {
		if to == "" {
			return usageError("move needs --to NODE")
		}
		return a.runChange(c, f, func(s *session) (change, error) { return s.moveChange(args[0], to, from) })
	}
	return c
}

// moveChange is the change that moves a copy of a shard.
func (s *session) moveChange(shard, to, from string) (change, error) {
	number, err := s.shardNumber(shard)
	if err != nil {
		return change{}, err
	}
	target, err := s.findLive(to)
	if err != nil {
		return change{}, err
	}
	ch := change{
		request: []any{"CLUSTER", "MOVE", "SHARD", number, "TO", string(target.ID)}, question: fmt.Sprintf("Move a copy of shard %d to %s?", number, target.Label()),
		done: fmt.Sprintf("%s has a copy of shard %d", target.Label(), number), plan: fmt.Sprintf("move %d --to %s --plan", number, target.Label()),
	}
	if from != "" {
		source, err := s.find(from)
		if err != nil {
			return change{}, err
		}
		if source == target {
			return change{}, usageError("--from and --to are the same node, %s", target.Label())
		}
		ch.request = append(ch.request, "FROM", string(source.ID))
		ch.plan = fmt.Sprintf("move %d --from %s --to %s --plan", number, source.Label(), target.Label())
	}
	return ch, nil
}

// shardNumber returns the shard that a user names by its number.
func (s *session) shardNumber(arg string) (int, error) {
	number, err := strconv.Atoi(arg)
	switch {
	case err != nil:
		return 0, usageError("%q is not the number of a shard", arg)
	case number < 0 || number >= len(s.cluster.Shards):
		return 0, fmt.Errorf("there is no shard %d: the cluster has %s", number, plural(len(s.cluster.Shards), "shard"))
	}
	return number, nil
}

// findLive returns the node that a user names to get copies. It must be up.
func (s *session) findLive(name string) (*member, error) {
	m, err := s.find(name)
	if err == nil && !m.Up {
		return nil, fmt.Errorf("%s is down, as %s sees it: it can get no copies", m.Label(), s.self().Label())
	}
	return m, err
}

func drainCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "drain NODE", Short: "Move all copies off a node, which stays a member", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Moves all copies off a node (CLUSTER DRAIN). The node stays a member and gets no copies until ` + "`undrain`" + `, also after a restart; ` + "`nodes`" + ` shows it as draining.
To remove a node from the cluster, use ` + "`leave`" + `, which moves its copies too. ` + planFirst,
		Example: "  ndctl drain node3 --plan\n  ndctl drain node3 --yes --wait",
	}
	f := addChangeFlags(c, untilMoved)
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.runChange(c, f, func(s *session) (change, error) {
			m, err := s.find(args[0])
			if err != nil {
				return change{}, err
			}
			return change{
				request: drainRequest(m), question: fmt.Sprintf("Move all copies off %s?", m.Label()), plan: "drain " + m.Label() + " --plan",
				done: fmt.Sprintf("%s has no copies any more, and gets none until ndctl undrain %[1]s", m.Label()), empties: m.ID,
			}, nil
		})
	}
	return c
}

func drainRequest(m *member) []any { return []any{"CLUSTER", "DRAIN", string(m.ID)} }

func undrainCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "undrain NODE", Short: "Let a drained node have copies again", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long:    "Lets a node have copies again that was drained, or that has not left yet (CLUSTER UNDRAIN). It gets its share when the cluster places copies next; with the setting `rebalance operator`, when `rebalance` is run.",
		Example: "  ndctl undrain node3",
		RunE: func(c *cobra.Command, args []string) error {
			return a.withSession(c.Context(), func(s *session) error {
				m, err := s.find(args[0])
				if err != nil {
					return err
				}
				if err := a.order(c.Context(), s, checkNodes, "CLUSTER", "UNDRAIN", string(m.ID)); err != nil {
					return err
				}
				a.out.printf("%s may have copies again\n", m.Label())
				return nil
			})
		},
	}
}

func replaceCommand(a *app) *cobra.Command {
	var with string
	c := &cobra.Command{
		Use: "replace OLD --with NEW", Short: "Move all copies of a node to another one", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeFirst,
		Long: `Moves the copies of the node OLD to the node NEW (CLUSTER REPLACE), and removes OLD from the cluster as soon as other nodes have all of its copies. OLD may be down;
its copies are then made from those of other nodes. If NEW has a share of its own already, others get a part, so that each node has its share. ` + planFirst,
		Example: "  ndctl replace node3 --with node4 --plan\n  ndctl replace node3 --with node4 --yes --wait",
	}
	a.nodeFlagNamed(c, &with, "with", "the node that gets the copies")
	f := addChangeFlags(c, untilMoved)
	c.RunE = func(c *cobra.Command, args []string) error {
		if with == "" {
			return usageError("replace needs --with NODE")
		}
		return a.runChange(c, f, func(s *session) (change, error) { return s.replaceChange(args[0], with) })
	}
	return c
}

// replaceChange is the change that moves all copies of a node to another one.
func (s *session) replaceChange(old, with string) (change, error) {
	gone, err := s.find(old)
	if err != nil {
		return change{}, err
	}
	target, err := s.findLive(with)
	if err != nil {
		return change{}, err
	}
	if gone == target {
		return change{}, usageError("a node cannot replace itself: both are %s", gone.Label())
	}
	return change{
		request: []any{"CLUSTER", "REPLACE", string(gone.ID), "WITH", string(target.ID)}, question: fmt.Sprintf("Move all copies of %s to %s?", gone.Label(), target.Label()),
		done: fmt.Sprintf("%s has the copies that %s had", target.Label(), gone.Label()), empties: gone.ID, plan: fmt.Sprintf("replace %s --with %s --plan", gone.Label(), target.Label()),
	}, nil
}
