package protocol

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/shard"
)

// router knows who serves a slot, and where a client reaches the nodes. It needs no lock except that of
// layouts: a topology does not change, and Cluster answers at once.
type router struct {
	cluster Cluster
	store   *shard.Store
	layouts layouts
	closed  <-chan struct{} // closed when the server closes
}

// serves reports whether a node is the primary of a slot.
func serves(topo *topology.Topology, id topology.NodeID, slot int) bool {
	return len(topo.Shards) > 0 && topo.Shards[topo.ShardOf(slot)].Primary == id
}

// redirectFor returns the error that sends a client to the node that serves a slot, or says why none
// does. A redirect to a dead node would only cost the client a timeout.
func (r *router) redirectFor(from *origin, topo *topology.Topology, slot int) error {
	if len(topo.Shards) == 0 {
		return r.notInCluster()
	}
	id := topo.ShardOf(slot)
	row := topo.Shards[id]
	if row.Primary == "" && len(topo.Nodes) == 1 && r.cluster.Status().Starting {
		return errStarting // it opens its shards in a moment
	}
	if row.Primary == "" {
		return slotDown(fmt.Sprintf("Hash slot %d is not served: shard %d has no primary%s", slot, id, r.copies(topo, row.ISR)))
	}
	owner, known := topo.Node(row.Primary)
	if !known {
		return slotDown(fmt.Sprintf("Hash slot %d is not served: its node %s is unknown to this node", slot, row.Primary))
	}
	if state := r.state(owner.ID); state != "" && !r.inGrace(owner.ID) {
		return slotDown(fmt.Sprintf("Hash slot %d is not served: its %s %s", slot, label(owner), state))
	}
	address, reachable := r.addressOf(from, owner)
	if !reachable {
		return slotDown(fmt.Sprintf("Hash slot %d is served by %s, which advertises no address for the listener %q", slot, label(owner), from.listener))
	}
	return redirect{slot, address}
}

// notInCluster returns the error of commands that need a cluster. It is LOADING, for which clients wait,
// while the node waits for no other node.
func (r *router) notInCluster() error {
	status := r.cluster.Status()
	if status.Starting {
		return errStarting
	}
	text := "this node is not part of a cluster yet"
	if status.Waiting != "" {
		text += ": " + status.Waiting
	}
	return slotDown(text)
}

// state says why a node cannot be expected to answer. It is empty for a live node.
func (r *router) state(id topology.NodeID) string {
	if id == r.cluster.Self() {
		return ""
	}
	switch seen := r.cluster.Liveness(id); {
	case seen.Alive:
		return ""
	case seen.Since.IsZero():
		return "has not been seen yet"
	}
	return "is down"
}

// failureGrace is the time for which a node that gossip declares dead still gets redirects: on a busy
// machine gossip sometimes takes a live node for dead, and corrects itself within a second.
const failureGrace = 2 * time.Second

// inGrace reports whether a node was declared dead less than failureGrace ago.
func (r *router) inGrace(id topology.NodeID) bool {
	seen := r.cluster.Liveness(id)
	return !seen.Alive && !seen.Since.IsZero() && time.Since(seen.Since) < failureGrace
}

// copies says where the copies of a shard without a primary are.
func (r *router) copies(topo *topology.Topology, ids []topology.NodeID) string {
	var texts []string
	for _, id := range ids {
		if node, known := topo.Node(id); known {
			text := label(node)
			if state := r.state(id); state != "" {
				text += ", which " + state
			}
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return ""
	}
	return "; its copies are on: " + strings.Join(texts, "; ")
}

// label names a node for people.
func label(node topology.Node) string {
	return "node " + topology.Label(node.Name, node.ID)
}

// addressOf returns where a client reaches a node: on the listener with the name of the one that accepted
// the client. An address that this node advertises as "the one that you connected to" is the connection's
// local address; for another node it is the address from which that node derived it.
func (r *router) addressOf(from *origin, node topology.Node) (topology.Address, bool) {
	address, ok := node.Listeners[from.listener]
	if !ok {
		return topology.Address{}, false
	}
	if local, isTCP := from.local.(*net.TCPAddr); isTCP && node.ID == r.cluster.Self() {
		if address.Host == "" || address.Derived {
			address.Host = local.IP.String()
		}
		if address.Port == 0 {
			address.Port = local.Port
		}
	}
	return address, address.Host != "" && address.Port != 0
}

func (o *origin) localPort() int {
	if local, ok := o.local.(*net.TCPAddr); ok {
		return local.Port
	}
	return 0
}
