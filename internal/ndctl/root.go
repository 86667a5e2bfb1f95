package ndctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// defaultAddr is where a node on this machine is.
const defaultAddr = "127.0.0.1:7379"

// Groups of commands.
const (
	groupSee    = "see"
	groupArrays = "arrays"
	groupChange = "change"
	groupTool   = "tool"
)

// tree returns all commands.
func (a *app) tree() *cobra.Command {
	root := &cobra.Command{
		Use:   "ndctl",
		Short: "Look at an ndring cluster and change it",
		Long: about() + `

Environment:
  NDRING_ADDR          addresses, if there is no --addr
  NDRING_PASSWORD      password, if there is no --password-file
  NDRING_REQUIREPASS   likewise, if there is no NDRING_PASSWORD: in a container of a node it is there anyway
  NDRING_DIR           data folder, for raft recover
  NO_COLOR             no colours; there are none either where there is no terminal

Exit codes:
` + codesText(),
		Version:           a.version,
		Annotations:       map[string]string{cobra.CommandDisplayNameAnnotation: a.name},
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: a.prepare,
	}
	container(root)
	root.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	flags := root.PersistentFlags()
	flags.SortFlags, root.Flags().SortFlags = false, false
	flags.StringArrayVarP(&a.addrs, "addr", "a", nil, "address `HOST:PORT` of a node, for clients; repeat it, or separate several by commas (default NDRING_ADDR, else "+defaultAddr+")")
	flags.StringVar(&a.user, "user", "", "`NAME` of the user (default: the default user)")
	flags.StringVar(&a.passwordFile, "password-file", "", "`FILE` with the password (default: NDRING_PASSWORD, else NDRING_REQUIREPASS)")
	flags.DurationVar(&a.timeout, "timeout", 5*time.Second, "how long to wait for a node; longer for large arrays")
	flags.BoolVar(&a.json, "json", false, "write JSON, for scripts")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommandGroupID(groupTool)
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1)) // see container
	for _, g := range []cobra.Group{
		{ID: groupSee, Title: "See how it is:"}, {ID: groupArrays, Title: "Arrays:"}, {ID: groupChange, Title: "Change it:"}, {ID: groupTool, Title: "This program:"},
	} {
		root.AddGroup(&g)
	}
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupSee, a.statusCommand(), a.nodesCommand(), a.shardsCommand(), a.slotsCommand(), a.topCommand(), a.slowlogCommand(), a.bigkeysCommand())
	add(groupArrays, a.slotCommand(), a.whereCommand(), a.getCommand(), a.putCommand(), a.importCommand())
	add(groupChange, a.joinCommand(), a.leaveCommand(), a.forgetCommand(), a.configCommand(), a.raftCommand())
	add(groupTool, a.completionCommand(), a.versionCommand())
	checkHelp(root)
	checkArguments(root)
	return root
}

// about is what the program is for.
func about() string {
	return `Looks at an ndring cluster and changes it. The address of one node is enough, if it answers: it tells where the others are,
by the addresses of the listener that it was asked on. Several may be given; the first one that answers is asked.`
}

// codesText lists the exit codes.
func codesText() string {
	var lines []string
	for _, c := range exitCodes {
		lines = append(lines, fmt.Sprintf("  %d  %s", c.code, strings.ReplaceAll(c.text, "`", "")))
	}
	return strings.Join(lines, "\n")
}

// container makes a command that does nothing itself show its help, and say which of its subcommands are unknown.
func container(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(c, args[0])
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := c.Help(); err != nil {
			return err
		}
		return &exitError{code: exitUsage}
	}
}

// unknownCommand says that a command has no such subcommand, and which one may be meant.
func unknownCommand(c *cobra.Command, name string) error {
	hint := ""
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf(": is it %s?", strings.Join(near, ", or "))
	}
	return usageError("there is no command %q%s", strings.TrimSpace(pathOf(c)+" "+name), hint)
}

// checkHelp has `help` refuse commands that do not exist.
func checkHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err) // it was just made
	}
	help.Args = func(_ *cobra.Command, args []string) error {
		if c, rest, err := root.Find(args); err == nil && len(rest) > 0 {
			return unknownCommand(c, rest[0])
		}
		return nil
	}
}

// flagError says what is wrong with a flag.
func flagError(_ *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return usageError("%w", err)
	}
	kind := bad.GetFlag().Value.Type()
	if wanted := map[string]string{"int": "number", "int64": "number", "duration": "time, such as 5s or 2m"}[kind]; wanted != "" {
		kind = wanted
	}
	return usageError("--%s %q is no %s", bad.GetFlag().Name, bad.GetValue(), kind)
}

// pathOf returns the name of a command without that of the program.
func pathOf(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	return strings.TrimSpace(pathOf(c.Parent()) + " " + c.Name())
}

// checkArguments makes wrong numbers of arguments errors of usage, which show how the command is called.
func checkArguments(c *cobra.Command) {
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		err := check(c, args)
		if err == nil || codeOf(err) == exitUsage {
			return err
		}
		return usageError("%s takes %s, not %s", pathOf(c), operands(c), plural(len(args), "argument"))
	}
	for _, sub := range c.Commands() {
		checkArguments(sub)
	}
}

// operands returns what a command takes, as its usage says it.
func operands(c *cobra.Command) string {
	_, rest, _ := strings.Cut(c.Use, " ")
	if rest == "" {
		return "no arguments"
	}
	return rest
}

// commandOf returns the command that args lead to, as the user would write it.
func (a *app) commandOf(root *cobra.Command, args []string) string {
	c, _, err := root.Find(args)
	if err != nil || !c.HasParent() {
		return a.name
	}
	return a.name + " " + pathOf(c)
}

// prepare looks at what all commands share.
func (a *app) prepare(c *cobra.Command, args []string) error {
	if a.timeout <= 0 {
		return usageError("--timeout must be longer than nothing")
	}
	if err := refuseEmpty(c, args); err != nil {
		return err
	}
	var addrs []string
	for _, given := range a.addrs {
		addrs = append(addrs, strings.Split(given, ",")...)
	}
	a.addrs = addrs
	if given := a.setting("NDRING_ADDR"); len(a.addrs) == 0 && given != "" {
		a.addrs = strings.FieldsFunc(given, func(r rune) bool { return r == ',' || r == ' ' })
		if len(a.addrs) == 0 {
			return usageError("NDRING_ADDR %q contains no HOST:PORT", given)
		}
	}
	if len(a.addrs) == 0 {
		a.addrs = []string{defaultAddr}
	}
	for i, addr := range a.addrs {
		whole, err := wholeAddress(addr)
		if err != nil {
			return err
		}
		a.addrs[i] = whole
	}
	return nil
}

// emptyValues marks a command whose arguments are pairs of a name and a value, of which the value may be empty.
const emptyValues = "values may be empty"

// refuseEmpty refuses arguments and flags that are empty. They come from a variable that a script has not set, and without
// them a command would act on another node, on all nodes, or on all keys.
func refuseEmpty(c *cobra.Command, args []string) error {
	if c.Name() == cobra.ShellCompRequestCmd || c.Name() == cobra.ShellCompNoDescRequestCmd {
		return nil // the word to complete may be empty
	}
	_, pairs := c.Annotations[emptyValues]
	for i, arg := range args {
		if arg == "" && !(pairs && i%2 == 1) {
			return usageError("argument %d of %s is empty", i+1, pathOf(c))
		}
	}
	var err error
	c.Flags().Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		if isList && slices.Contains(list.GetSlice(), "") || f.Value.String() == "" {
			err = usageError("--%s is empty", f.Name)
		}
	})
	return err
}
