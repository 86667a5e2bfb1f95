package protocol

import (
	"slices"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/command"
)

// locateCopy returns this node's copy of a slot that another node serves, for a command that only reads on a connection after
// READONLY. It returns false if there is none, or none that is fresh enough.
//
// A copy's gate is closed, so the command does not enter it. It needs no gate: it changes nothing, the index is
// locked during each look-up, and the entries that it returns have references.
func (r *router) locateCopy(c *conn, row *command.Spec, slot int) (shardRef, bool) {
	if row.Flags&command.ReadOnly == 0 || c.tx.open || !c.identity.Load().readOnly {
		return shardRef{}, false
	}
	return r.copyOf(slot)
}

// copyOf returns this node's copy of a slot that another node serves, if it is fresh enough.
func (r *router) copyOf(slot int) (ref shardRef, ok bool) {
	topo, self := r.cluster.Topology(), r.cluster.Self()
	if len(topo.Shards) == 0 {
		return ref, false
	}
	id := topo.ShardOf(slot)
	row := &topo.Shards[id]
	if row.Primary == self || row.Primary == topology.NodeID("") || !slices.Contains(row.ISR, self) && !slices.Contains(row.Learners, self) {
		return ref, false
	}
	ref.shard = r.store.Shard(int(id))
	ref.fresh, ok = ref.shard.Copies().FreshAt(r.store.Monotonic())
	return ref, ok
}

// executeOnCopy executes a command on a copy of another node's shard.
func (s *Server) executeOnCopy(c *conn, k *call, ref shardRef) {
	c.keys.held.Shard, k.copy = ref.shard, ref
	defer func() { c.keys.held.Shard = nil }() // also after a panic
	c.keys.shard = &c.keys.held
	s.tracker.reads(c, k, ref.shard)
	s.execute(c, k)
}

// stale reports whether what was looked up in a copy is too old to be sent at a time, or the copy has been replaced since.
func (r *unsettledReply) stale(s *Server, now int64) bool {
	if _, ok := r.copy.shard.Copies().FreshAt(now); !ok {
		return true
	}
	return now-r.copy.fresh > int64(s.config.Load().Copies.MaxStaleness)
}
