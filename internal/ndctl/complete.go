package ndctl

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// completionTime is how long a shell waits for the names of the nodes.
const completionTime = time.Second

// completeNode offers the names of the nodes, if one answers soon.
func (a *app) completeNode(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if a.prepare(c, args) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	a.timeout = min(a.timeout, completionTime)
	ctx, cancel := context.WithTimeout(context.Background(), 2*completionTime)
	defer cancel()
	v, err := a.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer v.close()
	var names []cobra.Completion
	for _, m := range v.nodes {
		names = append(names, cobra.CompletionWithDesc(m.label(), m.address))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFirst offers the names of the nodes for the first operand.
func (a *app) completeFirst(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNode(c, args, begun)
}
