package command

import (
	"fmt"
	"slices"

	"github.com/ndring/ndring/protocol/resp"
)

// Spec is a row of the command table.
type Spec struct {
	Name    string // lower case; for a subcommand, the second word
	Arity   int    // number of arguments, names included; -n for at least n
	Flags   Flags
	Keys    Keys
	KeyUse  []string // what the command does with its keys; required if it has any
	Tips    Tips
	Group   string // as in COMMAND DOCS
	Since   string // version of ndring
	Syntax  string // of the arguments after the name
	Summary string
	Handler Handler // nil for a container
	Sub     []*Spec // the subcommands of a container
	MaxArg  int64   // bytes of an argument, of a command without Uploads; 0 for the usual limit

	Categories []string // of the ACL, instead of those that follow from the group

	Full  string // container|name; NewTable sets it
	Index int    // among all rows, subcommands included; NewTable sets it
}

// Handler executes a command. Its type is up to the package that executes commands.
type Handler any

// Flags of a command, as COMMAND INFO shows them.
type Flags uint

// The flags. All except the last four are Redis'.
const (
	Write     Flags = 1 << iota // may change data
	ReadOnly                    // reads data
	DenyOOM                     // refused when memory is full
	Admin                       // for operators
	NoAuth                      // allowed before AUTH
	Loading                     // allowed while data is being loaded
	Stale                       // allowed without a connection to the cluster
	Fast                        // takes constant time, whatever is stored
	NoMulti                     // not allowed between MULTI and EXEC: it concerns more than one shard, or the connection
	NoSlowlog                   // its arguments may hold a password, or its effects are logged individually
	Uploads                     // accepts arrays: its arguments may be large
	Control                     // is executed, not queued, within a transaction
	Unpaused                    // is executed during CLIENT PAUSE
	Audited                     // changes the node for all clients: it is logged
)

// flagNames are in the order in which Redis gives them.
var flagNames = []struct {
	flag Flags
	name string
}{
	{Write, "write"}, {ReadOnly, "readonly"}, {DenyOOM, "denyoom"}, {Admin, "admin"}, {Loading, "loading"}, {Stale, "stale"},
	{NoSlowlog, "skip_slowlog"}, {Fast, "fast"}, {NoAuth, "no_auth"}, {NoMulti, "no_multi"},
}

// Keys says which arguments are keys. The zero value means none; a negative Last counts from the end.
type Keys struct{ First, Last, Step int }

// The usual positions of keys.
var (
	OneKey    = Keys{1, 1, 1}
	AllKeys   = Keys{1, -1, 1}
	OddKeys   = Keys{1, -1, 2} // keys and values alternate
	SecondKey = Keys{2, 2, 1}  // behind a container and a subcommand
)

// positions returns the positions of the keys among n arguments: first to last, by step. There are none
// if last < first.
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

// ArityMatches reports whether the command accepts n arguments.
func (c *Spec) ArityMatches(n int) bool {
	return n == c.Arity || c.Arity < 0 && n >= -c.Arity
}

// ArityError returns the error for a wrong number of arguments.
func (c *Spec) ArityError() error {
	return fmt.Errorf("wrong number of arguments for '%s' command", c.Full)
}

// AppendKeys appends the bytes of the arguments that are keys.
func (c *Spec) AppendKeys(keys [][]byte, args []resp.Arg) [][]byte {
	first, last, step := c.Keys.positions(len(args))
	for i := first; i <= last; i += step {
		keys = append(keys, args[i].Bytes())
	}
	return keys
}

// FlagNames returns the names of the command's flags.
func (c *Spec) FlagNames() (names []string) {
	for _, f := range flagNames {
		if c.Flags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// Categories are the categories of commands that rules may name: Redis', in its order, of which some have no command here, and
// ndring's own.
var Categories = []string{
	"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow",
	"blocking", "dangerous", "connection", "transaction", "scripting", CategoryArray,
}

// CategoryArray is the category of the commands on arrays.
const CategoryArray = "array"

// ACLCategories returns the categories that the command is in, in the order of Categories.
func (c *Spec) ACLCategories() (names []string) {
	for _, category := range []struct {
		name string
		in   bool
	}{
		{"keyspace", c.Group == GroupGeneric},
		{"read", c.Flags&ReadOnly != 0},
		{"write", c.Flags&Write != 0},
		{"admin", c.Flags&Admin != 0},
		{"fast", c.Flags&Fast != 0},
		{"slow", c.Flags&Fast == 0},
		{"dangerous", c.Flags&Admin != 0},
		{"connection", c.Group == GroupConnection},
		{"transaction", c.Group == GroupTransactions},
		{CategoryArray, c.Group == GroupArray},
	} {
		byGroup := category.name == "keyspace" || category.name == "connection" || category.name == "transaction"
		if byGroup && (c.Categories != nil || len(c.Sub) > 0) { // a container has none of its subcommands' categories
			category.in = false
		}
		if category.in || slices.Contains(c.Categories, category.name) {
			names = append(names, category.name)
		}
	}
	return names
}

// The groups, as COMMAND DOCS names them.
const (
	GroupArray        = "array" // ndring's own
	GroupGeneric      = "generic"
	GroupConnection   = "connection"
	GroupServer       = "server"
	GroupCluster      = "cluster"
	GroupTransactions = "transactions"
)
