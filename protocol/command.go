package protocol

import (
	"fmt"
	"strings"
)

// Command is a row of the command table.
type Command struct {
	Name    string // lower case; of a subcommand the second word alone
	Arity   int    // arguments, the name (and the container's) included; -n for at least n
	Flags   Flags
	Keys    Keys
	KeyUse  []string // what becomes of them; not empty where there are keys
	Tips    Tips
	Group   string // as COMMAND DOCS names it
	Since   string // version of ndring
	Syntax  string // what follows the name
	Summary string
	Handler func(*call) // nil for a container
	Sub     []*Command  // makes this row a container

	Categories []string // of Redis' ACL, in the place of those that follow from the group

	full  string // container|name
	index int    // among all rows
}

// Flags of a command, as COMMAND INFO shows them.
type Flags uint

// The flags. All but the last four are Redis' own.
const (
	Write     Flags = 1 << iota // may change data
	ReadOnly                    // reads data
	DenyOOM                     // refused when memory is full
	Admin                       // for operators
	NoAuth                      // allowed before AUTH
	Loading                     // allowed while data is being loaded
	Stale                       // allowed without a connection to the cluster
	Fast                        // takes the same time whatever is stored
	NoMulti                     // not allowed between MULTI and EXEC: it concerns more than one shard, or the connection itself
	NoSlowlog                   // may hold a password, or what it does is logged by itself
	Uploads                     // takes arrays: its arguments may be large
	Control                     // is done at once within a transaction
	Unpaused                    // is done during CLIENT PAUSE
	Audited                     // changes the node for all: it leaves a line in the log
)

// flagNames are in the order in which Redis gives them.
var flagNames = []struct {
	flag Flags
	name string
}{
	{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Admin, "admin"}, {Loading, "loading"}, {Stale, "stale"},
	{NoSlowlog, "skip_slowlog"}, {Fast, "fast"}, {NoAuth, "no_auth"}, {NoMulti, "no_multi"},
}

// Keys says where the keys are among the arguments; the zero value for none. Last counts from the end when negative.
type Keys struct{ First, Last, Step int }

var (
	oneKey    = Keys{1, 1, 1}
	allKeys   = Keys{1, -1, 1}
	otherKeys = Keys{1, -1, 2} // every second argument
	secondKey = Keys{2, 2, 1}  // behind a container and a subcommand
)

// positions returns where the keys of a command with n arguments are: from first to last, by step. There are none if last < first.
func (k Keys) positions(n int) (first, last, step int) {
	if k.Step == 0 {
		return 1, 0, 1
	}
	last = k.Last
	if last < 0 {
		last += n
	}
	return k.First, min(last, n-1), k.Step
}

func (c *Command) arityFits(n int) bool {
	return n == c.Arity || c.Arity < 0 && n >= -c.Arity
}

func (c *Command) arityError() error {
	return fmt.Errorf("wrong number of arguments for '%s' command", c.full)
}

// Table is the command table, by name.
type Table map[string]*Command

// newTable checks the rows, so that a mistake shows at the first start and not at a client's first use.
func newTable(rows []*Command) Table {
	t := make(Table, len(rows))
	index := 0
	number := func(row *Command) {
		row.index = index
		index++
	}
	for _, row := range rows {
		row.full = row.Name
		number(row)
		if len(row.Sub) > 0 {
			row.Sub = append(row.Sub, helpRow(row))
		}
		row.check()
		if t[row.Name] != nil {
			panic(fmt.Sprintf("protocol: two rows for command %q", row.Name))
		}
		t[row.Name] = row
		seen := map[string]bool{}
		for _, sub := range row.Sub {
			sub.full = row.Name + "|" + sub.Name
			number(sub)
			sub.check()
			if seen[sub.Name] || len(sub.Sub) > 0 {
				panic(fmt.Sprintf("protocol: command %q stands twice or is a container in a container", sub.full))
			}
			seen[sub.Name] = true
		}
	}
	return t
}

// rows returns how many rows there are, those of subcommands included.
func (t Table) rows() (n int) {
	for _, row := range t {
		n += 1 + len(row.Sub)
	}
	return n
}

func (c *Command) check() {
	switch {
	case c.Name == "" || c.Name != strings.ToLower(c.Name):
		panic(fmt.Sprintf("protocol: %q is no command name", c.Name))
	case c.Arity == 0, c.Group == "", c.Since == "", c.Summary == "":
		panic(fmt.Sprintf("protocol: the row of command %q is incomplete", c.full))
	case c.Keys.Step > 0 && len(c.KeyUse) == 0:
		panic(fmt.Sprintf("protocol: the row of command %q does not say how it uses its keys", c.full))
	case c.Handler == nil && len(c.Sub) == 0:
		panic(fmt.Sprintf("protocol: command %q has no handler", c.full))
	}
}

// find returns the row of a command, and nil if there is none. Case does not matter.
func (t Table) find(name []byte) *Command {
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
	return t[string(lower[:len(name)])]
}

// sub returns the subcommand's row, and nil if there is none.
func (c *Command) sub(name []byte) *Command {
	for _, s := range c.Sub {
		if strings.EqualFold(s.Name, string(name)) {
			return s
		}
	}
	return nil
}
