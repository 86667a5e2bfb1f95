package command

import (
	"fmt"
	"strings"

	"github.com/ndring/ndring/protocol/resp"
)

// instead maps the Redis commands that users try first to ndring's.
var instead = map[string]string{
	"get": "NP.GET", "getdel": "NP.GET and DEL", "getex": "NP.GET and EXPIRE", "getset": "NP.GET and NP.SET", "mget": "NP.MGET",
	"set": "NP.SET", "setex": "NP.SET with EX", "psetex": "NP.SET with PX", "setnx": "NP.SET with NX", "mset": "NP.MSET", "append": "NP.SET", "setrange": "NP.SET",
	"getrange": "NP.SLICE", "substr": "NP.SLICE", "strlen": "NP.META", "keys": "SCAN", "dump": "NP.GET", "restore": "NP.SET",
}

// unknownCommand begins with Redis' text, which clients look for, and up to 128 bytes of the arguments.
// The hint at the end is ndring's own.
func unknownCommand(args []resp.Arg) error {
	shown := ""
	for _, a := range args[1:] {
		if len(shown) >= 128 {
			break
		}
		shown += fmt.Sprintf("'%.*s' ", 128-len(shown), a.Bytes())
	}
	name := args[0].Bytes()
	hint := "stores NumPy arrays, with NP.SET and NP.GET"
	if better := instead[strings.ToLower(string(name[:min(len(name), 32)]))]; better != "" {
		hint = "has " + better
	}
	return fmt.Errorf("unknown command '%.128s', with args beginning with: %s(ndring %s: see docs/commands.md)", name, shown, hint)
}

// LookUp returns the row of a command of which at least the name has been read.
func (t *Table) LookUp(args []resp.Arg) (*Spec, error) {
	row := t.Find(args[0].Bytes())
	if row == nil {
		return nil, unknownCommand(args)
	}
	if len(row.Sub) == 0 || len(args) == 1 {
		if row.Handler == nil {
			return nil, row.ArityError()
		}
		return row, nil
	}
	sub := row.sub(args[1].Bytes())
	if sub == nil {
		return nil, fmt.Errorf("unknown subcommand '%.128s'. Try %s HELP.", args[1].Bytes(), strings.ToUpper(row.Name))
	}
	return sub, nil
}
