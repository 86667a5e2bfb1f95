package node

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/protocol/bus"
	"github.com/ndring/ndring/replication"
	"github.com/ndring/ndring/shard/reconcile"
)

// clientCluster is the cluster as package protocol sees it. It implements protocol.Cluster.
type clientCluster struct {
	self       topology.NodeID
	ready      *atomic.Bool // the node serves all that it should
	cluster    *cluster.Cluster
	bus        *bus.Bus
	reconciler *reconcile.Reconciler
	replicator *replication.Replicator
	effective  *effectiveConfig
	*gossipRing
}

// Topology implements protocol.Cluster: clients are routed by the topology that the shards match.
func (c *clientCluster) Topology() *topology.Topology { return c.reconciler.Applied() }

// Self implements protocol.Cluster.
func (c *clientCluster) Self() topology.NodeID { return c.self }

// Liveness implements protocol.Cluster.
func (c *clientCluster) Liveness(id topology.NodeID) protocol.Liveness {
	alive, since, _ := c.cluster.Liveness(id)
	return protocol.Liveness{Alive: alive, Since: since}
}

// Status implements protocol.Cluster.
func (c *clientCluster) Status() protocol.ClusterStatus {
	s := c.cluster.Status()
	status := protocol.ClusterStatus{
		Waiting: s.Waiting, Starting: s.Starting, Leader: s.Leader, Term: s.Term, Voters: s.Voters, VoterIDs: s.VoterNodes, Quorum: s.Quorum,
		Applied: c.Topology().Index, Proposals: s.Proposed, Failed: s.Failed,
	}
	status.SettingsOverridden, status.SettingsRefused = c.effective.notInEffect()
	if status.Waiting == "" && !c.ready.Load() {
		status.Waiting, status.Starting = "its shards", true
	}
	return status
}

// Links implements protocol.Cluster.
func (c *clientCluster) Links() (all []protocol.ClusterLink) {
	for _, l := range c.bus.Links() {
		all = append(all, protocol.ClusterLink{Inbound: l.Inbound, Node: l.Peer.Node, Since: l.Since})
	}
	return all
}

// Forget implements protocol.Cluster.
func (c *clientCluster) Forget(ctx context.Context, id topology.NodeID) error {
	return c.cluster.Forget(ctx, id)
}

// Leave implements protocol.Cluster.
func (c *clientCluster) Leave(ctx context.Context) error { return c.cluster.Leave(ctx) }

// BeginEmpty implements protocol.Cluster.
func (c *clientCluster) BeginEmpty(ctx context.Context, shards []topology.ShardID) (int, error) {
	return c.cluster.BeginEmpty(ctx, shards...)
}

// ClusterSettings implements protocol.Cluster.
func (c *clientCluster) ClusterSettings() (all []protocol.Setting) {
	set := c.effective.clusterSettings()
	for _, name := range slices.Sorted(maps.Keys(set)) {
		all = append(all, protocol.Setting{Name: name, Value: set[name]})
	}
	return all
}

// ChangeClusterSettings implements protocol.Cluster. It refuses what every node would refuse, to keep it out of the log.
func (c *clientCluster) ChangeClusterSettings(ctx context.Context, changes []protocol.Setting) error {
	values, err := checkChanges(c.effective.config(), changes)
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
	return c.proposeSettings(ctx, ops)
}

// ResetClusterSettings implements protocol.Cluster. It accepts a name that this version does not know if the cluster
// has it.
func (c *clientCluster) ResetClusterSettings(ctx context.Context, names []string) error {
	set := c.effective.clusterSettings()
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
	return c.proposeSettings(ctx, ops)
}

// proposeSettings proposes all changes in one command, and returns when they are in effect on this node.
func (c *clientCluster) proposeSettings(ctx context.Context, ops []topology.Op) error {
	errs, err := c.cluster.Propose(ctx, topology.Command{Ops: ops})
	if err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil { // they fail alike
			return fmt.Errorf("refused: %w", err)
		}
	}
	c.effective.applyCluster(c.cluster.Topology())
	return nil
}
