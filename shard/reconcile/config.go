package reconcile

import (
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/replica"
)

// configOf returns the row of a shard as its copies see it: with the incarnation of each node. A process that the
// topology has not, or not any more, is so in no row, whatever its node's id.
func configOf(t *topology.Topology, id topology.ShardID) replica.Config {
	row := &t.Shards[id]
	c := replica.Config{
		Epoch: row.Epoch, LeaderEpoch: row.PrimarySince(), Born: row.EmptySince,
		Relinquished: row.Relinquished, Unsealed: row.Unsealed,
		ISR: processes(t, row.ISR), Unclean: processes(t, row.Unclean), Learners: processes(t, row.Learners),
		Assigned: processes(t, row.Assigned),
	}
	if row.Primary != "" {
		c.Primary = process(t, row.Primary)
	}
	return c
}

func processes(t *topology.Topology, ids []topology.NodeID) []replica.Process {
	if len(ids) == 0 {
		return nil
	}
	list := make([]replica.Process, len(ids))
	for i, id := range ids {
		list[i] = process(t, id)
	}
	return list
}

// process returns the process that is a node by a topology; its incarnation is 0, as no process has it, if the topology
// does not know the node.
func process(t *topology.Topology, id topology.NodeID) replica.Process {
	node, _ := t.Node(id)
	return replica.Process{Node: string(id), Incarnation: node.Incarnation}
}
