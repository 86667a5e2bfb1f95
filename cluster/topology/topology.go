package topology

import (
	"fmt"
	"math/bits"
	"slices"
)

// Limits of the number of shards of a cluster, and its default.
const (
	MinShards     = 16
	MaxShards     = Slots
	DefaultShards = 256
)

// NodeID names a node to clients: 40 hexadecimal digits, as in Redis Cluster.
type NodeID string

// Address is where clients of one listener reach a node. An empty Host stands for the address that the client itself used.
type Address struct {
	Host string `json:"host,omitempty"`
	Port int    `json:"port,omitempty"`
	// Derived is true if no host was announced: the node itself then answers with the local address of the
	// client's connection, and other nodes answer with Host.
	Derived bool `json:"derived,omitempty"`
}

// NodeState is the intended state of a node. Liveness is not part of the topology: each node observes it itself.
type NodeState string

// The states.
const (
	Active   NodeState = ""         // it is assigned shards
	Leaving  NodeState = "leaving"  // it is assigned none, and is forgotten once it has no copy in an ISR
	Draining NodeState = "draining" // it is assigned none, and stays a member
)

// Node is one member of the cluster.
type Node struct {
	ID          NodeID             `json:"id"`
	Name        string             `json:"name,omitempty"`  // chosen by the operator
	Store       string             `json:"store,omitempty"` // id of its data folder; a copy in another store is another copy
	Incarnation uint64             `json:"incarnation,omitempty"`
	Zone        string             `json:"zone,omitempty"`
	BusHost     string             `json:"busHost,omitempty"` // where it was reachable when it last joined; a hint
	BusPort     int                `json:"busPort,omitempty"`
	Listeners   map[string]Address `json:"listeners,omitempty"` // by listener name
	State       NodeState          `json:"state,omitempty"`
	Log         bool               `json:"log,omitempty"`    // it keeps a log of its shards on disk
	Always      bool               `json:"always,omitempty"` // it syncs each write before it replies (appendfsync always)
	Weight      int                `json:"weight,omitempty"` // its share of the shards, relative to other nodes; 0 stands for DefaultWeight
}

// Limits of the weight of a node, and its default.
const (
	DefaultWeight = 100
	MaxWeight     = 10_000
)

// Share returns the weight of the node.
func (n Node) Share() int {
	if n.Weight == 0 {
		return DefaultWeight
	}
	return n.Weight
}

// Label returns how messages show a node: its name and the start of its id, or the id alone.
func Label(name string, id NodeID) string {
	if name == "" || name == string(id) {
		return string(id)
	}
	return fmt.Sprintf("%s (%.8s)", name, id)
}

// Shard is one shard row. Its copies are identified by node and store: a node that joins with another
// store leaves every ISR.
type Shard struct {
	// Epoch is the number of compare-and-swap. Every change of Primary, ISR or Unclean raises it, and so does
	// whatever else makes an outstanding proposal of the primary impossible: then each proposal ends in another epoch.
	Epoch uint64 `json:"epoch"`
	// LeaderEpoch is the epoch in which Primary, or the last one, became the primary. A primary with the same
	// leader epoch in a later epoch goes on; with another one it starts over, even under the same name.
	LeaderEpoch uint64   `json:"leaderEpoch,omitempty"`
	EmptySince  uint64   `json:"born,omitempty"`     // epoch in which the shard last started empty: copies of earlier epochs are stale
	Primary     NodeID   `json:"primary,omitempty"`  // the node that serves it; empty: none may
	ISR         []NodeID `json:"isr,omitempty"`      // in-sync replicas, the primary included
	Assigned    []NodeID `json:"assigned,omitempty"` // nodes that should have copies, the preferred primary first
	Learners    []NodeID `json:"learners,omitempty"` // nodes whose copies are catching up

	// Unclean has the members of the ISR that may lack writes that they acknowledged. Each commit needs them, but
	// they are promoted only when the ISR has no clean member.
	Unclean []NodeID `json:"unclean,omitempty"`
	// Lossy is true if an unclean member may lack writes that were acknowledged under its setting: it did not sync
	// them before it acknowledged, its copy is damaged or older than that, or the ISR may be stale after a
	// recovery of raft. Otherwise it lacks at most what was not acknowledged.
	Lossy bool `json:"lossy,omitempty"`
	// Relinquished is true if the last primary serves no more: it resigned, or another process holds its folder.
	// Members then need not wait for its lease to end.
	Relinquished bool `json:"relinquished,omitempty"`
	// Unsealed is true if an unclean promotion has replaced a primary that may still serve: no member has ended
	// its lease. A primary that is open clears it, and so does the promotion of a copy that reported after a silence
	// in this leader epoch, which is as long as an unsealed primary waits.
	Unsealed bool `json:"unsealed,omitempty"`
	// Wiped has the nodes that had the last copies and came back with another data folder. The shard starts empty
	// once an operator says so, or EmptyAfter has passed. Nil once it may.
	Wiped []NodeID `json:"wiped,omitempty"`
}

// PrimarySince returns the epoch in which the primary became the primary. Until then, in a row of Format 0, each epoch
// begins another primary.
func (s *Shard) PrimarySince() uint64 {
	if s.LeaderEpoch == 0 {
		return s.Epoch
	}
	return s.LeaderEpoch
}

