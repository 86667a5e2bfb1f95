package topology

import (
	"fmt"
	"maps"
)

// User is a user of the whole cluster. Its rules are words of Redis' ACL, with hashes in place of passwords; package topology does not
// look into them: nodes check them before they propose.
type User struct {
	Rules string `json:"rules"`
	At    uint64 `json:"at"` // index of the log entry that last set the user
}

// Limits of the users, so that they stay a small part of the topology.
const (
	MaxUsers      = 1000
	MaxUserName   = 256     // bytes
	MaxUsersBytes = 1 << 20 // of the names and rules of all users
)

// inFormat3 applies the ops that came with Format3. Programs that know no later format than Format2 refuse them as unknown.
func (e *edit) inFormat3(op Op) error {
	if e.t.Format < Format3 {
		return refused("unknown kind of op %q", op.Kind)
	}
	was, known := e.t.Users[op.Name]
	switch {
	case op.Name == "" || len(op.Name) > MaxUserName:
		return refused("the name of a user has 1 to %d bytes", MaxUserName)
	case op.Kind == UserDelete && !known:
		return refused("the cluster has no user '%s'", op.Name)
	case op.Base != was.At:
		return fmt.Errorf("%w: the user '%s' was set by entry %d, not %d", ErrStale, op.Name, was.At, op.Base)
	}
	users := maps.Clone(e.t.Users)
	if users == nil {
		users = map[string]User{}
	}
	if delete(users, op.Name); op.Kind == UserSet {
		users[op.Name] = User{op.Value, e.t.Index}
	}
	if err := checkUsers(users, e.t.Index); err != nil && op.Kind == UserSet {
		return refused("%v", err)
	}
	e.t.Users = users
	return nil
}

// checkUsers returns an error if users are too many or too large, or were set in the future.
func checkUsers(users map[string]User, index uint64) error {
	if len(users) > MaxUsers {
		return fmt.Errorf("a cluster has at most %d users", MaxUsers)
	}
	bytes := 0
	for name, u := range users {
		if bytes += len(name) + len(u.Rules); name == "" || len(name) > MaxUserName {
			return fmt.Errorf("the name of a user has 1 to %d bytes", MaxUserName)
		}
		if u.At == 0 || u.At > index {
			return fmt.Errorf("the user %q was set by entry %d of %d", name, u.At, index)
		}
	}
	if bytes > MaxUsersBytes {
		return fmt.Errorf("the names and rules of a cluster's users have at most %d bytes", MaxUsersBytes)
	}
	return nil
}

// checkUsersStep checks that a user changes only together with its At: nodes look at nothing else to see what to apply.
func checkUsersStep(was, is *Topology) error {
	for name, now := range is.Users {
		switch before, known := was.Users[name]; {
		case now.At == before.At && now.Rules != before.Rules:
			return fmt.Errorf("topology: the user %q has other rules than entry %d set", name, now.At)
		case (!known || now.At != before.At) && now.At <= was.Index:
			return fmt.Errorf("topology: the user %q cannot have been set by the old entry %d", name, now.At)
		}
	}
	return nil
}
