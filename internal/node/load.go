package node

import (
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// Load implements cluster.Host.
func (h *clusterHost) Load() topology.Load {
	load := topology.Load{Incarnation: h.node.incarnation}
	load.Memory, load.Disk = shard.RoomOf(h.node.store)
	for i := range h.node.config.Shards {
		if l := shard.LoadOf(h.node.store.Shard(i)); l.Keys > 0 || l.Bytes > 0 || h.node.store.Shard(i).Serving() {
			load.Shards = append(load.Shards, topology.ShardLoad{Shard: topology.ShardID(i), Bytes: l.Bytes, Keys: l.Keys, Reads: l.Reads, Writes: l.Writes})
		}
	}
	for _, s := range h.node.replicator.Sends() {
		load.Sends = append(load.Sends, topology.Send{Shard: topology.ShardID(s.Shard), To: topology.NodeID(s.To.Node), Done: s.Done})
	}
	return load
}
