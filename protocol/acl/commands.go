package acl

import (
	"slices"

	"github.com/ndring/ndring/protocol/command"
)

// Commands is a command table as rules see it. It does not change.
type Commands struct {
	table      *command.Table
	uses       []Use           // by Spec.Index
	categories map[string]bits // the commands of each category
}

// Use is what a command does with a key, or a pattern allows.
type Use uint8

// The uses. A command that only returns whether a key exists, or metadata, has none of them.
const (
	Read Use = 1 << iota
	Write
)

// bits is a set of rows of the command table, by Spec.Index.
type bits []uint64

func newBits(rows int) bits { return make(bits, (rows+63)/64) }

func (b bits) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }

func (b bits) set(i int, yes bool) {
	if yes {
		b[i>>6] |= 1 << (i & 63)
	} else {
		b[i>>6] &^= 1 << (i & 63)
	}
}

// NewCommands returns the table for rules.
func NewCommands(table *command.Table) *Commands {
	c := &Commands{table: table, uses: make([]Use, table.Rows()), categories: map[string]bits{}}
	for _, name := range command.Categories {
		c.categories[name] = newBits(table.Rows())
	}
	for _, row := range table.All() {
		c.uses[row.Index] = useOf(row)
		for _, name := range row.ACLCategories() {
			c.categories[name].set(row.Index, true)
		}
	}
	return c
}

// useOf returns what a command does with its keys.
func useOf(row *command.Spec) (use Use) {
	for _, word := range row.KeyUse {
		switch word {
		case "access":
			use |= Read
		case "insert", "update", "delete":
			use |= Write
		}
	}
	return use
}

// Category returns the commands of a category in the order of the table, and whether there is such a category.
func (c *Commands) Category(name string) (rows []*command.Spec, known bool) {
	in, known := c.categories[name]
	if !known {
		return nil, false
	}
	return slices.DeleteFunc(c.table.All(), func(row *command.Spec) bool { return !in.has(row.Index) }), true
}
