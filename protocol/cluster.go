package protocol

import (
	"context"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Cluster is what the server asks of the cluster that it is a part of. All but the methods that take a context answer at once, from what is known here: clients never
// wait for gossip or agreement.
type Cluster interface {
	// Topology returns the newest topology, never nil: one without Cluster and Shards before the node is part of a cluster. The same topology is the same
	// pointer, since replies that are made of it are kept.
	Topology() *topology.Topology
	// Self returns this node's id.
	Self() topology.NodeID
	// Liveness returns what gossip on this node knows about another node.
	Liveness(topology.NodeID) Liveness
	// Status returns how this node stands in the cluster.
	Status() ClusterStatus
	// Links returns the connections to other nodes.
	Links() []ClusterLink
	// Forget takes a node that is gone for good out of the cluster, with all copies that it had. It returns when that is decided, or ctx is done.
	Forget(context.Context, topology.NodeID) error
	// Leave says that this node is to have no shards any more, and to be forgotten once it holds no copy. It returns when that is decided, or ctx is done.
	Leave(context.Context) error
	// ClusterSettings returns the settings that the cluster has set, as far as this node has heard.
	ClusterSettings() []Setting
	// ChangeClusterSettings changes settings of all nodes, all of them or none. It returns when that is decided and done on this node, or ctx is done. The error is a
	// *SettingError if they cannot be changed like this.
	ChangeClusterSettings(context.Context, []Setting) error
	// ResetClusterSettings takes them away likewise, so that each node goes by what it was started with.
	ResetClusterSettings(context.Context, []string) error
}

// Liveness is what gossip knows about a node. The zero value is a node that was never seen.
type Liveness struct {
	Alive   bool
	Loading bool      // it still reads its shards from disk, as far as is known
	Since   time.Time // since when it is alive, or is not
}

// ClusterStatus is how a node stands in its cluster.
type ClusterStatus struct {
	Waiting   string          // what the node waits for before it serves; empty when it does
	Starting  bool            // Waiting is for nothing but the node itself: it serves in a moment
	Leader    topology.NodeID // that it follows; empty if it knows none
	Term      uint64
	Voters    int
	VoterIDs  []topology.NodeID // those whose majority decides
	Quorum    bool              // the leader was heard from lately: the topology can change
	Applied   uint64            // index of the last log entry in the topology
	Proposals int64             // that this node has made since it started
	Failed    int64             // of them, those that were refused or of which nothing is known

	SettingsOverridden []string // settings of the cluster in place of which CONFIG SET of this node counts
	SettingsRefused    []string // and those that this node cannot apply
}

// ClusterLink is a connection between this node and another one.
type ClusterLink struct {
	Inbound bool // the other node opened it
	Node    topology.NodeID
	Since   time.Time
}
