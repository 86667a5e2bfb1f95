package node

import (
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replication"
	"github.com/ndring/ndring/shard"
)

// loads says what a node has and has room for, to those who plan moves.
type loads struct {
	incarnation uint64
	shards      int
	store       *shard.Store
	replicator  *replication.Replicator
}

// load returns the load of the node now. It takes no lock that a command waits for.
func (l loads) load() topology.Load {
	load := topology.Load{Incarnation: l.incarnation}
	load.Memory, load.Disk = l.store.Room()
	for id := range l.shards {
		of := l.store.Shard(id)
		u := of.Copies().Usage()
		if u.Bytes == 0 && u.Keys == 0 {
			continue
		}
		s := topology.ShardLoad{Shard: topology.ShardID(id), Bytes: u.Bytes, Keys: u.Keys}
		if of.Serving() {
			s.Reads, s.Writes = u.Reads, u.Writes
		}
		load.Shards = append(load.Shards, s)
	}
	for _, s := range l.replicator.Sends() {
		load.Sends = append(load.Sends, topology.Send{Shard: topology.ShardID(s.Shard), To: topology.NodeID(s.To.Node), Done: s.Done})
	}
	return load
}

// loadsOf returns what says what a node has.
func loadsOf(n *Node) loads { return loads{n.incarnation, n.config.Shards, n.store, n.replicator} }
