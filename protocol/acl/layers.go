package acl

import (
	"maps"
	"slices"
)

// Layers are the definitions of users that a node knows. In effect is, for each name, what clients have decided on this node since it
// started, else what the cluster has, else what the ACL file has. Below them is the default user that the settings make.
//
// The zero value is not ready: use NewLayers. A Layers is used under one lock.
type Layers struct {
	commands *Commands
	settings *User            // the default user
	file     map[string]*User // of the ACL file
	cluster  map[string]clusterUser
	own      map[string]*User // decided on this node; nil for a user that was deleted here
}

type clusterUser struct {
	user *User
	at   uint64 // index of the decision
}

// Definition is what the cluster says about a user.
type Definition struct {
	Rules string
	At    uint64 // index of the decision
}

// NewLayers returns layers with the default user only.
func NewLayers(c *Commands) *Layers {
	return &Layers{commands: c, settings: Default(c), own: map[string]*User{}}
}

// Effective returns the users in effect.
func (l *Layers) Effective() *Users {
	all := map[string]*User{DefaultName: l.settings}
	maps.Copy(all, l.file)
	for name, u := range l.cluster {
		all[name] = u.user
	}
	for name, u := range l.own {
		if all[name] = u; u == nil {
			delete(all, name)
		}
	}
	return &Users{all}
}

// Set applies rules to a user on this node, which is created if it does not exist.
func (l *Layers) Set(name string, rules []string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	u := l.Effective().Get(name)
	if u == nil {
		u = New(l.commands, name)
	}
	u, err := u.With(rules...)
	if err == nil {
		l.own[name] = u
	}
	return err
}

// Delete deletes users on this node, and returns how many there were.
func (l *Layers) Delete(names []string) (deleted int) {
	for _, name := range names {
		if l.Effective().Get(name) != nil && name != DefaultName {
			l.own[name] = nil
			deleted++
		}
	}
	return deleted
}

// Load replaces the users of the ACL file. What was decided on this node is dropped.
func (l *Layers) Load(file map[string]*User) {
	l.file = file
	clear(l.own)
}

// Saved returns the users that belong into the ACL file: those of this node, without those that only the cluster has.
func (l *Layers) Saved() map[string]*User {
	all := map[string]*User{DefaultName: l.settings}
	maps.Copy(all, l.file)
	maps.Copy(all, l.own)
	maps.DeleteFunc(all, func(_ string, u *User) bool { return u == nil })
	return all
}

// SetPassword gives the default user the password of the settings; empty: it needs none. First says that the node starts: then the ACL file and
// the cluster prevail. Later it is a decision on this node.
func (l *Layers) SetPassword(password string, first bool) {
	rules := []string{"resetpass", ">" + password}
	if password == "" {
		rules = []string{"nopass"}
	}
	with := func(u *User) *User {
		changed, err := u.With(rules...)
		if err != nil { // cannot happen: a password of any length has a short hash
			return New(l.commands, DefaultName)
		}
		return changed
	}
	if !first {
		l.own[DefaultName] = with(l.Effective().Default())
	}
	l.settings = with(Default(l.commands))
}

// SetCluster replaces the users of the cluster. What the cluster has decided since the last call overrides what was decided about the same
// names on this node. It reports whether anything has changed, and the names of new users whose rules this version does not understand: they are off.
func (l *Layers) SetCluster(users map[string]Definition) (changed bool, unknown []string) {
	next := make(map[string]clusterUser, len(users))
	for name, d := range users {
		last, had := l.cluster[name]
		if had && last.at == d.At {
			next[name] = last
			continue
		}
		changed = true
		u, err := ParseRules(l.commands, name, d.Rules)
		if err != nil {
			u = New(l.commands, name)
			unknown = append(unknown, name)
		}
		next[name] = clusterUser{u, d.At}
		delete(l.own, name)
	}
	for name := range l.cluster {
		if _, stays := next[name]; !stays {
			delete(l.own, name)
			changed = true
		}
	}
	l.cluster = next
	slices.Sort(unknown)
	return changed, unknown
}

// ClusterUser returns the user of the cluster to which rules are to be applied: the one with the rules that the cluster has, else a new user
// that may do nothing, or the default user that needs no password and may do everything.
func ClusterUser(c *Commands, name, rules string, known bool) (*User, error) {
	switch {
	case known:
		return ParseRules(c, name, rules)
	case name == DefaultName:
		return Default(c), nil
	}
	return New(c, name), nil
}
