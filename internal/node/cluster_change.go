package node

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
)

// ClusterSettings is what CLUSTER CONFIG GET shows: the settings that the cluster has set, as far as this node has taken them over.
func (n *Node) ClusterSettings() (all []protocol.Setting) {
	n.tuning.mu.Lock()
	set := n.tuning.cluster.Settings
	n.tuning.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(set)) {
		all = append(all, protocol.Setting{Name: name, Value: set[name]})
	}
	return all
}

// ChangeClusterSettings does CLUSTER CONFIG SET. What all nodes would refuse is refused here, so that it never comes into the log.
func (n *Node) ChangeClusterSettings(ctx context.Context, changes []protocol.Setting) error {
	values, err := checkChanges(n.effective(), changes)
	if err != nil {
		return err
	}
	var ops []topology.Op
	for _, v := range values {
		if reason := perNode[v.Name]; reason != "" {
			return &protocol.SettingError{Name: v.Name, Reason: reason}
		}
		ops = append(ops, topology.Op{Kind: topology.ConfigSet, Name: v.Name, Value: v.Value})
	}
	return n.decideSettings(ctx, ops)
}

// ResetClusterSettings does CLUSTER CONFIG RESET. A name that the cluster has set may be reset even if this version does not know it.
func (n *Node) ResetClusterSettings(ctx context.Context, names []string) error {
	n.tuning.mu.Lock()
	set := n.tuning.cluster.Settings
	n.tuning.mu.Unlock()
	seen := map[string]bool{}
	var ops []topology.Op
	for _, name := range names {
		fail := func(reason string) error { return &protocol.SettingError{Name: name, Reason: reason, Reset: true} }
		twice := seen[name]
		_, known := set[name]
		switch s, reason := changeable(name, seen); {
		case s == nil && (twice || !known):
			return fail(reason)
		case perNode[name] != "" && !known:
			return fail(perNode[name])
		}
		ops = append(ops, topology.Op{Kind: topology.ConfigReset, Name: name})
	}
	return n.decideSettings(ctx, ops)
}

// decideSettings has all changes decided in one entry of the log, and returns when this node goes by them.
func (n *Node) decideSettings(ctx context.Context, ops []topology.Op) error {
	errs, err := n.cluster.Propose(ctx, topology.Command{Ops: ops})
	if err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil { // they fail alike
			return fmt.Errorf("refused: %w", err)
		}
	}
	n.adoptSettings(n.cluster.Topology())
	return nil
}
