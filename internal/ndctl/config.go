package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func configCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Show and change settings",
		Long: `Shows and changes settings: of one node until it restarts (CONFIG), or of the cluster (CLUSTER CONFIG), where they apply to all nodes
and survive restarts.`,
	}
	container(c)
	c.AddCommand(configGetCommand(a), configSetCommand(a), configResetCommand(a))
	return c
}

var errNodeAndCluster = usageError("--node and --cluster exclude each other")

func configGetCommand(a *app) *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "get PATTERN...", Short: "Show settings", Args: cobra.MinimumNArgs(1),
		Long: `Shows the settings whose names match a pattern: of all nodes, where nodes with the same value share a line; of one node; or those that
are set for the whole cluster.`,
		Example: "  ndctl config get 'max*'\n  ndctl config get maxmemory --node node2\n  ndctl config get '*' --cluster",
	}
	a.nodeFlag(c, &node, "only settings of this node")
	cluster := c.Flags().Bool("cluster", false, "only settings of the cluster")
	c.RunE = func(c *cobra.Command, patterns []string) error {
		if *cluster && node != "" {
			return errNodeAndCluster
		}
		return a.withSession(c.Context(), func(s *session) error {
			switch {
			case *cluster:
				return showClusterSettings(c.Context(), s, a.out, patterns)
			case node != "":
				m, err := s.find(node)
				if err != nil {
					return err
				}
				return showSettings(c.Context(), a.out, []*member{m}, patterns)
			}
			return showSettings(c.Context(), a.out, s.members, patterns)
		})
	}
	return document(c, settingReports{})
}

type settingReport struct {
	Name  string   `json:"name" doc:"name of the setting"`
	Value string   `json:"value" doc:"its value, as CONFIG GET returns it"`
	Nodes []string `json:"nodes,omitempty" doc:"names of the nodes with this value; absent with --cluster, where it is the value of all nodes"`

	everywhere bool // all nodes that were asked, and more than one, have this value
}

// settingReports are settings of nodes.
type settingReports []settingReport

// clusterSettingReports are settings of the cluster.
type clusterSettingReports []settingReport

// pairs reads the reply to CONFIG GET.
func pairs(reply []any) (all [][2]string) {
	for i := 0; i+1 < len(reply); i += 2 {
		all = append(all, [2]string{fmt.Sprint(reply[i]), fmt.Sprint(reply[i+1])})
	}
	return all
}

// command returns the words of a command and its arguments.
func command(words []string, args ...string) (all []any) {
	for _, w := range append(words, args...) {
		all = append(all, w)
	}
	return all
}

func showSettings(ctx context.Context, p *printer, nodes []*member, patterns []string) error {
	found := make([][][2]string, len(nodes))
	failed := each(ctx, nodes, func(ctx context.Context, i int, m *member) error {
		reply, err := m.do(ctx, command([]string{"CONFIG", "GET"}, patterns...)...).Slice()
		found[i] = pairs(reply)
		return err
	})
	reports := settingReports{}
	for i, m := range nodes {
		for _, pair := range found[i] {
			at := slices.IndexFunc(reports, func(r settingReport) bool { return r.Name == pair[0] && r.Value == pair[1] })
			if at < 0 {
				at = len(reports)
				reports = append(reports, settingReport{Name: pair[0], Value: pair[1]})
			}
			reports[at].Nodes = append(reports[at].Nodes, m.Label())
			reports[at].everywhere = len(reports[at].Nodes) == len(nodes) && len(nodes) > 1
		}
	}
	slices.SortStableFunc(reports, func(a, b settingReport) int { return strings.Compare(a.Name, b.Name) })
	err := p.show(reports)
	if err == nil {
		err = p.failures(failed)
	}
	if err == nil && len(reports) == 0 {
		return fmt.Errorf("no setting matches %s", strings.Join(patterns, " "))
	}
	return err
}

func (all settingReports) print(p *printer) {
	if len(all) == 0 {
		return
	}
	t := newTable("SETTING", "VALUE", "NODES")
	for _, r := range all {
		nodes := strings.Join(r.Nodes, ",")
		if r.everywhere {
			nodes = "all"
		}
		t.add(text(r.Name), text(r.Value), text(nodes))
	}
	t.print(p)
}

func showClusterSettings(ctx context.Context, s *session, p *printer, patterns []string) error {
	m := s.self()
	reply, err := m.do(ctx, command([]string{"CLUSTER", "CONFIG", "GET"}, patterns...)...).Slice()
	if err != nil {
		return p.failures(nodeFailures{{m, err}})
	}
	reports := clusterSettingReports{}
	for _, pair := range pairs(reply) {
		reports = append(reports, settingReport{Name: pair[0], Value: pair[1]})
	}
	if len(reports) == 0 && !p.json {
		p.printf("no setting of the cluster matches %s\n", strings.Join(patterns, " "))
		return nil
	}
	return p.show(reports)
}

func (all clusterSettingReports) print(p *printer) {
	t := newTable("SETTING", "VALUE")
	for _, r := range all {
		t.add(text(r.Name), text(r.Value))
	}
	t.print(p)
}

func configSetCommand(a *app) *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "set NAME VALUE [NAME VALUE]...", Short: "Change settings", Args: cobra.MinimumNArgs(2),
		Long: `Changes settings, either all that are named or none: of one node until it restarts (the one at --addr, or --node), or with --cluster of all nodes,
including nodes that join later.`,
		Example:     "  ndctl config set maxmemory 8gb --node node2\n  ndctl config set maxmemory-policy allkeys-lru --cluster",
		Annotations: map[string]string{emptyValues: ""},
	}
	a.nodeFlag(c, &node, "change settings of this node")
	cluster := c.Flags().Bool("cluster", false, "change settings of all nodes, permanently")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *cluster && node != "" {
			return errNodeAndCluster
		}
		if len(args)%2 != 0 {
			return usageError("config set takes a value for each name")
		}
		return a.withSession(c.Context(), func(s *session) error {
			if *cluster {
				return changeClusterSettings(c.Context(), s, a.out, "SET", args)
			}
			m, err := s.targetNode(node, "--node or --cluster")
			if err != nil {
				return err
			}
			if err := m.do(c.Context(), command([]string{"CONFIG", "SET"}, args...)...).Err(); err != nil {
				return a.out.failures(nodeFailures{{m, err}})
			}
			a.out.printf("%s: OK\n", m.Label())
			return nil
		})
	}
	return c
}

func configResetCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "reset NAME...", Short: "Remove settings of the cluster", Args: cobra.MinimumNArgs(1),
		Long:    "Removes settings of the cluster: each node returns to what its flags say. --cluster is required, because a setting of a single node is reset by restarting that node.",
		Example: "  ndctl config reset maxmemory-policy --cluster",
	}
	cluster := c.Flags().Bool("cluster", false, "reset settings of all nodes")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !*cluster {
			return usageError("config reset needs --cluster: to reset a setting of one node, restart that node")
		}
		return a.withSession(c.Context(), func(s *session) error { return changeClusterSettings(c.Context(), s, a.out, "RESET", args) })
	}
	return c
}

// changeClusterSettings sets or resets settings of the cluster; change is SET or RESET.
func changeClusterSettings(ctx context.Context, s *session, p *printer, change string, args []string) error {
	m := s.self()
	check := "ndctl config get '*' --cluster shows it, and repeating the change does no harm"
	if err := s.propose(ctx, m, check, command([]string{"CLUSTER", "CONFIG", change}, args...)...); err != nil {
		return p.failures(nodeFailures{{m, err}})
	}
	p.printf("the cluster: OK\n")
	return nil
}
