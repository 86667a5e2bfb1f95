package protocol

import "strings"

// helpRow is the HELP that each container has.
func helpRow(container *Command) *Command {
	return &Command{Name: "help", Arity: 2, Flags: Loading | Stale, Categories: container.Categories, Group: container.Group, Since: "0.1.0", Handler: help, Summary: "Returns this text."}
}

// help answers the lines that describe a container's subcommands, as Redis lays them out.
func help(c *call) {
	name, _, _ := strings.Cut(c.row.full, "|")
	container := commands[name]
	lines := []string{upper(name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
	for _, sub := range container.Sub {
		lines = append(lines, strings.TrimSpace(upper(sub.Name)+" "+sub.Syntax), "    "+sub.Summary)
	}
	c.replies.Array(len(lines))
	for _, line := range lines {
		c.replies.Simple(line)
	}
}
