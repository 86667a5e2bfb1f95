package node

import (
	"context"
	"log/slog"
	"sync"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/shard/reconcile"
)

// clusterHost is the process around a node as package cluster sees it. It implements cluster.Host.
type clusterHost struct {
	node       *Node
	disk       *persistence.Disk // nil without a data folder
	reconciler *reconcile.Reconciler
	stop       *stopRequest
	log        *slog.Logger

	mu              sync.Mutex // guards the rest
	joined, noticed bool       // Joined, Noticed was called
}

// SetClusterID implements cluster.Host: the manifest names the cluster.
func (h *clusterHost) SetClusterID(id string) error {
	if h.disk == nil || h.disk.Identity().Cluster().String() == id {
		return nil
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	return h.disk.Identity().SetCluster(parsed)
}

// SetRaftState implements cluster.Host: the manifest names the raft state.
func (h *clusterHost) SetRaftState(raftState string) error {
	id, err := uuid.Parse(raftState)
	if err != nil {
		return err
	}
	return h.disk.Identity().SetRaftState(id)
}

// Joined implements cluster.Host: the cluster has noticed this start of the node.
func (h *clusterHost) Joined() { h.clearUnclean(&h.joined) }

// Noticed is called when the cluster knows which copies are damaged.
func (h *clusterHost) Noticed() { h.clearUnclean(&h.noticed) }

// clearUnclean sets one of joined and noticed. Once both are set, the cluster knows which copies of this start are unclean
// or damaged, and the manifest need not say so any longer.
func (h *clusterHost) clearUnclean(known *bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if *known = true; h.disk == nil || !h.joined || !h.noticed {
		return
	}
	if err := h.disk.Identity().ClearUnclean(); err != nil {
		h.log.Warn("cannot record that the cluster knows of the unclean start: the next start counts as unclean too", "err", err)
	}
}

// Fail implements cluster.Host.
func (h *clusterHost) Fail(err error) { h.stop.fail(err) }

// Publish implements cluster.Host.
func (h *clusterHost) Publish(*topology.Topology) { h.reconciler.Wake() }

// AwaitTopology implements cluster.Host.
func (h *clusterHost) AwaitTopology(ctx context.Context, index uint64) error {
	return h.reconciler.AwaitApplied(ctx, index)
}
