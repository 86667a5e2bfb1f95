package protocol

import (
	"errors"
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/glob"
	"github.com/ndring/ndring/protocol/resp"
)

func commandAll(c *call, t *command.Table) {
	rows := t.Commands()
	c.replies.Array(len(rows))
	for _, row := range rows {
		command.WriteRow(c.replies, row)
	}
}

func commandCount(c *call, t *command.Table) { c.replies.Int(int64(t.Len())) }

func commandInfo(c *call, t *command.Table) {
	if len(c.args) == 2 {
		commandAll(c, t)
		return
	}
	c.replies.Array(len(c.args) - 2)
	for i := 2; i < len(c.args); i++ {
		if row := t.FindFull(c.arg(i)); row != nil {
			command.WriteRow(c.replies, row)
		} else {
			c.replies.Null()
		}
	}
}

// commandList writes the names. FILTERBY accepts MODULE (which never matches), ACLCAT or PATTERN.
func commandList(c *call, t *command.Table) {
	keep := func(*command.Spec) bool { return true }
	if len(c.args) > 2 {
		if len(c.args) != 5 || upper(string(c.arg(2))) != "FILTERBY" {
			c.replies.Error(errSyntax)
			return
		}
		operand := c.arg(4)
		switch upper(string(c.arg(3))) {
		case "MODULE":
			keep = func(*command.Spec) bool { return false }
		case "ACLCAT":
			category := strings.ToLower(string(operand))
			keep = func(row *command.Spec) bool { return slices.Contains(row.ACLCategories(), category) }
		case "PATTERN":
			keep = func(row *command.Spec) bool { return glob.Match(operand, []byte(row.Full)) }
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	var names []string
	for _, row := range t.All() {
		if keep(row) {
			names = append(names, row.Full)
		}
	}
	if len(c.args) == 2 {
		c.replies.Set(len(names))
	} else { // an array, not a set, as in Redis
		c.replies.Array(len(names))
	}
	for _, name := range names {
		c.replies.Text(name)
	}
}

// commandGetKeys writes the keys of the command in its arguments.
func commandGetKeys(c *call, t *command.Table) {
	c.withKeysOf(t, c.args[2:], func(_ *command.Spec, key []byte) { c.replies.Bulk(key) })
}

// commandGetKeysAndFlags writes the keys and what the command does with them.
func commandGetKeysAndFlags(c *call, t *command.Table) {
	c.withKeysOf(t, c.args[2:], func(row *command.Spec, key []byte) {
		c.replies.Array(2)
		c.replies.Bulk(key)
		c.replies.Set(len(row.KeyUse))
		for _, use := range row.KeyUse {
			c.replies.Simple(use)
		}
	})
}

// withKeysOf writes an array with what write writes for each key of a command, or an error.
func (c *call) withKeysOf(t *command.Table, args []resp.Arg, write func(row *command.Spec, key []byte)) {
	row, err := t.LookUp(args)
	switch {
	case err != nil:
		c.replies.Error(errors.New("Invalid command specified"))
		return
	case row.Keys.Step == 0:
		c.replies.Error(errors.New("The command has no key arguments"))
		return
	case !row.ArityMatches(len(args)):
		c.replies.Error(errors.New("Invalid number of arguments specified for command"))
		return
	}
	keys := row.AppendKeys(nil, args)
	c.replies.Array(len(keys))
	for _, key := range keys {
		write(row, key)
	}
}

func commandDocs(c *call, t *command.Table) {
	var rows []*command.Spec
	for i := 2; i < len(c.args); i++ {
		if row := t.FindFull(c.arg(i)); row != nil {
			rows = append(rows, row)
		}
	}
	if len(c.args) == 2 {
		rows = t.Commands()
	}
	c.replies.Map(len(rows))
	for _, row := range rows {
		command.WriteDocs(c.replies, row)
	}
}

// help returns the handler of a container's HELP. It describes the subcommands in Redis' layout.
func help(container *command.Spec) plain {
	return func(c *call) {
		lines := []string{upper(container.Name) + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"}
		for _, sub := range container.Sub {
			lines = append(lines, strings.TrimSpace(upper(sub.Name)+" "+sub.Syntax), "    "+sub.Summary)
		}
		c.replies.Array(len(lines))
		for _, line := range lines {
			c.replies.Simple(line)
		}
	}
}
