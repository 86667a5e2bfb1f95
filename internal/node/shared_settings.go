package node

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
)

// layers are what a node's settings come from. What is set here by CONFIG SET goes before what the cluster has set, and that before flags, the environment and
// defaults. The node's mutex guards it.
type layers struct {
	started   Config                      // by flags, environment and defaults
	shared    map[string]topology.Setting // by the cluster
	own       map[string]string           // by CONFIG SET
	unapplied []string                    // of shared, those that this node cannot have
}

// secret are settings that the cluster does not keep.
var secret = []string{"requirepass"}

// Configure implements protocol.Cluster: CLUSTER CONFIG SET and RESET.
func (n *Node) Configure(ctx context.Context, set []protocol.Setting, reset []string) error {
	var command topology.Command
	for _, s := range set {
		if slices.Contains(secret, s.Name) {
			return &protocol.SettingError{Name: s.Name, Reason: "the cluster keeps its settings in plain text on every node: " +
				"set a secret on each node, by CONFIG SET, and in its environment for the next start"}
		}
		command.Ops = append(command.Ops, topology.Op{Kind: topology.ConfigSet, Name: s.Name, Value: s.Value})
	}
	n.mu.Lock()
	tried := n.layers.started
	n.mu.Unlock()
	if err := change(&tried, set); err != nil {
		return err
	}
	for _, name := range reset {
		if _, err := changeable(name); err != nil {
			return err
		}
		command.Ops = append(command.Ops, topology.Op{Kind: topology.ConfigReset, Name: name})
	}
	errs, err := n.cluster.Propose(ctx, command)
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	return n.InStep(ctx, n.cluster.Topology().Index)
}

// share brings the node's settings in step with those of the cluster. One that the cluster has set again, to whatever value, is no longer this node's own.
func (n *Node) share(t *topology.Topology) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &n.layers
	if maps.Equal(l.shared, t.Settings) {
		return
	}
	for name, s := range t.Settings {
		if s.Index > l.shared[name].Index {
			delete(l.own, name)
		}
	}
	l.shared, l.unapplied = t.Settings, nil
	config := l.started
	for _, name := range slices.Sorted(maps.Keys(l.shared)) {
		tried := config
		if err := change(&tried, []protocol.Setting{{Name: name, Value: l.shared[name].Value}}); err != nil {
			n.log.Warn("this node cannot have a setting of the cluster: it may be of another version", "setting", name, "value", l.shared[name].Value, "err", err)
			l.unapplied = append(l.unapplied, name)
			continue
		}
		config = tried
	}
	for name, value := range l.own {
		if err := change(&config, []protocol.Setting{{Name: name, Value: value}}); err != nil { // it was possible before
			n.log.Error("a setting of this node is lost", "setting", name, "err", err)
		}
	}
	n.use(config)
	n.log.Info("the cluster's settings have changed", "settings", len(l.shared))
}
