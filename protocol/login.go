package protocol

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/protocol/acl"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
)

// login is the user of a connection. Others may use user; the rest belongs to the connection's goroutine.
type login struct {
	conn  *conn
	users *acl.Users               // as of the last command
	user  atomic.Pointer[acl.User] // the default user until the client authenticates
}

// begin makes the connection one of the default user.
func (l *login) begin(c *conn) {
	l.conn, l.users = c, c.server.accounts.users.Load()
	l.user.Store(l.users.Default())
	c.authenticated = l.users.Default().Admits()
}

// follow makes the connection follow a change of the users.
func (l *login) follow() {
	users := l.conn.server.accounts.users.Load()
	if users == l.users {
		return
	}
	l.users = users
	u := users.Get(l.user.Load().Name())
	if u == nil { // the connection is being closed, unless it authenticated while its user was deleted
		l.become(users.Default(), false)
		l.conn.cut()
		return
	}
	l.user.Store(u)
	if !l.conn.authenticated && u.Admits() {
		l.conn.setAuthenticated(true)
	}
}

// become makes the connection one of a user.
func (l *login) become(u *acl.User, authenticated bool) {
	l.user.Store(u)
	l.conn.setAuthenticated(authenticated)
}

// reset makes the connection one of the default user again.
func (l *login) reset() {
	l.follow()
	l.become(l.users.Default(), l.users.Default().Admits())
}

// permissionError says what a user may not do.
type permissionError string

func (e permissionError) Error() string { return string(e) }

func (permissionError) Unwrap() error { return errNoPermission }

var errNoPermission = errors.New("no permission")

// authorize returns an error if the connection's user may not execute a command.
func (l *login) authorize(k *call) error {
	u := l.user.Load()
	if u.Everything() {
		return nil
	}
	denial := l.denied(u, k.row, k.args, k.keys)
	switch denial.Kind {
	case acl.Allowed:
		return nil
	case acl.Key:
		return permissionError("No permissions to access a key")
	}
	return permissionError(deniedCommand(u, k.row))
}

func deniedCommand(u *acl.User, row *command.Spec) string {
	return "User " + u.Name() + " has no permissions to run the '" + row.Full + "' command"
}

// permitQueued is authorize for a command that was queued and is executed now.
func (l *login) permitQueued(k *call) error {
	u := l.user.Load()
	if u.Everything() {
		return nil
	}
	const text = "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. " +
		"This command is no longer allowed for the following reason: "
	switch l.denied(u, k.row, k.args, k.keys).Kind {
	case acl.Command:
		return permissionError(text + "no permission to execute the command or subcommand")
	case acl.Key:
		return permissionError(text + "no permission to touch the specified keys")
	}
	return nil
}

// denied checks a command, and notes a denial.
func (l *login) denied(u *acl.User, row *command.Spec, args []resp.Arg, keys [][]byte) acl.Denial {
	var first []byte
	if len(args) > 1 {
		first = args[1].Bytes()
	}
	denial := u.Check(row, first, keys)
	switch denial.Kind {
	case acl.Command:
		l.note(deniedBy{reasonCommand, row.Full, u.Name()})
	case acl.Key:
		l.note(deniedBy{reasonKey, string(keys[denial.Key]), u.Name()})
	}
	return denial
}

// note counts a denial, puts it into the log of ACL LOG, and now and then into that of the node.
func (l *login) note(d deniedBy) {
	c := l.conn
	c.publish()
	a := &c.server.accounts
	now := time.Now()
	switch d.reason {
	case reasonAuth:
		c.server.counters.authFailures.Add(1)
	case reasonCommand:
		c.server.counters.deniedCommands.Add(1)
	case reasonKey:
		c.server.counters.deniedKeys.Add(1)
	}
	a.denials.add(d, c.tx.open, c.describe(), now, c.server.config.Load().ACLLogMaxLen)
	if suppressed, ok := a.warning.pass(now); ok && d.reason != reasonAuth {
		object := d.object
		if d.reason == reasonKey { // keys are data
			object = "a key"
		}
		c.server.log.Warn("a client was denied", "reason", d.reason, "object", shortened(object), "user", shortened(d.user), "client", c.origin.address(), "suppressed", suppressed)
	}
}

// freeArgument is the size, in bytes, up to which an argument is read before its user is checked.
const freeArgument = 1 << 10

// admit refuses an argument of n bytes, before it is read, if no command could accept it, or its command is not allowed to the user.
func (l *login) admit(before []resp.Arg, total int, n int64) error {
	s := l.conn.server
	if err := s.admit(before, total, n); err != nil {
		return err
	}
	if n <= freeArgument || len(before) == 0 || !l.conn.authenticated {
		return nil
	}
	u, users := l.user.Load(), s.accounts.users.Load()
	if users != l.users {
		if u = users.Get(u.Name()); u == nil {
			return ErrNoAuth
		}
	}
	if u.Everything() {
		return nil
	}
	row, err := s.table.LookUp(before)
	if err != nil {
		return nil // dispatch refuses it
	}
	k := call{row: row, args: before, keys: knownKeys(row, before)}
	switch l.denied(u, row, before, k.keys).Kind {
	case acl.Command:
		err = permissionError(deniedCommand(u, row))
	case acl.Key:
		err = permissionError("No permissions to access a key")
	}
	return err
}

// knownKeys returns the keys among the first two and the last of the arguments that have been read: only these may be looked at.
func knownKeys(row *command.Spec, before []resp.Arg) (keys [][]byte) {
	last := len(before) - 1
	for _, at := range []int{1, last} {
		k := row.Keys
		if k.Step == 0 || at > last || at < k.First || k.Last > 0 && at > k.Last || (at-k.First)%k.Step != 0 {
			continue
		}
		keys = append(keys, before[at].Bytes())
	}
	return keys
}

// mayLearn returns those of the keys that the connection's user may read: a client must not learn the names of others.
func (l *login) mayLearn(keys []string) []string {
	u := l.user.Load()
	if u.Everything() {
		return keys
	}
	return slices.DeleteFunc(keys, func(key string) bool { return !u.MayRead(key) })
}
