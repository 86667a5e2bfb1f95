package ndctl

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs,
		Long: "Shows the version of this program. Those of the nodes are in `nodes`.",
		RunE: func(*cobra.Command, []string) error {
			return a.show(versionReport{a.version}, func() { fmt.Fprintln(a.out, a.name, a.version) })
		},
	}
	return document(c, versionReport{})
}

type versionReport struct {
	Version string `json:"version" doc:"of this program"`
}

// completionCommand writes scripts for ndctl, whoever is asked: they are for a shell in which that is a command.
func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Write a script by which a shell completes commands", Args: cobra.ExactArgs(1),
		Long: `Writes a script by which a shell completes commands, flags and the names of nodes. For bash, with the package bash-completion:

    ndctl completion bash > /etc/bash_completion.d/ndctl

for zsh into a file named _ndctl in a folder of $fpath, for fish into ~/.config/fish/completions/ndctl.fish.`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(c *cobra.Command, args []string) error {
			root := (&app{name: "ndctl"}).tree()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
			return usageError("completion is for bash, zsh, fish or powershell, not %q", args[0])
		},
	}
}
