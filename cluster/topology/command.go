package topology

// Kind says what an Op does.
type Kind string

// The kinds of Op. Each that names a shard is a compare-and-swap: it is refused unless the shard is in the Epoch that it expects.
const (
	Create          Kind = "create"           // the cluster, once: Cluster, Shards, Replicas, Epoch, Nodes; Node for the one that keeps what is in its folder
	NodeJoin        Kind = "node-join"        // Nodes[0]: a new node, or a new start of one that is known
	NodeLeave       Kind = "node-leave"       // Node gets no shards any more, and is forgotten once it holds no copy
	NodeForget      Kind = "node-forget"      // Node is gone for good, with all copies that it had; of Incarnation, if that is given
	ConfigSet       Kind = "config-set"       // Name has Value on all nodes
	ConfigReset     Kind = "config-reset"     // Name has on each node the value that it was started with
	Assign          Kind = "assign"           // Members: where copies of the shard ought to be
	Promote         Kind = "promote"          // Node, of Incarnation, becomes the primary of a shard; ISR becomes Members
	Resign          Kind = "resign"           // Node, the primary, serves the shard no longer
	ShrinkISR       Kind = "shrink-isr"       // Node is taken out of the ISR
	AddLearner      Kind = "add-learner"      // Node, of Incarnation, begins to catch up
	ExpandISR       Kind = "expand-isr"       // Node, of Incarnation, a learner, has caught up
	TransferPrimary Kind = "transfer-primary" // Node, of Incarnation, becomes the primary in place of the one that asks
)

// Op is one change of the topology.
type Op struct {
	Kind        Kind     `json:"op"`
	Shard       ShardID  `json:"shard,omitempty"`
	Epoch       uint64   `json:"epoch,omitempty"` // that the shard is expected to be in; of Create, the first one
	Node        NodeID   `json:"node,omitempty"`
	Incarnation uint64   `json:"incarnation,omitempty"` // that Node is expected to be in
	Members     []NodeID `json:"members,omitempty"`
	// Empty, of Promote and TransferPrimary: the shard begins empty on Node, which need not have had a copy. Copies of earlier epochs are void.
	// Of NodeForget: only if Node is leaving and holds no copy.
	Empty    bool   `json:"empty,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	Shards   int    `json:"shards,omitempty"`
	Replicas int    `json:"replicas,omitempty"`
	Nodes    []Node `json:"nodes,omitempty"`
	// Stores, of NodeJoin: what the data folder was called before, if it has lost that name with its votes. The node's copies are those.
	Stores []string `json:"stores,omitempty"`
	Name   string   `json:"name,omitempty"`
	Value  string   `json:"value,omitempty"`
}

// Command is what one log entry holds: changes that are made in turn, each if it is possible.
type Command struct {
	Ops []Op `json:"ops"`
}
