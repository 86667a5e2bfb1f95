package protocol

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// redirect is an error that is a prefix of its own.
type redirect struct {
	slot int
	to   topology.Address
}

// An IPv6 address stands without brackets, as in Redis: clients look for the last colon.
func (r redirect) Error() string {
	return fmt.Sprintf("%d %s:%d", r.slot, r.to.Host, r.to.Port)
}

// unserved is the reason for which a client gets nowhere with a slot.
type unserved string

func (u unserved) Error() string { return string(u) }

func (unserved) Unwrap() error { return ErrNoOwner }

// serves reports whether a node is the primary of a slot.
func serves(topo *topology.Topology, id topology.NodeID, slot int) bool {
	return len(topo.Shards) > 0 && topo.Shards[topo.ShardOf(slot)].Primary == id
}

// moved returns where the client finds a slot that this node does not serve, or why nowhere. To send it to a node that is dead would only cost it a timeout.
func (s *Server) moved(c *conn, topo *topology.Topology, slot int) error {
	if len(topo.Shards) == 0 {
		return s.clusterless()
	}
	id := topo.ShardOf(slot)
	row := topo.Shards[id]
	if row.Primary == "" && len(topo.Nodes) == 1 && s.cluster.Status().Starting {
		return errStarting // it takes its shards in a moment
	}
	if row.Primary == "" {
		return unserved(fmt.Sprintf("Hash slot %d is not served: shard %d has no primary%s", slot, id, s.copies(topo, row.ISR)))
	}
	owner, known := topo.Node(row.Primary)
	if !known {
		return unserved(fmt.Sprintf("Hash slot %d is not served: its node %s is not known here", slot, row.Primary))
	}
	if state := s.state(owner.ID); state != "" && !s.doubtful(owner.ID) {
		return unserved(fmt.Sprintf("Hash slot %d is not served: its %s %s", slot, label(owner), state))
	}
	address, reachable := c.addressOf(owner)
	if !reachable {
		return unserved(fmt.Sprintf("Hash slot %d is served by %s, which tells no address for clients of the listener %q", slot, label(owner), c.listener))
	}
	return redirect{slot, address}
}

// clusterless is the error for all that needs a cluster.
// Clients know how to wait for LOADING, which is right while the node waits for no other node.
func (s *Server) clusterless() error {
	status := s.cluster.Status()
	if status.Starting {
		return errStarting
	}
	text := "this node is not part of a cluster yet"
	if status.Waiting != "" {
		text += ": " + status.Waiting
	}
	return unserved(text)
}

// state says in words why a node cannot be expected to answer, and nothing if it can.
func (s *Server) state(id topology.NodeID) string {
	if id == s.cluster.Self() {
		return ""
	}
	switch sight := s.cluster.Liveness(id); {
	case sight.Alive:
		return ""
	case sight.Since.IsZero():
		return "has not been seen yet"
	}
	return "is down"
}

// doubt is how long a node that was there may be gone before its keys are said to be down: on a busy machine gossip takes a live one for dead now and then, and is
// contradicted within a second. A client that is sent there meanwhile finds out by itself.
const doubt = 2 * time.Second

// doubtful reports whether a node has only just gone.
func (s *Server) doubtful(id topology.NodeID) bool {
	sight := s.cluster.Liveness(id)
	return !sight.Alive && !sight.Since.IsZero() && time.Since(sight.Since) < doubt
}

// copies says where those are without which a shard cannot be served.
func (s *Server) copies(topo *topology.Topology, ids []topology.NodeID) string {
	var said []string
	for _, id := range ids {
		if node, known := topo.Node(id); known {
			text := label(node)
			if state := s.state(id); state != "" {
				text += ", which " + state
			}
			said = append(said, text)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return "; its copies are on: " + strings.Join(said, "; ")
}

// label names a node to people.
func label(node topology.Node) string {
	return "node " + topology.Label(node.Name, node.ID)
}

// addressOf returns where this client reaches a node: on the listener of the same name as the one that it came in by. Only a node itself knows what stands for
// "the address that you came in by"; to the clients of others it is as good as the address that it was derived from.
func (c *conn) addressOf(node topology.Node) (topology.Address, bool) {
	address, ok := node.Listeners[c.listener]
	if !ok {
		return topology.Address{}, false
	}
	if local, isTCP := c.nc.LocalAddr().(*net.TCPAddr); isTCP && node.ID == c.server.cluster.Self() {
		if address.Host == "" || address.Derived {
			address.Host = local.IP.String()
		}
		if address.Port == 0 {
			address.Port = local.Port
		}
	}
	return address, address.Host != "" && address.Port != 0
}

func localPort(nc net.Conn) int {
	if local, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		return local.Port
	}
	return 0
}
