package topology

import "encoding/json"

// Load is what a node says about its room and about the copies on their way from it.
type Load struct {
	Incarnation uint64 `json:"incarnation"`
	// Memory and Disk are the bytes that the node has room for; NoLimit if nothing bounds it, as where a node keeps nothing on disk or
	// evicts.
	Memory int64 `json:"memory"`
	Disk   int64 `json:"disk"`
	// Shards has the copies of the node that have data, and how much.
	Shards []ShardLoad `json:"shards,omitempty"`
	// Sends has the learners that this node, as the primary, catches up.
	Sends []Send `json:"sends,omitempty"`
}

// NoLimit is the room of a node that has no limit.
const NoLimit = -1

// ShardLoad is one copy of a shard. Totals are since the start of the node.
type ShardLoad struct {
	Shard  ShardID `json:"shard"`
	Bytes  int64   `json:"bytes"` // of memory
	Keys   int64   `json:"keys"`
	Reads  int64   `json:"reads,omitempty"`  // commands of clients, if the node is the primary
	Writes int64   `json:"writes,omitempty"` // the same
}

// Send is a copy on its way to a learner.
type Send struct {
	Shard ShardID `json:"shard"`
	To    NodeID  `json:"to"`
	Done  int64   `json:"done"` // bytes that were sent
}

// Encode returns the load as JSON.
func (l *Load) Encode() ([]byte, error) { return json.Marshal(l) }

// Room returns how many bytes the node has room for, in memory and on disk.
func (l *Load) Room() int64 {
	switch {
	case l.Memory == NoLimit:
		return l.Disk
	case l.Disk == NoLimit:
		return l.Memory
	}
	return min(l.Memory, l.Disk)
}
