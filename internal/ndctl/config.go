package ndctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Show and change settings",
		Long: `Shows and changes settings: of one node until it ends (CONFIG), or of the cluster (CLUSTER CONFIG), where they hold for all
nodes and are kept.`,
	}
	container(c)
	c.AddCommand(a.configGetCommand(), a.configSetCommand(), a.configResetCommand())
	return c
}

var errBoth = usageError("--node and --cluster exclude each other")

// clusterFlag adds --cluster.
func clusterFlag(c *cobra.Command, usage string) *bool {
	return c.Flags().Bool("cluster", false, usage)
}

func (a *app) configGetCommand() *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "get PATTERN...", Short: "Show settings", Args: cobra.MinimumNArgs(1),
		Long: `Shows the settings whose names match a pattern: of all nodes, where those with the same value share a line; of one node; or those that
the cluster has set.`,
		Example: "  ndctl config get 'max*'\n  ndctl config get maxmemory --node node2\n  ndctl config get '*' --cluster",
	}
	a.nodeFlag(c, &node, "of this node alone")
	cluster := clusterFlag(c, "those that the cluster has set")
	c.RunE = func(c *cobra.Command, patterns []string) error {
		if *cluster && node != "" {
			return errBoth
		}
		return a.onCluster(c.Context(), func(v *view) error {
			switch {
			case *cluster:
				return v.clusterSettings(c.Context(), patterns)
			case node != "":
				m, err := v.find(node)
				if err != nil {
					return err
				}
				return v.settings(c.Context(), []*member{m}, patterns)
			}
			return v.settings(c.Context(), v.nodes, patterns)
		})
	}
	return document(c, []settingReport{})
}

type settingReport struct {
	Name  string   `json:"name" doc:"of the setting"`
	Value string   `json:"value" doc:"as CONFIG GET says it"`
	Nodes []string `json:"nodes,omitempty" doc:"names of the nodes where it is so; with --cluster it is so for all"`
}

// pairs reads the reply of CONFIG GET.
func pairs(reply []any) (all [][2]string) {
	for i := 0; i+1 < len(reply); i += 2 {
		all = append(all, [2]string{fmt.Sprint(reply[i]), fmt.Sprint(reply[i+1])})
	}
	return all
}

func command(words []string, args ...string) (all []any) {
	for _, w := range append(words, args...) {
		all = append(all, w)
	}
	return all
}

func (v *view) settings(ctx context.Context, nodes []*member, patterns []string) error {
	found := make([][][2]string, len(nodes))
	failed := each(ctx, nodes, func(ctx context.Context, i int, m *member) error {
		reply, err := m.do(ctx, command([]string{"CONFIG", "GET"}, patterns...)...).Slice()
		found[i] = pairs(reply)
		return err
	})
	reports := []settingReport{}
	for i, m := range nodes {
		for _, p := range found[i] {
			at := slices.IndexFunc(reports, func(r settingReport) bool { return r.Name == p[0] && r.Value == p[1] })
			if at < 0 {
				at = len(reports)
				reports = append(reports, settingReport{Name: p[0], Value: p[1]})
			}
			reports[at].Nodes = append(reports[at].Nodes, m.label())
		}
	}
	slices.SortStableFunc(reports, func(a, b settingReport) int { return strings.Compare(a.Name, b.Name) })
	err := v.app.show(reports, func() { v.app.writeSettings(reports, nodes) })
	if err == nil {
		err = v.app.partial(failed)
	}
	if err == nil && len(reports) == 0 {
		return fmt.Errorf("no setting matches %s", strings.Join(patterns, " "))
	}
	return err
}

func (a *app) writeSettings(all []settingReport, asked []*member) {
	if len(all) == 0 {
		return
	}
	t := newTable("SETTING", "VALUE", "NODES")
	for _, r := range all {
		nodes := strings.Join(r.Nodes, ",")
		if len(r.Nodes) == len(asked) && len(asked) > 1 {
			nodes = "all"
		}
		t.add(text(r.Name), text(r.Value), text(nodes))
	}
	a.writeTable(t)
}

func (v *view) clusterSettings(ctx context.Context, patterns []string) error {
	m := v.byID(v.told.Self)
	reply, err := m.do(ctx, command([]string{"CLUSTER", "CONFIG", "GET"}, patterns...)...).Slice()
	if err != nil {
		return v.app.partial([]failure{{m, err}})
	}
	reports := []settingReport{}
	for _, p := range pairs(reply) {
		reports = append(reports, settingReport{Name: p[0], Value: p[1]})
	}
	return v.app.show(reports, func() {
		if len(reports) == 0 {
			fmt.Fprintf(v.app.out, "the cluster has set nothing that matches %s\n", strings.Join(patterns, " "))
			return
		}
		t := newTable("SETTING", "VALUE")
		for _, r := range reports {
			t.add(text(r.Name), text(r.Value))
		}
		v.app.writeTable(t)
	})
}

func (a *app) configSetCommand() *cobra.Command {
	var node string
	c := &cobra.Command{
		Use: "set NAME VALUE [NAME VALUE]...", Short: "Change settings", Args: cobra.MinimumNArgs(2),
		Long: `Changes settings, all that are named or none: of one node until it ends (the one at --addr, or that of --node), or with --cluster of all nodes, those too that
come later.`,
		Example:     "  ndctl config set maxmemory 8gb --node node2\n  ndctl config set maxmemory-policy allkeys-lru --cluster",
		Annotations: map[string]string{emptyValues: ""},
	}
	a.nodeFlag(c, &node, "of this node")
	cluster := clusterFlag(c, "of all nodes, for good")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *cluster && node != "" {
			return errBoth
		}
		if len(args)%2 != 0 {
			return usageError("config set takes a value for each name")
		}
		return a.onCluster(c.Context(), func(v *view) error {
			if *cluster {
				return v.changeAll(c.Context(), "SET", args)
			}
			m, err := v.meant(node, "--node or --cluster")
			if err != nil {
				return err
			}
			if err := m.do(c.Context(), command([]string{"CONFIG", "SET"}, args...)...).Err(); err != nil {
				return a.partial([]failure{{m, err}})
			}
			fmt.Fprintf(a.out, "%s: OK\n", m.label())
			return nil
		})
	}
	return c
}

func (a *app) configResetCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "reset NAME...", Short: "Take back what the cluster has set", Args: cobra.MinimumNArgs(1),
		Long:    "Takes back what the cluster has set: each node has again what its flags say. It needs --cluster, since one node has nothing to go back to but a restart.",
		Example: "  ndctl config reset maxmemory-policy --cluster",
	}
	cluster := clusterFlag(c, "of all nodes")
	c.RunE = func(c *cobra.Command, args []string) error {
		if !*cluster {
			return usageError("config reset needs --cluster: a setting of one node is as it was after a restart")
		}
		return a.onCluster(c.Context(), func(v *view) error { return v.changeAll(c.Context(), "RESET", args) })
	}
	return c
}

// changeAll has the cluster set or reset settings.
func (v *view) changeAll(ctx context.Context, what string, args []string) error {
	m := v.byID(v.told.Self)
	look := "ndctl config get '*' --cluster shows it, and to do it again does no harm"
	if err := v.decide(ctx, m, look, command([]string{"CLUSTER", "CONFIG", what}, args...)...); err != nil {
		return v.app.partial([]failure{{m, err}})
	}
	fmt.Fprintln(v.app.out, "the cluster: OK")
	return nil
}
