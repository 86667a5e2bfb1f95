package protocol

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
)

// decisionTime bounds the wait for the cluster's decision on a change.
const decisionTime = 10 * time.Second

func clusterMyID(c *call, r *router) { c.replies.Text(string(r.cluster.Self())) }

func clusterKeySlot(c *call) { c.replies.Int(int64(topology.Slot(c.arg(2)))) }

// clusterLinks writes at most one link to a peer and one from it, as Redis does: tools look up links by
// peer and direction. The bus may have more connections.
func clusterLinks(c *call, r *router) {
	links := joinLinks(r.cluster.Links())
	w := c.replies
	w.Array(len(links))
	for _, link := range links {
		direction := "to"
		if link.Inbound {
			direction = "from"
		}
		w.Map(6)
		for _, field := range [][2]string{{"direction", direction}, {"node", string(link.Node)}} {
			w.Text(field[0])
			w.Text(field[1])
		}
		w.Text("create-time")
		w.Int(link.Since.UnixMilli())
		w.Text("events")
		w.Text("r")
		w.Text("send-buffer-allocated") // the bus has no send buffer of its own, only that of the kernel
		w.Int(0)
		w.Text("send-buffer-used")
		w.Int(0)
	}
}

// joinLinks merges the connections to a peer into one link, and those from it into another. A link is as
// old as its oldest connection.
func joinLinks(all []ClusterLink) (joined []ClusterLink) {
	type end struct {
		node    topology.NodeID
		inbound bool
	}
	at := make(map[end]int, len(all))
	for _, link := range all {
		i, seen := at[end{link.Node, link.Inbound}]
		if !seen {
			at[end{link.Node, link.Inbound}] = len(joined)
			joined = append(joined, link)
			continue
		}
		first := &joined[i]
		if link.Since.Before(first.Since) {
			first.Since = link.Since
		}
	}
	return joined
}

// clusterMeet checks its operands as Redis does, and fails: nodes join by gossip when they start.
func clusterMeet(c *call) {
	port, ok := resp.ParseInt(c.arg(3))
	busOK := true
	if len(c.args) > 4 {
		_, busOK = resp.ParseInt(c.arg(4))
	}
	switch {
	case len(c.args) > 5:
		c.replies.Error(c.subcommandError())
	case !ok:
		c.replies.Error(fmt.Errorf("Invalid TCP base port specified: %.64s", c.arg(3)))
	case !busOK:
		c.replies.Error(fmt.Errorf("Invalid TCP bus port specified: %.64s", c.arg(4)))
	case net.ParseIP(string(c.arg(2))) == nil || port < 1 || port > 65535:
		c.replies.Error(fmt.Errorf("Invalid node address specified: %.64s:%.64s", c.arg(2), c.arg(3)))
	default:
		c.replies.Error(errors.New("CLUSTER MEET is not supported: start the new node with --join and the address of a node of the cluster"))
	}
}

// clusterForget gives up the copies of a lost node. A live node would return with them; it can leave instead.
func clusterForget(c *call, r *router) {
	id := topology.NodeID(c.arg(2))
	node, known := r.cluster.Topology().Node(id)
	switch {
	case id == r.cluster.Self():
		c.replies.Error(errors.New("I tried hard but I can't forget myself..."))
	case !known:
		c.replies.Error(errUnknownNode(c.arg(2)))
	case r.cluster.Liveness(id).Alive:
		c.replies.Error(fmt.Errorf("%s is alive: send it CLUSTER LEAVE, or stop it first", label(node)))
	default:
		r.decide(c, func(ctx context.Context) error { return r.cluster.Forget(ctx, id) })
	}
}

// clusterLeave makes this node leave its cluster. It stays a member until its shards have copies on other nodes. A request that could
// not complete is refused.
func clusterLeave(c *call, r *router) {
	topo := r.cluster.Topology()
	self, member := topo.Node(r.cluster.Self())
	switch {
	case len(c.args) == 3 && c.option(2) == "PLAN":
		order{wish: topology.Wish{Leave: r.cluster.Self()}, plan: true}.run(c, r)
	case len(c.args) > 2:
		c.replies.Error(errSyntax)
	case !member:
		c.replies.Error(r.notInCluster())
	case self.State == topology.Leaving:
		c.replies.OK()
	case !r.hasSuccessor(topo):
		c.replies.Error(errors.New("no other live node can take over the shards of this one"))
	default:
		r.decide(c, r.cluster.Leave)
	}
}

// clusterBeginEmpty lets shards whose last copy was wiped begin empty. The reply is how many.
func clusterBeginEmpty(c *call, r *router) {
	var shards []topology.ShardID
	if len(c.args) != 3 || !strings.EqualFold(string(c.arg(2)), "ALL") {
		for i := 2; i < len(c.args); i++ {
			shard, err := parseShard(c, i)
			if err != nil {
				c.replies.Error(err)
				return
			}
			shards = append(shards, shard)
		}
	}
	began := 0
	if err := r.decision(func(ctx context.Context) (err error) { began, err = r.cluster.BeginEmpty(ctx, shards); return err }); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.Int(int64(began))
}

// hasSuccessor reports whether another live node can take over the shards of this one.
func (r *router) hasSuccessor(topo *topology.Topology) bool {
	for _, node := range topo.Nodes {
		if node.ID != r.cluster.Self() && node.State == topology.Active && r.cluster.Liveness(node.ID).Alive {
			return true
		}
	}
	return false
}

// decide proposes a change and writes its outcome.
func (r *router) decide(c *call, propose func(context.Context) error) {
	if err := r.decision(propose); err != nil {
		c.replies.Error(err)
		return
	}
	c.replies.OK()
}

// decision proposes a change and returns its outcome. Only this connection waits.
func (r *router) decision(propose func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), decisionTime)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-r.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := propose(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrUncertain) {
		err = fmt.Errorf("%w: the cluster has not decided in time and may still do so: %w", ErrUncertain, err)
	}
	cancel()
	<-ended
	return err
}

func errUnknownNode(id []byte) error { return fmt.Errorf("Unknown node %.64s", id) }
