package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit codes of Run.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// exitError is the error of a command that has said itself what went wrong.
type exitError int

func (exitError) Error() string { return "" }

// exited returns the error with which a command ends with a code.
func exited(code int) error {
	if code == exitOK {
		return nil
	}
	return exitError(code)
}

// usageError is an error in the arguments.
type usageError struct{ error }

// Run is the ndring program: it does what args say and returns the exit code. Ctl runs ndctl, which is `ndring ctl`.
func Run(args []string, version string, ctl func(args []string) int, stdout, stderr io.Writer) int {
	if len(args) > 1 && args[0] == cobra.ShellCompRequestCmd && args[1] == "ctl" { // ndctl completes its own arguments
		return ctl(append([]string{args[0]}, args[2:]...))
	}
	root := (&cli{version: version, ctl: ctl, out: stdout, err: stderr}).tree()
	root.SetArgs(normalize(root, args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	c, err := root.ExecuteC()
	var code exitError
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "ndring: %v\nTry '%s --help'\n", err, c.CommandPath())
		return exitUsage
	}
	fmt.Fprintln(stderr, "ndring:", err)
	return exitFailure
}

// cli is one run of the ndring program.
type cli struct {
	version  string
	ctl      func(args []string) int
	out, err io.Writer
}

// tree returns the command that runs a node, and its subcommands.
func (p *cli) tree() *cobra.Command {
	root := &cobra.Command{
		Use:               "ndring",
		Short:             "A cache for NumPy arrays: what you store is exactly what you get back",
		Version:           p.version,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	flags := newSettingFlags(root.Flags())
	root.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 && flags.given["requirepass"] { // it may be the rest of a password with blanks
			return usageError{errors.New("unexpected argument; put the value of --requirepass in quotes, or use --requirepass-file")}
		}
		return noArguments(c, args)
	}
	root.RunE = func(*cobra.Command, []string) error {
		config, err := flags.config(os.LookupEnv, p.version)
		hideArguments(os.Args)
		if err != nil {
			return usageError{err}
		}
		return exited(serve(config, p.err))
	}
	for _, s := range settings {
		if choices := s.choices(); choices != nil {
			_ = root.RegisterFlagCompletionFunc(s.name, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp)) // fails only without the flag
		}
	}
	root.SetVersionTemplate("ndring {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{flagError(err)} })
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == root {
			writeHelp(p.out, root)
			return
		}
		help(c, args)
	})
	root.AddCommand(p.checkCommand(), p.dumpCommand(), p.ctlCommand(), p.healthcheckCommand(), p.completionCommand(root), p.versionCommand())
	root.InitDefaultHelpCmd()
	return root
}

func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

func (p *cli) ctlCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ctl", Short: "Inspect or change a cluster; the same as ndctl", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return exited(p.ctl(args)) },
	}
}

func (p *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.out, "ndring", p.version)
			return err
		},
	}
}

func (p *cli) completionCommand(root *cobra.Command) *cobra.Command {
	scripts := map[string]func() error{
		"bash": func() error { return root.GenBashCompletionV2(p.out, true) },
		"zsh":  func() error { return root.GenZshCompletion(p.out) },
		"fish": func() error { return root.GenFishCompletion(p.out, true) },
	}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Write a shell completion script", ValidArgs: []string{"bash", "zsh", "fish"},
		Long: `Writes a script that completes commands and flags. For bash, with the package bash-completion:

    ndring completion bash > /etc/bash_completion.d/ndring

For zsh, write it to a file named _ndring in a folder of $fpath; for fish, to ~/.config/fish/completions/ndring.fish.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || scripts[args[0]] == nil {
				return usageError{fmt.Errorf("completion needs one of bash, zsh and fish, not %q", strings.Join(args, " "))}
			}
			return scripts[args[0]]()
		},
	}
}

// flagError names the flag and the value in an error of package pflag.
func flagError(err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		name := invalid.GetFlag().Name
		return invalidValue(&setting{name: name}, invalid.GetValue(), "for --"+name, invalid.Unwrap())
	}
	return err
}

// normalize rewrites what pflag would read otherwise: long flags with one dash, one letter with two dashes, and a yes
// or no after a flag that may stand alone. An argument that is the value of a flag stays as it is.
func normalize(root *cobra.Command, args []string) []string {
	flags := root.Flags()
	for _, c := range root.Commands() {
		if len(args) > 0 && c.Name() == args[0] {
			flags = c.Flags()
			if c.DisableFlagParsing {
				return args
			}
		}
	}
	return normalizeFlags(flags, args)
}

func normalizeFlags(flags *pflag.FlagSet, args []string) []string {
	all := []string{}
	for i := 0; i < len(args); i++ {
		name, isFlag := strings.CutPrefix(args[i], "-")
		name, isLong := strings.CutPrefix(name, "-")
		if isFlag && isLong && name == "" { // the rest are operands
			return append(all, args[i:]...)
		}
		if !isFlag || name == "" {
			all = append(all, args[i])
			continue
		}
		given := name
		name, _, hasValue := strings.Cut(given, "=")
		flag, dashes := flags.Lookup(name), "--"
		if len(name) == 1 {
			flag, dashes = flags.ShorthandLookup(name), "-"
		}
		all = append(all, dashes+given)
		if flag == nil || hasValue || i+1 == len(args) {
			continue
		}
		switch next := args[i+1]; {
		case flag.NoOptDefVal == "":
			all = append(all, next)
			i++
		case flag.Value.Type() == yesNo && (next == "yes" || next == "no"):
			all[len(all)-1] += "=" + next
			i++
		}
	}
	return all
}
