package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ndring/ndring/cluster/topology"
)

// failover is what a CLUSTER FAILOVER asks for.
type failover struct {
	force, takeover bool
	shard           topology.ShardID // -1: all of which the node has a copy
}

// parseFailover reads [SHARD number] [FORCE | TAKEOVER]. SHARD is an extension of Redis' syntax.
func parseFailover(c *call) (f failover, err error) {
	f.shard = -1
	if len(c.args) > 3 && c.option(2) != "SHARD" && c.option(3) != "SHARD" {
		return f, c.subcommandError()
	}
	for i := 2; i < len(c.args); i++ {
		switch option := c.option(i); {
		case option == "FORCE" && !f.takeover:
			f.force = true
		case option == "TAKEOVER" && !f.force:
			f.takeover = true
		case option == "SHARD" && f.shard < 0 && i+1 < len(c.args):
			i++
			if f.shard, err = parseShard(c, i); err != nil {
				return f, err
			}
		default:
			return f, errSyntax
		}
	}
	return f, nil
}

// clusterFailover makes this node the primary of shards of which it has copies. As in Redis, it is sent to the replica.
func clusterFailover(c *call, r *router) {
	f, err := parseFailover(c)
	if err != nil {
		c.replies.Error(err)
		return
	}
	topo, self := r.cluster.Topology(), r.cluster.Self()
	if _, member := topo.Node(self); !member {
		c.replies.Error(r.notInCluster())
		return
	}
	if f.shard >= 0 && int(f.shard) >= len(topo.Shards) {
		c.replies.Error(fmt.Errorf("Invalid shard number: %d", f.shard))
		return
	}
	found := failovers{r}.candidates(topo, f.shard)
	switch {
	case f.takeover:
		err = failovers{r}.takeOver(&found)
	default:
		err = failovers{r}.takeHandedOver(&found, f.force)
	}
	if err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

// candidates are the shards that this node could get by a failover.
type candidates struct {
	planned  []topology.ShardID // it has a clean copy in the ISR, and the primary is alive
	behind   []topology.ShardID // the primary is alive, and the copy is unclean or a learner
	vacant   []topology.ShardID // the primary is down or missing, and this node's copy is the best of the live ones
	better   []topology.ShardID // another live node has a better copy
	best     string             // such a node
	primary  string             // a primary that is not alive
	reported bool               // a live node, perhaps this one, has a clean copy of a vacant shard: reports promote it
}

// failovers are what CLUSTER FAILOVER does with what a router knows.
type failovers struct{ *router }

// candidates sorts the shards that this node has copies of and does not lead: one of them, or all if only is negative.
func (r failovers) candidates(topo *topology.Topology, only topology.ShardID) (found candidates) {
	self := r.cluster.Self()
	for i := range topo.Shards {
		id, row := topology.ShardID(i), &topo.Shards[i]
		if only >= 0 && id != only || row.Primary == self || !holds(row, self) {
			continue
		}
		own := copyClass(row, self)
		if row.Primary != "" && r.state(row.Primary) == "" {
			if own == cleanCopy {
				found.planned = append(found.planned, id)
			} else {
				found.behind = append(found.behind, id)
			}
			continue
		}
		if node, known := topo.Node(row.Primary); known {
			found.primary = label(node)
		}
		if best := r.betterCopy(topo, row, own); best != "" {
			found.better, found.best = append(found.better, id), best
			continue
		}
		found.vacant = append(found.vacant, id)
		found.reported = found.reported || own == cleanCopy
	}
	return found
}

// The classes of copies: a lower one may have more of what was acknowledged.
const (
	cleanCopy = iota
	uncleanCopy
	learnerCopy
)

func copyClass(row *topology.Shard, id topology.NodeID) int {
	switch {
	case !slices.Contains(row.ISR, id):
		return learnerCopy
	case slices.Contains(row.Unclean, id):
		return uncleanCopy
	}
	return cleanCopy
}

// betterCopy names a live node whose copy is of a better class; "" if there is none.
func (r failovers) betterCopy(topo *topology.Topology, row *topology.Shard, own int) string {
	for _, id := range slices.Concat(row.ISR, row.Learners) {
		if node, known := topo.Node(id); known && copyClass(row, id) < own && r.state(id) == "" {
			return label(node)
		}
	}
	return ""
}

// takeHandedOver asks the live primaries for their shards.
func (r failovers) takeHandedOver(found *candidates, force bool) error {
	dead := append(slices.Clone(found.vacant), found.better...)
	switch {
	case len(found.planned) == 0 && len(dead) == 0 && len(found.behind) == 0:
		return errors.New("You should send CLUSTER FAILOVER to a replica")
	case len(dead) > 0 && !force && len(found.planned) == 0:
		return errors.New("Master is down or failed, please use CLUSTER FAILOVER FORCE")
	case len(dead) > 0 && len(found.planned) == 0:
		return r.noneToForce(found, len(dead))
	case len(found.planned) == 0:
		return fmt.Errorf("the copies of this node are not in sync yet: %d shards cannot be handed over to it", len(found.behind))
	}
	return r.decision(func(ctx context.Context) error { return r.cluster.Transfer(ctx, found.planned) })
}

// noneToForce is the error if the primaries are down, so that none of them can be asked to hand over.
func (r failovers) noneToForce(found *candidates, dead int) error {
	of := "no primary"
	if found.primary != "" {
		of = found.primary + ", which is down, or no primary"
	}
	if !r.cluster.Status().Quorum {
		return fmt.Errorf("%d shards have %s, and a majority of the voters is missing: without it nothing can be promoted", dead, of)
	}
	if found.reported || len(found.better) > 0 {
		return fmt.Errorf("%d shards have %s: the cluster promotes a clean copy by itself once its node has reported, about a second after the primary is gone, so nothing was forced", dead, of)
	}
	return fmt.Errorf("%d shards have %s, and no live node has a clean copy: if their old primaries are off for good, CLUSTER FAILOVER TAKEOVER promotes what this node has and loses what it lacks", dead, of)
}

// takeOver promotes this node's copies of shards without a live primary.
func (r failovers) takeOver(found *candidates) error {
	switch {
	case len(found.vacant) > 0:
		return r.decision(func(ctx context.Context) error { return r.cluster.Takeover(ctx, found.vacant) })
	case len(found.better) > 0:
		return fmt.Errorf("%s has better copies: send it CLUSTER FAILOVER TAKEOVER", found.best)
	case len(found.planned)+len(found.behind) > 0:
		return errors.New("the primaries of these shards are alive: stop them first, or use CLUSTER FAILOVER")
	}
	return errors.New("You should send CLUSTER FAILOVER to a replica")
}
