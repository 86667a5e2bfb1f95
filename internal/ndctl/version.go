package ndctl

import (
	"github.com/spf13/cobra"
)

func versionCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs,
		Long: "Shows the version of this program. `nodes` shows the versions of the nodes.",
		RunE: func(*cobra.Command, []string) error { return a.out.show(versionReport{a.version}) },
	}
	return document(c, versionReport{})
}

type versionReport struct {
	Version string `json:"version" doc:"version of this program"`
}

func (r versionReport) print(p *printer) { p.printf("%s %s\n", p.program, r.Version) }

// completionCommand writes completion scripts for the command ndctl, under whatever name it was
// called.
func completionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Write a shell completion script", Args: cobra.ExactArgs(1),
		Long: `Writes a script with which a shell completes commands, flags and node names. For bash, with the package bash-completion:

    ndctl completion bash > /etc/bash_completion.d/ndctl

For zsh, write it to a file named _ndctl in a folder of $fpath; for fish, to ~/.config/fish/completions/ndctl.fish.`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(_ *cobra.Command, args []string) error {
			root := newApp("ndctl", a.version, a.in, a.out.out, a.out.err, a.options.env).tree()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out.out)
			case "fish":
				return root.GenFishCompletion(a.out.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out.out)
			}
			return usageError("unknown shell %q: completion supports bash, zsh, fish and powershell", args[0])
		},
	}
}
