package topology

import (
	"fmt"
	"math/bits"
	"slices"
)

// Shard counts that a cluster may be made with, and the one it has when nobody says.
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
	// Derived says that nobody announced the host: the node itself answers with the address that its client came in by, and others with this one.
	Derived bool `json:"derived,omitempty"`
}

// NodeState is what the cluster wants of a node. Whether it lives is not part of the topology: each node sees that by itself.
type NodeState string

// The states.
const (
	Active  NodeState = ""        // it gets shards
	Leaving NodeState = "leaving" // it gets none, and is forgotten once it holds no copy
)

// Node is one member of the cluster.
type Node struct {
	ID          NodeID             `json:"id"`
	Name        string             `json:"name,omitempty"`  // as its operator calls it
	Store       string             `json:"store,omitempty"` // id of its data folder: another one is another copy of everything
	Incarnation uint64             `json:"incarnation,omitempty"`
	Zone        string             `json:"zone,omitempty"`
	BusHost     string             `json:"busHost,omitempty"` // where it was reached when it last joined; a hint
	BusPort     int                `json:"busPort,omitempty"`
	Listeners   map[string]Address `json:"listeners,omitempty"` // by listener name
	State       NodeState          `json:"state,omitempty"`
}

// Label names a node to people: its name and the start of its id, or the id alone.
func Label(name string, id NodeID) string {
	if name == "" || name == string(id) {
		return string(id)
	}
	return fmt.Sprintf("%s (%.8s)", name, id)
}

// Shard is the configuration of one shard. A copy is known by its node and that node's Store: a node that comes with another store is in no ISR.
type Shard struct {
	Epoch      uint64   `json:"epoch"`              // raised by every change of Primary or ISR
	EmptySince uint64   `json:"born,omitempty"`     // epoch in which the shard last began empty: a copy of an earlier one is void
	Primary    NodeID   `json:"primary,omitempty"`  // who serves it; empty while nobody may
	ISR        []NodeID `json:"isr,omitempty"`      // copies in step, the primary's included
	Assigned   []NodeID `json:"assigned,omitempty"` // where copies ought to be, the primary's place first
	Learners   []NodeID `json:"learners,omitempty"` // copies that catch up
}

// Topology is which nodes there are and which of them owns what. It is immutable; a change makes a new one.
type Topology struct {
	Cluster  string            `json:"cluster,omitempty"` // id; empty before the cluster is made
	Index    uint64            `json:"index"`             // of the log entry that made this topology
	Replicas int               `json:"replicas,omitempty"`
	Nodes    []Node            `json:"nodes,omitempty"`    // by ID
	Shards   []Shard           `json:"shards,omitempty"`   // by ShardID; a power of two of them
	Settings map[string]string `json:"settings,omitempty"` // of all nodes, by name
	// SetAt has the index of the log entry that last set or reset a setting, also of those that are reset: a node gives up what it was told by itself before then, even if
	// the value is what it was.
	SetAt map[string]uint64 `json:"setAt,omitempty"`
	// Recovery is the index with which the cluster was last recovered; 0 for never. What is told by nodes of an earlier one counts no more.
	Recovery uint64 `json:"recovery,omitempty"`
	// Forgotten has the last incarnation of each node that was forgotten: until a later one joins, a repetition of its joining must not bring it back.
	Forgotten map[NodeID]uint64 `json:"forgotten,omitempty"`
}

// CheckShards returns an error that says which counts are possible when n is none of them.
func CheckShards(n int) error {
	if n < MinShards || n > MaxShards || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("the number of shards must be a power of two from %d to %d, not %d", MinShards, MaxShards, n)
	}
	return nil
}

// Single returns the topology of a cluster of one node, which owns all shards.
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

// WithoutPrimary returns the topology as a node sees it that must serve nothing: the shards that it is the primary of have none.
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

// Range is a run of slots, both ends included, with one owner.
type Range struct {
	First, Last int
	Primary     NodeID
}

// Ranges returns the slots in order, neighbouring shards of one owner merged, so that what clients fetch stays small.
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
