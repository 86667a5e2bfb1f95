package command

import (
	"fmt"
	"slices"
	"strings"
)

// Table is the command table. Dispatch, COMMAND, its docs, HELP and the limits of arguments all read it.
// It does not change.
type Table struct {
	byName map[string]*Spec
	sorted []*Spec // by name
	rows   int     // subcommands included
}

// NewTable checks the rows and completes them: each container gets a HELP, whose handler help makes. It
// panics if a row is wrong, so that a mistake shows at the first start and not at a client's first use.
func NewTable(rows []*Spec, help func(container *Spec) Handler) *Table {
	t := &Table{byName: make(map[string]*Spec, len(rows))}
	number := func(row *Spec, full string) {
		row.Full, row.Index = full, t.rows
		t.rows++
		row.check()
	}
	for _, row := range rows {
		if len(row.Sub) > 0 {
			row.Sub = append(row.Sub, helpOf(row, help(row)))
		}
		number(row, row.Name)
		if t.byName[row.Name] != nil {
			panic(fmt.Sprintf("command: two rows for command %q", row.Name))
		}
		t.byName[row.Name] = row
		seen := map[string]bool{}
		for _, sub := range row.Sub {
			number(sub, row.Name+"|"+sub.Name)
			if seen[sub.Name] || len(sub.Sub) > 0 {
				panic(fmt.Sprintf("command: %q has two rows, or is a container in a container", sub.Full))
			}
			seen[sub.Name] = true
		}
	}
	t.sorted = slices.SortedFunc(slices.Values(rows), func(a, b *Spec) int { return strings.Compare(a.Name, b.Name) })
	return t
}

func helpOf(container *Spec, handler Handler) *Spec {
	return &Spec{
		Name: "help", Arity: 2, Flags: Loading | Stale, Categories: container.Categories, Group: container.Group, Since: "0.1.0",
		Handler: handler, Summary: "Returns this text.",
	}
}

func (c *Spec) check() {
	switch {
	case c.Name == "" || c.Name != strings.ToLower(c.Name):
		panic(fmt.Sprintf("command: %q is not a valid command name", c.Name))
	case c.Arity == 0, c.Group == "", c.Since == "", c.Summary == "":
		panic(fmt.Sprintf("command: the row of %q is incomplete", c.Full))
	case c.Keys.Step > 0 && len(c.KeyUse) == 0:
		panic(fmt.Sprintf("command: the row of %q does not say how it uses its keys", c.Full))
	case c.Handler == nil && len(c.Sub) == 0:
		panic(fmt.Sprintf("command: %q has no handler", c.Full))
	}
}

// Len returns the number of commands, without subcommands.
func (t *Table) Len() int { return len(t.sorted) }

// Rows returns the number of rows, subcommands included. Spec.Index is below it.
func (t *Table) Rows() int { return t.rows }

// Commands returns the commands, sorted by name. The caller must not change the slice.
func (t *Table) Commands() []*Spec { return t.sorted }

// All returns all rows, sorted by name, each followed by those of its subcommands.
func (t *Table) All() (rows []*Spec) {
	for _, row := range t.sorted {
		rows = append(append(rows, row), row.Sub...)
	}
	return rows
}

// Find returns a command by its name, in any case, or nil.
func (t *Table) Find(name []byte) *Spec {
	var lower [32]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return t.byName[string(lower[:len(name)])]
}

// FindFull returns a command by its name, or a subcommand by container|name, or nil.
func (t *Table) FindFull(name []byte) *Spec {
	container, sub, isSub := strings.Cut(string(name), "|")
	row := t.Find([]byte(container))
	if row != nil && isSub {
		return row.sub([]byte(sub))
	}
	return row
}

// sub returns a subcommand by its name, or nil.
func (c *Spec) sub(name []byte) *Spec {
	for _, s := range c.Sub {
		if strings.EqualFold(s.Name, string(name)) {
			return s
		}
	}
	return nil
}
