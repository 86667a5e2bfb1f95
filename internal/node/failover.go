package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/replica"
)

// handOverTime bounds how long a planned stop hands shards over before it stops anyway, and handOverStep is how often it looks whether
// copies have caught up meanwhile.
const (
	handOverTime = 5 * time.Second
	handOverStep = 10 * time.Millisecond
)

// A node that has handed its shards over still answers clients, as long as it has any, for redirectTime, and until it has redirected
// each connection that used it lately, but for redirectMost at most. Cluster clients ask for the topology again when they are redirected,
// but not at any time: go-redis 200 ms after the last answer. One that still knows an old topology when the node has ended fails to
// connect, and go-redis asks for a new one only when the one that it has is 10 s old.
const (
	redirectTime = 500 * time.Millisecond
	redirectMost = 10500 * time.Millisecond
)

// takeOverTime bounds how long an operator's failover waits until this node serves the shards.
const takeOverTime = 5 * time.Second

// handOver hands the node's shards over to other nodes with clean copies, waits for copies that soon will be, and returns once clients are
// sent there, or the time is over, or at once if a client wants the node to stop now.
func (n *Node) handOver(ctx context.Context) {
	if n.reconciler == nil || !n.ready.Load() || n.stop.requested().Now() {
		return
	}
	handovers := n.cluster.Handovers()
	if t := n.cluster.Topology(); len(t.Evacuate(n.id, handovers.Stays)) == 0 && t.Awaited(n.id, handovers.Stays) == 0 {
		return
	}
	handovers.AnnounceStop()
	limit, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	began := time.Now()
	for free := began; ; time.Sleep(handOverStep) {
		left := n.reconciler.Operator().Evacuate(limit)
		if left == 0 {
			left = n.cluster.Topology().Awaited(n.id, handovers.Stays)
		}
		switch {
		case left > 0 && limit.Err() != nil:
			n.log.Warn("stopping although other nodes have not taken over all shards", "left", left)
			return
		case left > 0: // a node that does not know yet that this one stops may also have handed a shard back
			free = time.Now().Add(handOverStep)
		case !othersStay(n.cluster.Topology(), n.id, handovers.Stays) || redirectedAll(n.server, free) || ctx.Err() != nil:
			n.log.Info("handed the shards over to other nodes", "took", time.Since(began))
			return
		}
	}
}

// othersStay reports whether another node goes on, to which clients can be sent.
func othersStay(t *topology.Topology, self topology.NodeID, stays func(topology.NodeID) bool) bool {
	return slices.ContainsFunc(t.Nodes, func(other topology.Node) bool {
		return other.ID != self && other.State != topology.Leaving && stays(other.ID)
	})
}

// redirectedAll reports whether all clients of a server know that this node has no shards since then, or would have asked meanwhile.
func redirectedAll(s *protocol.Server, since time.Time) bool {
	past := time.Since(since)
	return s.Stats().Clients == 0 || past > redirectMost || past > redirectTime && protocol.Unaware(s, since, redirectMost) == 0
}

// Transfer implements cluster.Host.
func (h *clusterHost) Transfer(ctx context.Context, to topology.NodeID, incarnation uint64, shards []topology.ShardID) []error {
	return h.reconciler.Operator().Transfer(ctx, replica.Process{Node: string(to), Incarnation: incarnation}, shards)
}

// Replication implements protocol.Cluster.
func (c *clientCluster) Replication() protocol.Replication {
	counts, stats := c.reconciler.Counts(), c.replicator.Stats()
	r := protocol.Replication{
		Shrinks: counts.Shrinks.Load(), Expands: counts.Expands.Load(), Failovers: counts.Failovers.Load(),
		BytesIn: stats.BytesIn.Load(), BytesOut: stats.BytesOut.Load(), MovedBytes: stats.Moved.Load(),
	}
	for _, p := range c.replicator.Peers() {
		r.Peers = append(r.Peers, protocol.Peer{Node: topology.NodeID(p.Process.Node), Linked: p.Linked, CatchUps: p.CatchUps, Bytes: p.Bytes, Silent: p.Silent})
	}
	return r
}

// Transfer implements protocol.Cluster.
func (c *clientCluster) Transfer(ctx context.Context, shards []topology.ShardID) error {
	ctx, cancel := context.WithTimeout(ctx, takeOverTime)
	defer cancel()
	c.reconciler.Operator().Keep(shards)
	return c.awaitShards(ctx, shards, c.cluster.Handovers().Transfer(ctx, shards))
}

// Takeover implements protocol.Cluster.
func (c *clientCluster) Takeover(ctx context.Context, shards []topology.ShardID) error {
	ctx, cancel := context.WithTimeout(ctx, takeOverTime)
	defer cancel()
	c.reconciler.Operator().Keep(shards)
	errs, err := c.cluster.Handovers().Takeover(ctx, shards)
	if err != nil {
		return err
	}
	return c.awaitShards(ctx, shards, errs)
}

// awaitShards waits until this node serves the shards without an error. It returns an error unless it serves all.
func (c *clientCluster) awaitShards(ctx context.Context, shards []topology.ShardID, errs []error) error {
	var first error
	failed := 0
	for i, id := range shards {
		err := errs[i]
		if err == nil {
			err = c.awaitShard(ctx, id)
		}
		if err == nil {
			continue
		}
		if failed++; first == nil {
			first = err
		}
	}
	switch {
	case failed == 0:
		return nil
	case len(shards) == 1:
		return first
	}
	return fmt.Errorf("%d of %d shards were not handed over: %w", failed, len(shards), first)
}

// awaitShard waits until this node routes a shard to itself.
func (c *clientCluster) awaitShard(ctx context.Context, id topology.ShardID) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if row := c.Topology().Shards[id]; row.Primary == c.self {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("this node does not serve shard %d yet", id), ctx.Err())
		}
	}
}
