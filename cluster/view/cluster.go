// Package view is the one schema of how a cluster looks from one of its nodes, and the verdict on
// its health. CLUSTER TOPOLOGY returns a Cluster as JSON; ndctl decodes it and asks for the Health.
//
// The package is pure: it does no I/O and reads no clock. Its JSON is read by ndctl of other
// versions and by scripts, so fields may be added, but never renamed or removed. It must not know
// how a node learned what it reports, nor how a reader shows it.
package view

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
)

// Cluster is the cluster as the node Self sees it.
type Cluster struct {
	ID      string            `json:"cluster,omitempty"` // empty while Self is not part of a cluster
	Index   uint64            `json:"index"`             // of the raft log entry that made this topology
	Format  int               `json:"format"`            // the rules of the topology; a later one needs that all nodes run a program that knows it
	Term    uint64            `json:"term,omitempty"`
	Self    topology.NodeID   `json:"self"`
	Leader  topology.NodeID   `json:"leader,omitempty"`
	Voters  []topology.NodeID `json:"voters,omitempty"`
	Quorum  bool              `json:"quorum,omitempty"`          // Self heard from the leader recently: the topology can change
	Waiting string            `json:"waiting,omitempty"`         // what Self waits for before it serves
	Losses  uint64            `json:"possible_losses,omitempty"` // decisions by which a shard may have lost acknowledged writes
	Nodes   []Node            `json:"nodes,omitempty"`
	Shards  []Shard           `json:"shards,omitempty"` // by number; all have equally many slots
}

// Node is a member as Self sees it.
type Node struct {
	ID          topology.NodeID `json:"id"`
	Name        string          `json:"name,omitempty"`
	Zone        string          `json:"zone,omitempty"`
	Incarnation uint64          `json:"incarnation,omitempty"`
	Host        string          `json:"host,omitempty"` // empty, like Port, if clients of the listener that was asked cannot reach the node
	Port        int             `json:"port,omitempty"`
	Bus         string          `json:"bus,omitempty"`
	Leaving     bool            `json:"leaving,omitempty"`
	Draining    bool            `json:"draining,omitempty"`
	Weight      int             `json:"weight,omitempty"`
	Up          bool            `json:"up,omitempty"`
	Loading     bool            `json:"loading,omitempty"`
	Since       int64           `json:"since,omitempty"` // Unix time in ms since when the node is up or down; 0 if unknown
}

// Shard is a shard row.
type Shard struct {
	Epoch    uint64            `json:"epoch"`
	Primary  topology.NodeID   `json:"primary,omitempty"`
	InSync   []topology.NodeID `json:"in_sync,omitempty"`
	Assigned []topology.NodeID `json:"assigned,omitempty"`
	Learners []topology.NodeID `json:"learners,omitempty"`
	Unclean  []topology.NodeID `json:"unclean,omitempty"` // those in sync that may lack writes that they acknowledged

	LeaderEpoch uint64              `json:"leader_epoch,omitempty"` // in which the primary became the primary
	WaitsFor    topology.WaitReason `json:"waits_for,omitempty"`    // why the shard has no primary
	WaitsOn     []topology.NodeID   `json:"waits_on,omitempty"`     // the nodes that it waits for
}

// Of returns what a topology says: members without addresses for clients and liveness, and shards.
func Of(t *topology.Topology) *Cluster {
	c := &Cluster{ID: t.Cluster, Index: t.Index, Format: t.Format, Losses: t.PossibleLosses, Nodes: make([]Node, len(t.Nodes)), Shards: make([]Shard, len(t.Shards))}
	for i, n := range t.Nodes {
		c.Nodes[i] = Node{ID: n.ID, Name: n.Name, Zone: n.Zone, Incarnation: n.Incarnation, Leaving: n.State == topology.Leaving, Draining: n.State == topology.Draining, Weight: n.Share()}
		if n.BusPort != 0 {
			c.Nodes[i].Bus = net.JoinHostPort(n.BusHost, strconv.Itoa(n.BusPort))
		}
	}
	for i, s := range t.Shards {
		c.Shards[i] = Shard{
			Epoch: s.Epoch, Primary: s.Primary, InSync: s.ISR, Assigned: s.Assigned, Learners: s.Learners, Unclean: s.Unclean, LeaderEpoch: s.LeaderEpoch,
		}
		if wait, waits := s.Wait(); waits {
			c.Shards[i].WaitsFor, c.Shards[i].WaitsOn = wait.Reason, wait.Nodes
		}
	}
	return c
}

// Encode returns the JSON of a cluster.
func (c *Cluster) Encode() ([]byte, error) { return json.Marshal(c) }

// Decode reads what Encode returns, by this version or another one.
func Decode(text []byte) (*Cluster, error) {
	c := &Cluster{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Node returns the member with an id, or nil if there is none.
func (c *Cluster) Node(id topology.NodeID) *Node {
	for i := range c.Nodes {
		if c.Nodes[i].ID == id {
			return &c.Nodes[i]
		}
	}
	return nil
}

// Label returns how people name the node with an id: by its name, or by the beginning of its id. It
// returns "" for no id.
func (c *Cluster) Label(id topology.NodeID) string {
	if n := c.Node(id); n != nil {
		return n.Label()
	}
	return ShortID(id)
}

// Labels returns the labels of nodes, never nil.
func (c *Cluster) Labels(ids []topology.NodeID) []string {
	labels := make([]string, len(ids))
	for i, id := range ids {
		labels[i] = c.Label(id)
	}
	return labels
}

// Served reports whether the shard has a primary that Self sees alive.
func (c *Cluster) Served(shard int) bool {
	primary := c.Node(c.Shards[shard].Primary)
	return primary != nil && primary.Up
}

// Locate returns the slot and the shard of a key. The cluster must have shards.
func (c *Cluster) Locate(key string) (slot, shard int) {
	slot = topology.Slot([]byte(key))
	return slot, int(topology.ShardOf(slot, len(c.Shards)))
}

// Slots returns the first and the last slot of a shard.
func (c *Cluster) Slots(shard int) (first, last int) {
	return topology.ShardID(shard).Slots(len(c.Shards))
}

// Label returns how people name the node: by its name, or by the beginning of its id. It is one
// printable line.
func (n *Node) Label() string {
	if n.Name != "" && n.Name != string(n.ID) {
		return OneLine(n.Name)
	}
	return ShortID(n.ID)
}

// Address returns host:port for clients, or "" if they cannot reach the node.
func (n *Node) Address() string {
	if n.Port == 0 {
		return ""
	}
	return net.JoinHostPort(n.Host, strconv.Itoa(n.Port))
}

// ShortID returns the beginning of an id, which is enough for people to recognize it.
func ShortID(id topology.NodeID) string { return string(id[:min(len(id), 8)]) }

// OneLine replaces control characters by blanks, so that a text from a node cannot pass for
// something else on a terminal.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
