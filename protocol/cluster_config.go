package protocol

import (
	"context"
	"fmt"
)

// clusterConfig is CONFIG for all nodes. The cluster keeps the settings.
func clusterConfig(c *call, r *router) {
	topo := r.cluster.Topology()
	_, member := topo.Node(r.cluster.Self())
	switch what := c.option(2); {
	case what == "GET":
		c.showSettings(r.cluster.ClusterSettings(), 3)
	case what != "SET" && what != "RESET":
		c.replies.Error(fmt.Errorf("unknown subcommand '%.128s'. Try CLUSTER HELP.", c.arg(2)))
	case what == "SET" && len(c.args) == 4:
		c.replies.Error(c.row.ArityError())
	case what == "SET" && len(c.args)%2 == 0:
		c.replies.Error(errSyntax)
	case topo.Cluster == "" || !member:
		c.replies.Error(r.notInCluster())
	case what == "SET":
		changes := c.settingPairs(3)
		r.decide(c, func(ctx context.Context) error { return r.cluster.ChangeClusterSettings(ctx, changes) })
	default:
		names := c.settingNames(3)
		r.decide(c, func(ctx context.Context) error { return r.cluster.ResetClusterSettings(ctx, names) })
	}
}
