package reconcile

import (
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// shardState is what decide must know about one shard of the node.
type shardState struct {
	ready   bool   // its data has been read from disk
	pending uint64 // epoch of its pending handover; 0 for none
}

// decision is what a node does to match a topology.
type decision struct {
	member   bool               // the topology has this incarnation of the node
	settled  bool               // once lead is done, the node serves all that it should, and no shard that it could get is vacant
	lead     []topology.ShardID // their rows name the node as the primary
	follow   []topology.ShardID // those of all others
	topology *topology.Topology // without the node as primary unless it is a member
}

// decide returns what a node must do to match t. A topology that has another incarnation of the node gives this one no
// shards: until the topology has this incarnation, no process serves what an earlier one served.
func decide(t *topology.Topology, self topology.NodeID, incarnation uint64, state func(topology.ShardID) shardState) decision {
	row, known := t.Node(self)
	d := decision{member: known && row.Incarnation == incarnation, topology: t}
	if !d.member {
		d.topology = t.WithoutPrimary(self)
	}
	d.settled = d.member && len(t.Shards) > 0
	for i, row := range d.topology.Shards {
		id := topology.ShardID(i)
		local := state(id)
		if row.Primary == self {
			if local.ready && local.pending < row.Epoch {
				d.lead = append(d.lead, id)
			} else {
				d.settled = false
			}
			continue
		}
		d.follow = append(d.follow, id)
		if row.Primary == "" && mayServe(row, self) {
			d.settled = false
		}
	}
	return d
}

// mayServe reports whether the controller may promote a node to primary of a vacant shard.
func mayServe(row topology.Shard, id topology.NodeID) bool {
	return slices.Contains(row.ISR, id) || len(row.ISR) == 0 && (len(row.Assigned) == 0 || row.Assigned[0] == id)
}
