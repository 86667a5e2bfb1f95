package protocol

import (
	"context"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Cluster is the cluster as this node knows it. Methods without a context answer at once, from local
// knowledge: clients never wait for gossip or consensus.
type Cluster interface {
	// Topology returns the newest topology. It is never nil; before the node joins a cluster it has no
	// Cluster and no Shards. An unchanged topology is the same pointer: replies made from it are cached.
	Topology() *topology.Topology
	// Self returns this node's id.
	Self() topology.NodeID
	// Liveness returns what gossip on this node knows about another node.
	Liveness(topology.NodeID) Liveness
	// Status returns the state of this node in its cluster.
	Status() ClusterStatus
	// Links returns the connections to other nodes.
	Links() []ClusterLink
	// Forget removes a node that is lost for good, with all of its copies. It returns when that is
	// decided, or ctx is done.
	Forget(context.Context, topology.NodeID) error
	// Leave asks that this node hand over its shards and be forgotten once it holds no copy. It returns
	// when that is decided, or ctx is done.
	Leave(context.Context) error
	// BeginEmpty lets shards begin empty whose last copies were wiped, or all such shards if none is
	// named. It returns how many may begin, when that is decided, or ctx is done.
	BeginEmpty(context.Context, []topology.ShardID) (int, error)
	// ClusterSettings returns the cluster-wide settings that this node knows.
	ClusterSettings() []Setting
	// ChangeClusterSettings changes settings on all nodes, all of them or none. It returns when that is
	// decided and applied on this node, or ctx is done. An invalid change is a *SettingError.
	ChangeClusterSettings(context.Context, []Setting) error
	// ResetClusterSettings removes cluster-wide settings, in the same way: each node returns to the value
	// with which it was started.
	ResetClusterSettings(context.Context, []string) error
	Copies
	Placements
	GossipKeys
}

// Liveness is what gossip knows about a node. The zero value is a node that was never seen.
type Liveness struct {
	Alive   bool
	Loading bool      // it may still be reading its shards from disk
	Since   time.Time // when Alive last changed
}

// ClusterStatus is the state of a node in its cluster.
type ClusterStatus struct {
	Waiting   string          // what the node waits for before it serves; empty when it serves
	Starting  bool            // the node waits for no other node, and serves in a moment
	Leader    topology.NodeID // raft's; empty if unknown
	Term      uint64
	Voters    int
	VoterIDs  []topology.NodeID
	Quorum    bool   // the leader was in contact recently: the topology can change
	Applied   uint64 // index of the last log entry in the topology
	Proposals int64  // of this node, since it started
	Failed    int64  // proposals that were refused, or whose outcome is unknown

	SettingsOverridden []string // cluster-wide settings that CONFIG SET of this node overrides
	SettingsRefused    []string // cluster-wide settings that this node cannot apply
}

// ClusterLink is a connection between this node and another one.
type ClusterLink struct {
	Inbound bool // the other node opened it
	Node    topology.NodeID
	Since   time.Time
}
