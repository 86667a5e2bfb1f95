package ndctl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ndring/ndring/internal/pagetest"
)

func TestPageIsTheCommandTree(t *testing.T) {
	t.Parallel()
	pagetest.Check(t, 2, "ndctl.md", page(t))
}

// page returns docs/ndctl.md.
func page(t *testing.T) string {
	root := emptyApp().tree()
	var b strings.Builder
	b.WriteString("# ndctl\n\nMade from the commands (`internal/ndctl`) by `go test ./internal/ndctl -run Page -update`.\n\n" + about() + `

` + "`ndring ctl`" + ` is the same program, for a container that has only that binary: ` + "`docker exec node1 /ndring ctl status`" + `.

    $ ndctl status
    cluster    92bc6c447f52f0270eee816809685500
    health     2 problems
               - n2 (127.0.0.1:7380) has been down for 12s: connection refused
               - 6 of 16 shards not served: 6 of n2
    nodes      2 of 3 up; down: n2
    shards     10 of 16 served
    leader     n3, term 2, 3 voters, quorum
    keys       81034
    memory     5.3 GiB of 8.0 GiB

When a command asks several nodes and some do not answer, it shows what the others answered, names the silent ones with the reason on standard error, and returns exit code 1. Name a node by its
` + "`--node-id`" + `, its id, or a unique prefix of either.

## Flags of all commands

`)
	flags(&b, root.PersistentFlags())
	b.WriteString("\n## Environment\n\n| variable | meaning |\n| --- | --- |\n")
	_, rest, _ := strings.Cut(root.Long, "Environment:\n")
	rest, _, _ = strings.Cut(rest, "\n\n")
	for line := range strings.Lines(rest) {
		name, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, strings.TrimSpace(text))
	}
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.text)
	}
	b.WriteString("\n## JSON\n\nWith `--json` a command writes one JSON value: an object, or an array if the fields below begin with `[]`. Later versions may add fields, but keep the names and meanings of existing ones. " +
		"Commands without fields below write only text. Errors are text on standard error and an exit code; a command that learns nothing writes no JSON.\n")
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.Name() != "help" {
				section(t, &b, c)
			}
		}
	}
	return b.String()
}

// section documents a command and its subcommands.
func section(t *testing.T, b *strings.Builder, c *cobra.Command) {
	if c.Short == "" || c.Long == "" {
		t.Errorf("%s has no description", pathOf(c))
	}
	if c.HasSubCommands() && c.Annotations[jsonFields] == "" {
		fmt.Fprintf(b, "\n### ndctl %s\n\n%s\n", pathOf(c), c.Long)
	} else {
		usage(t, b, c)
	}
	for _, sub := range c.Commands() {
		section(t, b, sub)
	}
}

// usage documents how a command is called and what it writes.
func usage(t *testing.T, b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n### ndctl %s\n\n%s\n", strings.TrimSpace(pathOf(c)+" "+strings.Replace(operands(c), "no arguments", "", 1)), c.Long)
	c.InitDefaultHelpFlag()
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && c.InheritedFlags().Lookup(f.Name) == nil {
			own.AddFlag(f)
		}
	})
	if own.HasFlags() {
		b.WriteString("\n")
		flags(b, own)
	}
	if c.Example != "" {
		b.WriteString("\n")
		for line := range strings.Lines(c.Example) {
			fmt.Fprintf(b, "    %s\n", strings.TrimSpace(line))
		}
	}
	if fields := c.Annotations[jsonFields]; fields != "" {
		if same := firstWith(c.Root(), fields); same != c {
			fmt.Fprintf(b, "\nIts JSON is that of `ndctl %s`.\n", pathOf(same))
			return
		}
		b.WriteString("\n| JSON | meaning |\n| --- | --- |\n")
		for line := range strings.Lines(fields) {
			name, doc, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if doc == "" {
				t.Errorf("%s: %s has no description", pathOf(c), name)
			}
			fmt.Fprintf(b, "| `%s` | %s |\n", name, doc)
		}
	}
}

// firstWith returns the first command, in the order of the page, that writes JSON with some fields.
func firstWith(root *cobra.Command, fields string) *cobra.Command {
	for _, group := range root.Groups() {
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && c.Annotations[jsonFields] == fields {
				return c
			}
		}
	}
	for _, c := range root.Commands() {
		for _, sub := range c.Commands() {
			if sub.Annotations[jsonFields] == fields {
				return sub
			}
		}
	}
	return nil
}

func flags(b *strings.Builder, set *pflag.FlagSet) {
	b.WriteString("| flag | meaning |\n| --- | --- |\n")
	set.VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if f.Value.Type() != "bool" && !strings.Contains(usage, "(default") && f.DefValue != "" && f.DefValue != "[]" {
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.TrimSpace(name+" "+value), usage)
	})
}
