package ndctl

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Groups of commands in the help.
const (
	groupInspect = "inspect"
	groupArrays  = "arrays"
	groupChange  = "change"
	groupSecure  = "secure"
	groupTool    = "tool"
)

// tree returns the command line: the root with all commands below it.
func (a *app) tree() *cobra.Command {
	root := &cobra.Command{
		Use:   "ndctl",
		Short: "Inspect and change an ndring cluster",
		Long: about() + `

Environment:
  NDRING_ADDR          addresses, used without --addr
  NDRING_PASSWORD      password, used without --password-file
  NDRING_REQUIREPASS   password, used without NDRING_PASSWORD; a node's container has it already
  NDRING_TLS           yes or no, used without --tls; without it yes if there is NDRING_TLS_CERT, as in a node's container
  NDRING_TLS_CA        CA of the nodes' certificates, used without --cacert
  NDRING_TLS_CERT      certificate of this client, used without --cert; a node's certificate is good for that too
  NDRING_TLS_KEY       its private key, used without --key
  NDRING_DIR           data folder, for raft recover and raft rejoin
  NO_COLOR             disables colours; output that is not a terminal has none either

Exit codes:
` + exitCodesText(),
		Version:           a.version,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: a.out.program},
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: a.options.prepare,
	}
	container(root)
	root.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.SortFlags, root.Flags().SortFlags = false, false
	a.options.addFlags(flags)
	flags.BoolVar(&a.out.json, "json", false, "write JSON, for scripts")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommandGroupID(groupTool)
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", `{{if and .Runnable (or (not .HasAvailableSubCommands) (index .Annotations "`+jsonFields+`"))}}`, 1)) // see container
	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{groupInspect, "Inspect the cluster:", []*cobra.Command{
			statusCommand(a), nodesCommand(a), shardsCommand(a), slotsCommand(a), topCommand(a), slowlogCommand(a), bigkeysCommand(a),
		}},
		{groupArrays, "Work with arrays:", []*cobra.Command{slotCommand(a), whereCommand(a), getCommand(a), putCommand(a), importCommand(a)}},
		{groupChange, "Change the cluster:", []*cobra.Command{
			joinCommand(a), leaveCommand(a), drainCommand(a), undrainCommand(a), replaceCommand(a), rebalanceCommand(a), moveCommand(a), movesCommand(a),
			forgetCommand(a), failoverCommand(a), beginEmptyCommand(a), configCommand(a), raftCommand(a),
		}},
		{groupSecure, "Secure the cluster:", []*cobra.Command{certsCommand(a), gossipKeyCommand(a)}},
		{groupTool, "This program:", []*cobra.Command{completionCommand(a), versionCommand(a)}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			root.AddCommand(c)
		}
	}
	checkHelp(root)
	checkArguments(root)
	return root
}

// about says what the program is for.
func about() string {
	return `Inspects and changes an ndring cluster. The address of one node that answers is enough: the node knows the others, and returns
their addresses for the listener that it was asked on. With several addresses, ndctl asks the first node that answers.`
}

// exitCodesText lists the exit codes for the help.
func exitCodesText() string {
	var lines []string
	for _, c := range exitCodes {
		lines = append(lines, fmt.Sprintf("  %d  %s", c.code, strings.ReplaceAll(c.text, "`", "")))
	}
	return strings.Join(lines, "\n")
}

// commandOf returns the command that args lead to, as the user would type it.
func (a *app) commandOf(root *cobra.Command, args []string) string {
	c, _, err := root.Find(args)
	if err != nil || !c.HasParent() {
		return a.out.program
	}
	return a.out.program + " " + pathOf(c)
}
