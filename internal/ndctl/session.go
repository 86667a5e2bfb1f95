package ndctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/cluster/view"
)

// session is a connection to a cluster: its topology as the first node that answered sees it, and
// clients of all nodes. The cluster is not fetched again during a session.
type session struct {
	cluster  *view.Cluster
	entry    string    // address of the node that was asked first, which is cluster.Self
	members  []*member // Invariant: members[i] is cluster.Nodes[i]; both are sorted by label
	options  *options
	password string
	clients  map[string]*redis.Client // every client of the session, by address
}

func newSession(o *options, password, entry string, c *redis.Client, cluster *view.Cluster) *session {
	s := &session{cluster: cluster, entry: entry, options: o, password: password, clients: map[string]*redis.Client{entry: c}}
	s.loadMembers()
	return s
}

// loadMembers makes a member of every node. The node that was asked is reachable at entry, whatever
// it announces.
func (s *session) loadMembers() {
	for i := range s.cluster.Nodes {
		n := &s.cluster.Nodes[i]
		m := &member{Node: n, address: n.Address()}
		switch {
		case m.ID == s.cluster.Self:
			m.client, m.self = s.clients[s.entry], true
			if m.address == "" {
				m.address = s.entry
			}
		case m.address != "":
			m.client = s.client(m.address)
		}
		s.members = append(s.members, m)
	}
}

// client returns the client for an address.
func (s *session) client(addr string) *redis.Client {
	if s.clients[addr] == nil {
		s.clients[addr] = s.options.client(addr, s.password)
	}
	return s.clients[addr]
}

// close closes all connections.
func (s *session) close() {
	for _, c := range s.clients {
		c.Close() // every answer has arrived
	}
}

// member returns the member with an id, or nil if there is none.
func (s *session) member(id topology.NodeID) *member {
	for _, m := range s.members {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// self returns the node that was asked first.
func (s *session) self() *member { return s.member(s.cluster.Self) }

// find returns the node that a user names: by its name, its id, or a prefix of either that no other
// node has.
func (s *session) find(name string) (*member, error) {
	var found []*member
	for _, m := range s.members {
		switch {
		case string(m.ID) == name || m.Name == name:
			return m, nil
		case name != "" && (strings.HasPrefix(string(m.ID), strings.ToLower(name)) || strings.HasPrefix(m.Name, name)):
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("unknown node %q; the nodes are %s", name, listed(s.members))
	}
	return nil, fmt.Errorf("%q is ambiguous: %s", name, listed(found))
}

// listed names members with the beginnings of their ids.
func listed(members []*member) string {
	var names []string
	for _, m := range members {
		names = append(names, fmt.Sprintf("%s (%s)", m.Label(), view.ShortID(m.ID)))
	}
	return strings.Join(names, ", ")
}

// targetNode returns the node that a command acts on: the named one, or else the one at the only
// address. Flag is how the user can name it.
func (s *session) targetNode(name, flag string) (*member, error) {
	switch {
	case name != "":
		return s.find(name)
	case len(s.options.addrs) > 1:
		return nil, usageError("several addresses are given: choose the node with %s", flag)
	}
	return s.self(), nil
}

// infos asks all nodes for INFO or CLUSTER INFO. The info of a node that does not answer is nil.
func (s *session) infos(ctx context.Context, command ...any) ([]info, nodeFailures) {
	all := make([]info, len(s.members))
	failed := each(ctx, s.members, func(ctx context.Context, i int, m *member) error {
		found, err := m.info(ctx, command...)
		if err == nil {
			all[i] = found
		}
		return err
	})
	return all, failed
}