// The formats of a topology. A node that meets a later one than it knows must stop: it cannot know what its
// ops mean, and would decide differently from the other nodes.
const (
	Format0      = 0 // the controller promotes by what gossip sees; rows have no fields for copies
	Format1      = 1 // the controller promotes by reports of the members
	Format2      = 2 // placements are decided as a whole; nodes have weights and can be drained
	Format3      = 3 // the cluster has users
	LatestFormat = Format3
)

// Placement says for what the rows have their Assigned. The zero value is that of formats before Format2.
type Placement struct {
	At    uint64 `json:"at,omitempty"`    // index of the log entry that last changed it
	Nodes string `json:"nodes,omitempty"` // digest of the nodes for which it was made
	Kept  bool   `json:"kept,omitempty"`  // it was mended and not levelled: nodes that had no share then got none
}

// Topology is the members of the cluster, the shard rows and the cluster-wide settings. It is immutable; a
// change makes a new one.
type Topology struct {
	Cluster  string            `json:"cluster,omitempty"` // id; empty before the cluster is created
	Index    uint64            `json:"index"`             // of the log entry that made this topology
	Replicas int               `json:"replicas,omitempty"`
	Nodes    []Node            `json:"nodes,omitempty"`    // by ID
	Shards   []Shard           `json:"shards,omitempty"`   // by ShardID; a power of two of them
	Settings map[string]string `json:"settings,omitempty"` // of all nodes, by name
	// SetAt has the index of the log entry that last set or reset each setting, including settings without
	// a value now. A node drops its own CONFIG SET of a name that is older, even if the cluster's value is
	// the same as before.
	SetAt map[string]uint64 `json:"setAt,omitempty"`
	// Users are the users of all nodes, by name.
	Users map[string]User `json:"users,omitempty"`
	// Recovery is the index with which the cluster was last recovered; 0: never. Messages of nodes with an
	// earlier one are ignored.
	Recovery uint64 `json:"recovery,omitempty"`
	// Forgotten has the last incarnation of each forgotten node. A repeated or late NodeJoin of that
	// incarnation must not bring the node back; a later incarnation may join.
	Forgotten map[NodeID]uint64 `json:"forgotten,omitempty"`
	// Format says by which rules ops are applied. A topology keeps the rules of its format, so that old entries
	// of the log come to the same topology as before, until SetFormat.
	Format int `json:"format,omitempty"`
	// Placement says for what the shards are assigned as they are.
	Placement Placement `json:"placement,omitzero"`
	// PossibleLosses counts the decisions by which a shard may have lost acknowledged writes.
	PossibleLosses uint64 `json:"possibleLosses,omitempty"`
}

// CheckShards returns an error that names the valid counts if n is not one.
func CheckShards(n int) error {
	if n < MinShards || n > MaxShards || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("the number of shards must be a power of two from %d to %d, not %d", MinShards, MaxShards, n)
	}
	return nil
}

// Single returns the topology of a cluster of one node that serves all shards.
func Single(node Node, shards int, epoch uint64) (*Topology, error) {
	if err := CheckShards(shards); err != nil {
		return nil, err
	}
	t := &Topology{Cluster: "single", Replicas: 1, Nodes: []Node{node}, Shards: make([]Shard, shards)}
	for i := range t.Shards {
		t.Shards[i] = Shard{Epoch: epoch, Primary: node.ID, ISR: []NodeID{node.ID}, Assigned: []NodeID{node.ID}}
	}
	return t, nil
}

// ShardOf returns the shard that holds a slot. The topology must have shards.
func (t *Topology) ShardOf(slot int) ShardID { return ShardOf(slot, len(t.Shards)) }

// Owner returns the node that serves a slot.
func (t *Topology) Owner(slot int) (Node, bool) {
	if len(t.Shards) == 0 {
		return Node{}, false
	}
	return t.Node(t.Shards[t.ShardOf(slot)].Primary)
}

// Node returns the node with an id.
func (t *Topology) Node(id NodeID) (Node, bool) {
	if i, ok := find(t.Nodes, id); ok {
		return t.Nodes[i], true
	}
	return Node{}, false
}

// WithoutPrimary returns a copy in which a node is the primary of no shard, for a node that must serve nothing.
func (t *Topology) WithoutPrimary(id NodeID) *Topology {
	changed := *t
	changed.Shards = slices.Clone(t.Shards)
	for i := range changed.Shards {
		if s := &changed.Shards[i]; s.Primary == id {
			s.Primary = ""
		}
	}
	return &changed
}

// Range is a run of slots with one primary. It includes both ends.
type Range struct {
	First, Last int
	Primary     NodeID
}

// Ranges returns all slots in order. Adjacent shards with one primary are merged to keep replies to clients small.
func (t *Topology) Ranges() []Range {
	var out []Range
	if len(t.Shards) == 0 {
		return nil
	}
	for i, s := range t.Shards {
		first, last := ShardID(i).Slots(len(t.Shards))
		if n := len(out); n > 0 && out[n-1].Primary == s.Primary {
			out[n-1].Last = last
			continue
		}
		out = append(out, Range{First: first, Last: last, Primary: s.Primary})
	}
	return out
}
