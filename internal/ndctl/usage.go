package ndctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// container makes a command that only groups subcommands show its help, and reject unknown
// subcommands.
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

// unknownCommand says that a command has no such subcommand, and suggests similar ones.
func unknownCommand(c *cobra.Command, name string) error {
	hint := ""
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf(": did you mean %s?", strings.Join(near, " or "))
	}
	return usageError("unknown command %q%s", strings.TrimSpace(pathOf(c)+" "+name), hint)
}

// checkHelp makes `help` reject commands that do not exist.
func checkHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		panic(err) // InitDefaultHelpCmd has just added it
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
	if wanted := map[string]string{"int": "number", "int64": "number", "duration": "duration, such as 5s or 2m"}[kind]; wanted != "" {
		kind = wanted
	}
	return usageError("--%s %q is not a %s", bad.GetFlag().Name, bad.GetValue(), kind)
}

// pathOf returns the name of a command without that of the program.
func pathOf(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	return strings.TrimSpace(pathOf(c.Parent()) + " " + c.Name())
}

// checkArguments turns wrong numbers of arguments, in c and all commands below, into usage errors
// that show what the command takes.
func checkArguments(c *cobra.Command) {
	check := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		err := check(c, args)
		if err == nil || exitCode(err) == exitUsage {
			return err
		}
		return usageError("%s takes %s, not %s", pathOf(c), operands(c), plural(len(args), "argument"))
	}
	for _, sub := range c.Commands() {
		checkArguments(sub)
	}
}

// operands returns the operands of a command, as its usage names them.
func operands(c *cobra.Command) string {
	_, rest, _ := strings.Cut(c.Use, " ")
	if rest == "" {
		return "no arguments"
	}
	return rest
}

// emptyValues marks a command whose arguments are pairs of a name and a value; the value may be empty.
const emptyValues = "values may be empty"

// refuseEmpty rejects empty arguments and flags. They come from an unset variable in a script, and
// without them a command would act on another node, on all nodes, or on all keys.
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
