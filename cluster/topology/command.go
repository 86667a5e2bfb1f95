package topology

// Kind is what an Op does.
type Kind string

// The kinds of Op. An op on a shard is a compare-and-swap: it is refused unless the shard is in the expected Epoch.
const (
	Create          Kind = "create"           // the cluster, once: Cluster, Shards, Replicas, Epoch, Nodes; Node, if set, keeps the data in its folder
	NodeJoin        Kind = "node-join"        // Nodes[0]: a new node, or a new incarnation of a member
	NodeLeave       Kind = "node-leave"       // Node is assigned no more shards, and is forgotten once it has no copy
	NodeDrain       Kind = "node-drain"       // Node is assigned no more shards, and stays a member
	NodeStay        Kind = "node-stay"        // Node, which leaves or is drained, is assigned shards again
	NodeForget      Kind = "node-forget"      // Node is lost for good with all its copies; only in Incarnation, if set
	ConfigSet       Kind = "config-set"       // Name has Value on all nodes
	ConfigReset     Kind = "config-reset"     // Name has on each node the value that the node was started with
	UserSet         Kind = "user-set"         // the user Name has the rules Value on all nodes
	UserDelete      Kind = "user-delete"      // the cluster has no user Name
	Assign          Kind = "assign"           // Members should have copies of the shard
	SetPlacement    Kind = "set-placement"    // the nodes of Places should have copies of these shards: all of them or none
	Promote         Kind = "promote"          // Node, in Incarnation, becomes the primary of a shard; ISR becomes Members
	Resign          Kind = "resign"           // Node, the primary, stops serving the shard
	ShrinkISR       Kind = "shrink-isr"       // Node leaves the ISR
	AddLearner      Kind = "add-learner"      // Node, in Incarnation, starts to catch up
	ExpandISR       Kind = "expand-isr"       // Node, in Incarnation, a learner, has caught up
	TransferPrimary Kind = "transfer-primary" // Node, in Incarnation, replaces the primary that proposes this
	DropLearner     Kind = "drop-learner"     // Node is no longer a learner
	MarkUnclean     Kind = "mark-unclean"     // Node, in Incarnation, found damage in its copy; in any epoch
	BeginEmpty      Kind = "begin-empty"      // the shard, whose last copy was wiped, may start empty
	SetFormat       Kind = "set-format"       // the topology gets the rules of Format
)

// Reporter is a member that reported that it hears no primary, in the incarnation in which it did.
type Reporter struct {
	Node        NodeID `json:"node"`
	Incarnation uint64 `json:"incarnation"`
}

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
	Format   int    `json:"format,omitempty"` // of Create and SetFormat
	// Reporters, of Promote: members that reported in the expected epoch. One of them ends all commits and leases
	// of that epoch, so a clean reporter has every committed write.
	Reporters []Reporter `json:"reporters,omitempty"`
	// Unclean, of Promote: Node need not be clean, because no member of the ISR is. Of NodeJoin, and of Create about
	// Node: the copies of this node may lack what it acknowledged.
	Unclean bool `json:"unclean,omitempty"`
	// Lossy, of an unclean NodeJoin or Create: more than a loss of power made the start unclean. The folder was copied, moved or
	// restored, so it may lack even what was synced.
	Lossy bool `json:"lossy,omitempty"`
	// Takeover, of an unclean Promote: the operator vouches that the old primary is off.
	Takeover bool `json:"takeover,omitempty"`
	// Starts, of NodeJoin: the earlier starts of the data folder, the oldest first, from the last one on of which the
	// node has learned that it was decided. If the topology's incarnation is not among them, the folder is an
	// older copy of the one that made it.
	Starts []uint64 `json:"starts,omitempty"`
	// SameLock, of NodeJoin: boot and lock file are those of the last start, so the process that started last
	// with this folder has ended.
	SameLock bool `json:"sameLock,omitempty"`
	// Stores, of NodeJoin: earlier store ids of a data folder that lost raft's files and got a new store id.
	// Copies under those ids are copies of this node.
	Stores []string `json:"stores,omitempty"`
	Name   string   `json:"name,omitempty"`
	Value  string   `json:"value,omitempty"`
	// Base, of SetPlacement, NodeLeave and NodeDrain: the expected index of the placement; for the latter two, 0 is any. Of UserSet and
	// UserDelete: the expected At of the user; 0: there is none.
	Base uint64 `json:"base,omitempty"`
	// Places and Placement, of SetPlacement: what changes. Its At is ignored.
	Places    []Placed  `json:"places,omitempty"`
	Placement Placement `json:"placement,omitzero"`
}

// Placed says which nodes should have copies of a shard, the preferred primary first.
type Placed struct {
	Shard   ShardID  `json:"shard"`
	Members []NodeID `json:"members"`
}

// Command is the content of one log entry: ops that are applied in order, each on its own.
type Command struct {
	Ops []Op `json:"ops"`
}
