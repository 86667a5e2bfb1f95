package protocol

import (
	"errors"
	"slices"
	"strings"

	"github.com/ndring/ndring/protocol/glob"
	"github.com/ndring/ndring/protocol/resp"
)

func commandAll(c *call) {
	rows := sortedCommands()
	c.replies.Array(len(rows))
	for _, row := range rows {
		writeRow(&c.replies, row)
	}
}

func commandCount(c *call) { c.replies.Int(int64(len(commands))) }

func commandInfo(c *call) {
	if len(c.args) == 2 {
		commandAll(c)
		return
	}
	c.replies.Array(len(c.args) - 2)
	for i := 2; i < len(c.args); i++ {
		if row := findFull(c.arg(i)); row != nil {
			writeRow(&c.replies, row)
		} else {
			c.replies.Null()
		}
	}
}

// commandList answers the names; FILTERBY takes MODULE (of which there are none), ACLCAT or PATTERN.
func commandList(c *call) {
	keep := func(*Command) bool { return true }
	if len(c.args) > 2 {
		if len(c.args) != 5 || upper(string(c.arg(2))) != "FILTERBY" {
			c.replies.Error(errSyntax)
			return
		}
		operand := c.arg(4)
		switch upper(string(c.arg(3))) {
		case "MODULE":
			keep = func(*Command) bool { return false }
		case "ACLCAT":
			category := strings.ToLower(string(operand))
			keep = func(row *Command) bool { return slices.Contains(row.categories(), category) }
		case "PATTERN":
			keep = func(row *Command) bool { return glob.Match(operand, []byte(row.full)) }
		default:
			c.replies.Error(errSyntax)
			return
		}
	}
	var names []string
	for _, row := range allRows() {
		if keep(row) {
			names = append(names, row.full)
		}
	}
	if len(c.args) == 2 {
		c.replies.Set(len(names))
	} else { // as Redis has it
		c.replies.Array(len(names))
	}
	for _, name := range names {
		c.replies.Text(name)
	}
}

// commandGetKeys answers the keys of a whole command that follows.
func commandGetKeys(c *call) {
	c.withKeysOf(c.args[2:], func(_ *Command, key []byte) { c.replies.Bulk(key) })
}

// commandGetKeysAndFlags answers them with what becomes of each.
func commandGetKeysAndFlags(c *call) {
	c.withKeysOf(c.args[2:], func(row *Command, key []byte) {
		c.replies.Array(2)
		c.replies.Bulk(key)
		c.replies.Set(len(row.KeyUse))
		for _, use := range row.KeyUse {
			c.replies.Simple(use)
		}
	})
}

// withKeysOf answers an array of what write writes for each key of a command, or why it has none.
func (c *call) withKeysOf(args []resp.Arg, write func(row *Command, key []byte)) {
	row, err := lookUp(args)
	switch {
	case err != nil:
		c.replies.Error(errors.New("Invalid command specified"))
		return
	case row.Keys.Step == 0:
		c.replies.Error(errors.New("The command has no key arguments"))
		return
	case !row.arityFits(len(args)):
		c.replies.Error(errors.New("Invalid number of arguments specified for command"))
		return
	}
	keys := row.appendKeys(nil, args)
	c.replies.Array(len(keys))
	for _, key := range keys {
		write(row, key)
	}
}

func commandDocs(c *call) {
	var rows []*Command
	for i := 2; i < len(c.args); i++ {
		if row := findFull(c.arg(i)); row != nil {
			rows = append(rows, row)
		}
	}
	if len(c.args) == 2 {
		rows = sortedCommands()
	}
	c.replies.Map(len(rows))
	for _, row := range rows {
		writeDocs(&c.replies, row)
	}
}

func sortedCommands() []*Command {
	rows := make([]*Command, 0, len(commands))
	for _, row := range commands {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b *Command) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// allRows returns the rows of all commands, each followed by those of its subcommands.
func allRows() (rows []*Command) {
	for _, row := range sortedCommands() {
		rows = append(append(rows, row), row.Sub...)
	}
	return rows
}

// findFull finds a command by its name, or a subcommand by container|name.
func findFull(name []byte) *Command {
	container, sub, isSub := strings.Cut(string(name), "|")
	row := commands.find([]byte(container))
	if row != nil && isSub {
		return row.sub([]byte(sub))
	}
	return row
}
