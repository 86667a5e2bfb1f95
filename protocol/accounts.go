package protocol

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/acl"
	"github.com/ndring/ndring/protocol/command"
)

// accounts are the users of a server. Connections look at the users in effect between two commands.
type accounts struct {
	commands *acl.Commands             // the table as rules see it
	users    atomic.Pointer[acl.Users] // in effect
	denials  denials
	warning  throttle // of denials

	mu       sync.Mutex // guards all below; a leaf
	layers   *acl.Layers
	password string          // of the settings
	started  bool            // password has been set
	decided  clusterPosition // of the cluster's users
}

// clusterPosition says which topology the users of the cluster come from.
type clusterPosition struct {
	cluster         string
	recovery, index uint64
}

func (a *accounts) init(table *command.Table) {
	a.commands = acl.NewCommands(table)
	a.layers = acl.NewLayers(a.commands)
	a.users.Store(a.layers.Effective())
}

// change changes the layers and puts the result into effect.
func (a *accounts) change(edit func(*acl.Layers) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := edit(a.layers); err != nil {
		return err
	}
	a.users.Store(a.layers.Effective())
	return nil
}

// setPassword follows the setting requirepass. Only another value than the last one changes the default user, as in Redis.
func (a *accounts) setPassword(password string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started && password == a.password {
		return
	}
	a.layers.SetPassword(password, !a.started)
	a.password, a.started = password, true
	a.users.Store(a.layers.Effective())
}

// ErrNoACLFile is returned by a Host that has no ACL file.
var ErrNoACLFile = errors.New("This ndring instance is not configured to use an ACL file. Start it with --aclfile FILE to load and save users there.")

// LoadUsers replaces the users of the ACL file, or returns ErrNoACLFile. It drops what was decided on this node. Connections of users that are no
// more, or have other rules, are closed. After an error nothing has changed.
func LoadUsers(s *Server) error { return loadUsers(s, nil) }

func loadUsers(s *Server, x *conn) error {
	name, text, err := s.host.ReadUsers()
	if err != nil {
		return err
	}
	users, err := acl.ParseFile(s.accounts.commands, name, text)
	if err != nil {
		return err
	}
	before := s.accounts.users.Load()
	s.accounts.change(func(l *acl.Layers) error { // returns no error
		l.Load(users)
		return nil
	})
	after := s.accounts.users.Load()
	s.connections.killUsers(x, func(u *acl.User) bool {
		was, is := before.Get(u.Name()), after.Get(u.Name())
		return is == nil || was == nil || u.Name() != acl.DefaultName && was.Rules() != is.Rules()
	})
	return nil
}

// killUsers closes the connections of some users. That of x is closed after its reply.
func (all *connections) killUsers(x *conn, some func(*acl.User) bool) {
	all.kill(x, func(other *conn) bool { return some(other.login.user.Load()) }, false)
}

// ApplyUsers applies the users of the cluster. A topology older than the last one changes nothing. It reports whether there are other users than before.
func ApplyUsers(s *Server, t *topology.Topology) (changed bool) {
	a := &s.accounts
	a.mu.Lock()
	is := clusterPosition{t.Cluster, t.Recovery, t.Index}
	last := a.decided
	if t.Cluster == "" || is.cluster == last.cluster && (is.recovery < last.recovery || is.recovery == last.recovery && is.index <= last.index) {
		a.mu.Unlock()
		return false
	}
	a.decided = is
	definitions := make(map[string]acl.Definition, len(t.Users))
	for name, u := range t.Users {
		definitions[name] = acl.Definition{Rules: u.Rules, At: u.At}
	}
	changed, unknown := a.layers.SetCluster(definitions)
	if changed {
		a.users.Store(a.layers.Effective())
	}
	after := a.users.Load()
	a.mu.Unlock()
	if len(unknown) > 0 {
		s.log.Warn("the cluster has users with rules that this version does not know; they are off on this node", "users", unknown)
	}
	if changed {
		s.connections.killUsers(nil, func(u *acl.User) bool { return after.Get(u.Name()) == nil })
	}
	return changed
}
