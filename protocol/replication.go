package protocol

import (
	"context"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Copies is the part of Cluster that is about the copies of shards.
type Copies interface {
	// Replication returns how this node replicates.
	Replication() Replication
	// Transfer makes the primaries of shards hand them over to this node, which has clean copies. It returns when that is decided,
	// or ctx is done, with an error unless all were handed over.
	Transfer(context.Context, []topology.ShardID) error
	// Takeover makes this node the primary of shards whose last primary is off, as an operator vouches. It returns when that is
	// decided, or ctx is done, with an error unless this node got all of them.
	Takeover(context.Context, []topology.ShardID) error
}

// Replication is how a node replicates. Totals are since its start.
type Replication struct {
	Shrinks, Expands  int64 // of the ISRs of shards that this node led
	Failovers         int64 // shards that this node leads because their last primary was lost
	BytesIn, BytesOut int64
	MovedBytes        int64  // sent to copies that catch up and are not in the ISR yet
	Peers             []Peer // to which this node sends
}

// Peer is a process to which a node sends.
type Peer struct {
	Node     topology.NodeID
	Linked   bool
	CatchUps int           // shards that it catches up with
	Bytes    int64         // not acknowledged
	Silent   time.Duration // since its last acknowledgement
}

// replicaState is the replication of this node, as INFO and ROLE show it.
type replicaState struct {
	master  bool // it leads a shard, or belongs to no cluster
	offset  uint64
	slaves  []slave
	leader  *topology.Address // of a node that is not master: the node that leads most of its copies; nil if clients cannot reach it
	leaders map[topology.NodeID]int

	primary, replica, degraded, single, down, learners int
	counts                                             Replication
}

// ReplicationStats are the figures of INFO replication. Totals begin at the start of the node; UncertainWrites at CONFIG RESETSTAT, too.
type ReplicationStats struct {
	Primary, Replica, Degraded, Down, Learners int
	Shrinks, Expands, Failovers                int64
	UncertainWrites                            int64
	BytesIn, BytesOut, MovedBytes, LagBytes    int64
	DigestMismatches                           int64
}

// ReplicationStats returns the figures.
func (s *Server) ReplicationStats() ReplicationStats {
	r := s.router.counts()
	return ReplicationStats{
		Primary: r.primary, Replica: r.replica, Degraded: r.degraded, Down: r.down, Learners: r.learners,
		Shrinks: r.counts.Shrinks, Expands: r.counts.Expands, Failovers: r.counts.Failovers, UncertainWrites: s.uncertainWrites(),
		BytesIn: r.counts.BytesIn, BytesOut: r.counts.BytesOut, MovedBytes: r.counts.MovedBytes, LagBytes: r.lag(), DigestMismatches: s.store.CopyStats().DigestMismatches,
	}
}

// counts returns the replication of this node without offsets and other nodes.
func (r *router) counts() replicaState {
	topo, self := r.cluster.Topology(), r.cluster.Self()
	state := replicaState{counts: r.cluster.Replication(), leaders: map[topology.NodeID]int{}}
	for i := range topo.Shards {
		state.add(&topo.Shards[i], self, r.state)
	}
	state.master = state.primary > 0 || state.replica == 0
	return state
}

// slave is a connected node with copies of shards that this node leads.
type slave struct {
	at      topology.Address
	missing uint64 // records
	peer    Peer
}

// state is what Redis calls the state of a replica.
func (s *slave) state() string {
	if s.peer.CatchUps > 0 {
		return "send_bulk"
	}
	return "online"
}

// replication returns the replication of this node for a client.
func (r *router) replication(from *origin) replicaState {
	topo, self := r.cluster.Topology(), r.cluster.Self()
	state := r.counts()
	missing := map[topology.NodeID]uint64{}
	replicated := uint64(0) // of shards that other nodes lead
	for i := range topo.Shards {
		if topo.Shards[i].Primary != self {
			if holds(&topo.Shards[i], self) {
				end, _ := r.store.Shard(i).Role().Progress()
				replicated += end
			}
			continue
		}
		end, others := r.store.Shard(i).Role().Progress()
		if len(others) > 0 { // as in Redis, nothing counts that has no replica
			state.offset += end
		}
		for _, o := range others {
			missing[topology.NodeID(o.Process.Node)] += end - min(end, o.Has)
		}
	}
	if state.master {
		state.slaves = r.slaves(from, topo, missing, state.counts.Peers)
	} else {
		state.offset = replicated
		state.leader = r.mainLeader(from, topo, state.leaders)
	}
	return state
}

// holds reports whether a node has a copy of a shard.
func holds(row *topology.Shard, id topology.NodeID) bool {
	return slices.Contains(row.ISR, id) || slices.Contains(row.Learners, id)
}

// add counts a shard. Why says why a node cannot be expected to answer.
func (s *replicaState) add(row *topology.Shard, self topology.NodeID, why func(topology.NodeID) string) {
	switch {
	case row.Primary == self:
		s.primary++
		s.learners += len(row.Learners)
		switch {
		case len(row.Assigned) > 1 && len(row.Clean()) <= 1:
			s.degraded++
		case len(row.Assigned) <= 1:
			s.single++
		}
		return
	case !holds(row, self):
		return
	}
	s.replica++
	switch {
	case row.Primary == "" || why(row.Primary) != "":
		s.down++
	default:
		s.leaders[row.Primary]++
	}
}

// slaves returns the nodes with copies of this node's shards that are connected and that the client reaches, in the order of the
// topology.
func (r *router) slaves(from *origin, topo *topology.Topology, missing map[topology.NodeID]uint64, peers []Peer) (all []slave) {
	for _, node := range topo.Nodes {
		behind, has := missing[node.ID]
		if !has {
			continue
		}
		s := slave{missing: behind}
		for _, p := range peers {
			if p.Node == node.ID && (p.Linked || !s.peer.Linked) {
				s.peer = p
			}
		}
		reachable := false
		if s.at, reachable = r.addressOf(from, node); reachable && s.peer.Linked {
			all = append(all, s)
		}
	}
	return all
}

// mainLeader returns where a client reaches the node that leads most of the shards that this node has copies of.
func (r *router) mainLeader(from *origin, topo *topology.Topology, leaders map[topology.NodeID]int) *topology.Address {
	best := -1
	for i, node := range topo.Nodes {
		if n := leaders[node.ID]; n > 0 && (best < 0 || n > leaders[topo.Nodes[best].ID]) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	at, reachable := r.addressOf(from, topo.Nodes[best])
	if !reachable {
		return nil
	}
	return &at
}

// lag returns how many bytes are on the way to other nodes.
func (s *replicaState) lag() (n int64) {
	for _, p := range s.counts.Peers {
		n += p.Bytes
	}
	return n
}

// durability says whether a shard that this node leads would be lost with it.
func (s *replicaState) durability() string {
	switch {
	case s.degraded > 0:
		return "degraded"
	case s.single > 0:
		return "none"
	}
	return "ok"
}
