package topology

import (
	"fmt"
	"math/bits"
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
	Host string
	Port int
}

// Node is one member of the cluster.
type Node struct {
	ID        NodeID
	BusPort   int
	Listeners map[string]Address // by listener name
}

// ShardID numbers the shards from 0. Shard i holds the slots [i*Slots/shards, (i+1)*Slots/shards).
type ShardID int

// Shard is the configuration of one shard.
type Shard struct {
	Epoch   uint64
	Primary NodeID
}

// Topology is which nodes there are and which of them owns what. It is immutable; a change makes a new one.
type Topology struct {
	Nodes  []Node
	Shards []Shard // by ShardID; a power of two of them
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
	t := &Topology{Nodes: []Node{node}, Shards: make([]Shard, shards)}
	for i := range t.Shards {
		t.Shards[i] = Shard{Epoch: epoch, Primary: node.ID}
	}
	return t, nil
}

// ShardOf returns the shard that a slot is in.
func (t *Topology) ShardOf(slot int) ShardID { return ShardID(slot / (Slots / len(t.Shards))) }

// Owner returns the node that serves a slot.
func (t *Topology) Owner(slot int) (Node, bool) {
	return t.Node(t.Shards[t.ShardOf(slot)].Primary)
}

// Node returns the node with an id.
func (t *Topology) Node(id NodeID) (Node, bool) {
	for _, n := range t.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return Node{}, false
}

// Range is a run of slots, both ends included, with one owner.
type Range struct {
	First, Last int
	Primary     NodeID
}

// Ranges returns the slots in order, neighbouring shards of one owner merged, so that what clients fetch stays small.
func (t *Topology) Ranges() []Range {
	var out []Range
	width := Slots / len(t.Shards)
	for i, s := range t.Shards {
		if n := len(out); n > 0 && out[n-1].Primary == s.Primary {
			out[n-1].Last += width
			continue
		}
		out = append(out, Range{First: i * width, Last: (i+1)*width - 1, Primary: s.Primary})
	}
	return out
}
