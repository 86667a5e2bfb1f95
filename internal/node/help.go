package node

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// writeHelp writes the help of the program: its commands, and the settings by group.
func writeHelp(w io.Writer, root *cobra.Command) {
	fmt.Fprintf(w, "%s.\n\nUsage:\n  ndring [--flag value ...]   run a node\n  ndring COMMAND\n\nCommands:\n", root.Short)
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			fmt.Fprintf(w, "  %-12s  %s\n", c.Name(), c.Short)
		}
	}
	fmt.Fprint(w, "\nThe environment may have each flag too, --http-port as NDRING_HTTP_PORT. A flag overrides it.\n")
	for _, g := range settingGroups {
		fmt.Fprintf(w, "\n%s:\n", g.title)
		for _, s := range g.settings {
			fmt.Fprintf(w, "  --%s %s", s.name, s.value)
			if s.def != "" {
				fmt.Fprintf(w, "   (default %s)", s.def)
			}
			fmt.Fprintf(w, "\n%s\n", wrap(s.help, 8, 90))
		}
	}
	fmt.Fprint(w, "\nBYTES may end in k, kb, m, mb, g, gb as in Redis: 1k is 1000, 1kb is 1024.\n")
}

// wrap breaks text at blanks and indents it.
func wrap(text string, indent, width int) string {
	margin := strings.Repeat(" ", indent)
	var b strings.Builder
	column := width + 1
	for _, word := range strings.Fields(text) {
		if column+1+len(word) > width {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(margin + word)
			column = indent + len(word)
			continue
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	return b.String()
}
