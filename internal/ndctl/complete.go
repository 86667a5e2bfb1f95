package ndctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout is how long a shell waits for the names of the nodes.
const completionTimeout = time.Second

// completeNode suggests the names of the nodes, if a node answers quickly.
func (a *app) completeNode(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if a.options.prepare(c, args) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a.options.timeout = min(a.options.timeout, completionTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), 2*completionTimeout)
	defer cancel()
	s, err := connect(ctx, a.options)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.close()
	var names []cobra.Completion
	for _, m := range s.members {
		names = append(names, cobra.CompletionWithDesc(m.Label(), m.address))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFirst suggests the names of the nodes for the first operand only.
func (a *app) completeFirst(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNode(c, args, begun)
}

// nodeFlag adds --node, which the shell completes.
func (a *app) nodeFlag(c *cobra.Command, into *string, usage string) {
	a.nodeFlagNamed(c, into, "node", usage)
}

// nodeFlagNamed adds a flag whose value is a node, which the shell completes.
func (a *app) nodeFlagNamed(c *cobra.Command, into *string, name, usage string) {
	c.Flags().StringVar(into, name, "", usage+": `NODE` is a name, an id, or the beginning of either")
	if err := c.RegisterFlagCompletionFunc(name, a.completeNode); err != nil {
		panic(err) // the flag was added above
	}
}
