package protocol

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/acl"
)

// clusterACL is ACL for all nodes. The cluster keeps the users.
func clusterACL(c *call, s *Server) {
	r := s.router
	topo := r.cluster.Topology()
	_, member := topo.Node(r.cluster.Self())
	switch what := c.option(2); {
	case what == "LIST" && len(c.args) == 3:
		clusterUsers(c, r)
	case what == "LIST", what != "SETUSER" && what != "DELUSER":
		c.replies.Error(fmt.Errorf("unknown subcommand or wrong number of arguments for '%.128s'. Try CLUSTER HELP.", c.arg(2)))
	case len(c.args) == 3:
		c.replies.Error(c.row.ArityError())
	case topo.Cluster == "" || !member:
		c.replies.Error(r.notInCluster())
	case what == "SETUSER":
		name, rules := string(c.arg(3)), c.rulesFrom(4)
		r.decide(c, func(ctx context.Context) error { return setClusterUser(ctx, s, name, rules) })
	default:
		names := c.rulesFrom(3)
		r.decide(c, func(ctx context.Context) error {
			return r.cluster.ChangeUsers(ctx, func(users map[string]topology.User) ([]topology.Op, error) { return deleteUsers(users, names) })
		})
	}
}

// clusterUsers writes the users of the cluster, each as a line of an ACL file.
func clusterUsers(c *call, r *router) {
	users := r.cluster.Users()
	c.replies.Array(len(users))
	for _, name := range slices.Sorted(maps.Keys(users)) {
		c.replies.Text("user " + name + " " + users[name].Rules)
	}
}

// setClusterUser applies rules to a user of the cluster. Only hashes of passwords leave this node.
func setClusterUser(ctx context.Context, s *Server, name string, rules []string) error {
	if err := acl.CheckName(name); err != nil {
		return err
	}
	return s.router.cluster.ChangeUsers(ctx, func(users map[string]topology.User) ([]topology.Op, error) {
		was, known := users[name]
		u, err := acl.ClusterUser(s.accounts.commands, name, was.Rules, known)
		if err == nil {
			u, err = u.With(rules...)
		}
		if err != nil {
			return nil, err
		}
		return []topology.Op{{Kind: topology.UserSet, Name: name, Value: u.Rules(), Base: was.At}}, nil
	})
}

// deleteUsers returns the ops that delete users of the cluster: all of them, or none.
func deleteUsers(users map[string]topology.User, names []string) (ops []topology.Op, err error) {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		u, known := users[name]
		if !known {
			return nil, fmt.Errorf("the cluster has no user '%.128s'", name)
		}
		ops = append(ops, topology.Op{Kind: topology.UserDelete, Name: name, Base: u.At})
	}
	return ops, nil
}

// ErrFormatTooOld is returned for a change that needs all nodes to run a later version.
var ErrFormatTooOld = errors.New("not all nodes run a version that knows users of the cluster: upgrade them first")
