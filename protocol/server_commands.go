package protocol

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func dbSize(c *call) { c.replies.Int(int64(c.server.store.Stats().Keys)) }

func timeNow(c *call) {
	now := time.Now().UnixMicro()
	c.replies.Array(2)
	c.replies.Text(strconv.FormatInt(now/1e6, 10))
	c.replies.Text(strconv.FormatInt(now%1e6, 10))
}

// role answers as a primary without replicas.
func role(c *call) {
	c.replies.Array(3)
	c.replies.Text("master")
	c.replies.Int(0)
	c.replies.Array(0)
}

// wait answers how many replicas have the writes: there are none to wait for.
func wait(c *call) {
	replicas, ok := parseInt(c.arg(1))
	timeout, ok2 := parseInt(c.arg(2))
	switch {
	case !ok || !ok2 || replicas < 0:
		c.replies.Error(errInteger)
	case timeout < 0:
		c.replies.Error(errors.New("timeout is negative"))
	default:
		c.replies.Int(0)
	}
}

func flush(c *call) {
	if len(c.args) > 2 {
		c.replies.Error(errSyntax)
		return
	}
	if len(c.args) == 2 {
		if how := upper(string(c.arg(1))); how != "ASYNC" && how != "SYNC" {
			c.replies.Error(errSyntax)
			return
		}
	}
	if err := c.server.store.Flush(); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

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
			keep = func(row *Command) bool { return globMatches(operand, []byte(row.full)) }
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
	args := c.args[2:]
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
		c.replies.Bulk(key)
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

// writeRow writes the ten fields of COMMAND's reply since Redis 7.0.
func writeRow(w *Replies, row *Command) {
	w.Array(10)
	w.Text(row.full)
	w.Int(int64(row.Arity))
	flags := row.flagNames()
	w.Set(len(flags))
	for _, f := range flags {
		w.Simple(f)
	}
	w.Int(int64(row.Keys.First))
	w.Int(int64(row.Keys.Last))
	w.Int(int64(row.Keys.Step))
	categories := row.categories()
	w.Set(len(categories))
	for _, category := range categories {
		w.Simple("@" + category)
	}
	w.Set(0) // tips
	writeKeySpecs(w, row)
	w.Set(len(row.Sub))
	for _, sub := range row.Sub {
		writeRow(w, sub)
	}
}

func (c *Command) flagNames() (names []string) {
	for _, f := range flagNames {
		if c.Flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

func (c *Command) categories() []string {
	var out []string
	for _, category := range []struct {
		name string
		in   bool
	}{
		{"keyspace", c.Group == groupGeneric},
		{"read", c.Flags&ReadOnly != 0},
		{"write", c.Flags&Write != 0},
		{"admin", c.Flags&Admin != 0},
		{"dangerous", c.Flags&Admin != 0 || c.Name == "flushall" || c.Name == "flushdb" || c.Name == "info" && c.Group == groupServer},
		{"fast", c.Flags&Fast != 0},
		{"slow", c.Flags&Fast == 0},
		{"connection", c.Group == groupConnection},
		{"transaction", c.Group == groupTransactions},
	} {
		if category.in {
			out = append(out, category.name)
		}
	}
	return out
}

func writeKeySpecs(w *Replies, row *Command) {
	if row.Keys.Step == 0 {
		w.Set(0)
		return
	}
	access := "RO"
	if row.Flags&Write != 0 {
		access = "RW"
	}
	lastKey := row.Keys.Last
	if lastKey > 0 {
		lastKey -= row.Keys.First // Redis counts from the first key here
	}
	w.Set(1)
	w.Map(3)
	w.Text("flags")
	w.Set(1)
	w.Simple(access)
	w.Text("begin_search")
	w.Map(2)
	w.Text("type")
	w.Text("index")
	w.Text("spec")
	w.Map(1)
	w.Text("index")
	w.Int(int64(row.Keys.First))
	w.Text("find_keys")
	w.Map(2)
	w.Text("type")
	w.Text("range")
	w.Text("spec")
	w.Map(3)
	w.Text("lastkey")
	w.Int(int64(lastKey))
	w.Text("keystep")
	w.Int(int64(row.Keys.Step))
	w.Text("limit")
	w.Int(0)
}

func writeDocs(w *Replies, row *Command) {
	summary := row.Summary
	if row.Syntax != "" {
		summary = fmt.Sprintf("%s (%s %s)", summary, strings.ToUpper(strings.ReplaceAll(row.full, "|", " ")), row.Syntax)
	}
	fields := 3
	if len(row.Sub) > 0 {
		fields++
	}
	w.Text(row.full)
	w.Map(fields)
	for _, field := range [][2]string{{"summary", summary}, {"since", row.Since}, {"group", row.Group}} {
		w.Text(field[0])
		w.Text(field[1])
	}
	if len(row.Sub) > 0 {
		w.Text("subcommands")
		w.Map(len(row.Sub))
		for _, sub := range row.Sub {
			writeDocs(w, sub)
		}
	}
}
