package node

import (
	"context"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	clusterview "github.com/ndring/ndring/cluster/view"
)

// PlanMoves implements protocol.Cluster.
func (c *clientCluster) PlanMoves(ctx context.Context, w topology.Wish) (*clusterview.Plan, error) {
	return cluster.PlacementsOf(c.cluster).Plan(ctx, w)
}

// CarryMoves implements protocol.Cluster.
func (c *clientCluster) CarryMoves(ctx context.Context, w topology.Wish, base uint64) (int, error) {
	return cluster.PlacementsOf(c.cluster).Carry(ctx, w, base)
}

// Stay implements protocol.Cluster.
func (c *clientCluster) Stay(ctx context.Context, id topology.NodeID) error {
	return cluster.PlacementsOf(c.cluster).Stay(ctx, id)
}

// Moves implements protocol.Cluster.
func (c *clientCluster) Moves(ctx context.Context) *clusterview.Moves {
	return cluster.PlacementsOf(c.cluster).Moves(ctx)
}

// Load implements protocol.Cluster.
func (c *clientCluster) Load() topology.Load { return cluster.PlacementsOf(c.cluster).Load() }
