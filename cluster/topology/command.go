package topology

// Kind is what an Op does.
type Kind string

// The kinds of Op. An op on a shard is a compare-and-swap: it is refused unless the shard is in the expected Epoch.
const (
	Create          Kind = "create"           // the cluster, once: Cluster, Shards, Replicas, Epoch, Nodes; Node, if set, keeps the data in its folder
	NodeJoin        Kind = "node-join"        // Nodes[0]: a new node, or a new incarnation of a member
	NodeLeave       Kind = "node-leave"       // Node is assigned no more shards, and is forgotten once it has no copy
	NodeForget      Kind = "node-forget"      // Node is lost for good with all its copies; only in Incarnation, if set
	ConfigSet       Kind = "config-set"       // Name has Value on all nodes
	ConfigReset     Kind = "config-reset"     // Name has on each node the value that the node was started with
	Assign          Kind = "assign"           // Members should have copies of the shard
	Promote         Kind = "promote"          // Node, in Incarnation, becomes the primary of a shard; ISR becomes Members
	Resign          Kind = "resign"           // Node, the primary, stops serving the shard
	ShrinkISR       Kind = "shrink-isr"       // Node leaves the ISR
	AddLearner      Kind = "add-learner"      // Node, in Incarnation, starts to catch up
	ExpandISR       Kind = "expand-isr"       // Node, in Incarnation, a learner, has caught up
	TransferPrimary Kind = "transfer-primary" // Node, in Incarnation, replaces the primary that proposes this
)

// Op is one change of the topology.
type Op struct {
	Kind        Kind     `json:"op"`
	Shard       ShardID  `json:"shard,omitempty"`
	Epoch       uint64   `json:"epoch,omitempty"` // expected epoch of the shard; of Create, the first epoch
	Node        NodeID   `json:"node,omitempty"`
	Incarnation uint64   `json:"incarnation,omitempty"` // expected incarnation of Node
	Members     []NodeID `json:"members,omitempty"`
	// Empty, of Promote and TransferPrimary: the shard starts empty on Node, which need not have a copy;
	// copies of earlier epochs become stale. Of NodeForget: only if Node is leaving and has no copy.
	Empty    bool   `json:"empty,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	Shards   int    `json:"shards,omitempty"`
	Replicas int    `json:"replicas,omitempty"`
	Nodes    []Node `json:"nodes,omitempty"`
	// Stores, of NodeJoin: earlier store ids of a data folder that lost raft's files and got a new store id.
	// Copies under those ids are copies of this node.
	Stores []string `json:"stores,omitempty"`
	Name   string   `json:"name,omitempty"`
	Value  string   `json:"value,omitempty"`
}

// Command is the content of one log entry: ops that are applied in order, each on its own.
type Command struct {
	Ops []Op `json:"ops"`
}
