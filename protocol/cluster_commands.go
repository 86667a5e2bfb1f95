package protocol

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
)

// addressOf returns where this client reaches a node: on the listener of the same name as the one that it came in by.
func (c *conn) addressOf(node topology.Node) (topology.Address, bool) {
	address, ok := node.Listeners[c.listener]
	if !ok {
		return topology.Address{}, false
	}
	if local, isTCP := c.nc.LocalAddr().(*net.TCPAddr); isTCP && node.ID == c.server.cluster.Self() {
		if address.Host == "" {
			address.Host = local.IP.String()
		}
		if address.Port == 0 {
			address.Port = local.Port
		}
	}
	return address, true
}

func clusterMyID(c *call) { c.replies.Text(string(c.server.cluster.Self())) }

func clusterKeySlot(c *call) { c.replies.Int(int64(topology.Slot(c.arg(2)))) }

// reachable is a run of slots with its primary and where this client reaches that.
type reachable struct {
	topology.Range
	id topology.NodeID
	at topology.Address
}

// ranges leaves out what this client cannot reach: a wrong address is worse than none.
func (c *call) ranges() (rows []reachable) {
	topo := c.server.cluster.Topology()
	for _, r := range topo.Ranges() {
		if node, ok := topo.Node(r.Primary); ok {
			if at, ok := c.addressOf(node); ok {
				rows = append(rows, reachable{r, node.ID, at})
			}
		}
	}
	return rows
}

func clusterSlots(c *call) {
	rows := c.ranges()
	w := &c.replies
	w.Array(len(rows))
	for _, r := range rows {
		w.Array(3)
		w.Int(int64(r.First))
		w.Int(int64(r.Last))
		w.Array(4)
		w.Text(r.at.Host)
		w.Int(int64(r.at.Port))
		w.Text(string(r.id))
		w.Map(0)
	}
}

// clusterShards answers one entry a primary: here a shard is, as in Redis, a node with all of its slots.
func clusterShards(c *call) {
	var order []topology.NodeID
	byNode := map[topology.NodeID][]reachable{}
	for _, r := range c.ranges() {
		if byNode[r.id] == nil {
			order = append(order, r.id)
		}
		byNode[r.id] = append(byNode[r.id], r)
	}
	w := &c.replies
	w.Array(len(order))
	for _, id := range order {
		rows := byNode[id]
		w.Map(2)
		w.Text("slots")
		w.Array(2 * len(rows))
		for _, r := range rows {
			w.Int(int64(r.First))
			w.Int(int64(r.Last))
		}
		w.Text("nodes")
		w.Array(1)
		w.Map(7)
		w.Text("id")
		w.Text(string(id))
		w.Text("port")
		w.Int(int64(rows[0].at.Port))
		for _, field := range [][2]string{{"ip", rows[0].at.Host}, {"endpoint", rows[0].at.Host}, {"role", "master"}} {
			w.Text(field[0])
			w.Text(field[1])
		}
		w.Text("replication-offset")
		w.Int(0)
		w.Text("health")
		w.Text("online")
	}
}

// clusterLinks answers the connections to other nodes: a node alone has none.
func clusterLinks(c *call) { c.replies.Array(0) }

// clusterMeet checks its operands as Redis does. A node finds others by gossip, which it joins when it starts.
func clusterMeet(c *call) {
	port, ok := parseInt(c.arg(3))
	switch {
	case len(c.args) > 5:
		c.replies.Error(c.row.arityError())
	case !ok:
		c.replies.Error(fmt.Errorf("Invalid TCP base port specified: %.64s", c.arg(3)))
	case net.ParseIP(string(c.arg(2))) == nil || port < 1 || port > 65535:
		c.replies.Error(fmt.Errorf("Invalid node address specified: %.64s:%.64s", c.arg(2), c.arg(3)))
	default:
		c.replies.Error(errors.New("this node is a cluster of one and cannot meet others"))
	}
}

func clusterForget(c *call) {
	id := topology.NodeID(c.arg(2))
	switch _, known := c.server.cluster.Topology().Node(id); {
	case !known:
		c.replies.Error(errUnknownNode(c.arg(2)))
	case id == c.server.cluster.Self():
		c.replies.Error(errors.New("I tried hard but I can't forget myself..."))
	default:
		c.replies.Error(errors.New("only nodes that have left can be forgotten"))
	}
}

// clusterFailover is for replicas, of which there are none.
func clusterFailover(c *call) {
	if len(c.args) > 3 {
		c.replies.Error(c.row.arityError())
		return
	}
	if len(c.args) == 3 && c.option(2) != "FORCE" && c.option(2) != "TAKEOVER" {
		c.replies.Error(errSyntax)
		return
	}
	c.replies.Error(errors.New("You should send CLUSTER FAILOVER to a replica"))
}

func clusterReplicas(c *call) {
	if _, known := c.server.cluster.Topology().Node(topology.NodeID(c.arg(2))); !known {
		c.replies.Error(errUnknownNode(c.arg(2)))
		return
	}
	c.replies.Array(0)
}

func errUnknownNode(id []byte) error { return fmt.Errorf("Unknown node %.64s", id) }

func clusterNodes(c *call) {
	topo := c.server.cluster.Topology()
	var b strings.Builder
	for _, node := range topo.Nodes {
		at, ok := c.addressOf(node)
		if !ok {
			continue
		}
		flags := "master"
		if node.ID == c.server.cluster.Self() {
			flags = "myself,master"
		}
		fmt.Fprintf(&b, "%s %s:%d@%d %s - 0 0 %d connected", node.ID, at.Host, at.Port, node.BusPort, flags, topo.Shards[0].Epoch)
		for _, r := range topo.Ranges() {
			if r.Primary == node.ID {
				fmt.Fprintf(&b, " %d-%d", r.First, r.Last)
			}
		}
		b.WriteByte('\n')
	}
	c.replies.Verbatim(b.String())
}

func clusterInfo(c *call) {
	topo := c.server.cluster.Topology()
	var b strings.Builder
	for _, field := range []struct {
		name  string
		value any
	}{
		{"cluster_enabled", 1},
		{"cluster_state", "ok"},
		{"cluster_slots_assigned", topology.Slots},
		{"cluster_slots_ok", topology.Slots},
		{"cluster_slots_pfail", 0},
		{"cluster_slots_fail", 0},
		{"cluster_known_nodes", len(topo.Nodes)},
		{"cluster_size", len(topo.Nodes)},
		{"cluster_current_epoch", topo.Shards[0].Epoch},
		{"cluster_my_epoch", topo.Shards[0].Epoch},
		{"cluster_stats_messages_sent", 0},
		{"cluster_stats_messages_received", 0},
		{"cluster_shards", len(topo.Shards)},
	} {
		fmt.Fprintf(&b, "%s:%v\r\n", field.name, field.value)
	}
	c.replies.Verbatim(b.String())
}

func localPort(nc net.Conn) int {
	if local, ok := nc.LocalAddr().(*net.TCPAddr); ok {
		return local.Port
	}
	return 0
}
