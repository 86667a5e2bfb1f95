package protocol

import (
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

// clusterSlots leaves out what this client cannot reach: a wrong address is worse than none.
func clusterSlots(c *call) {
	topo := c.server.cluster.Topology()
	type row struct {
		topology.Range
		id topology.NodeID
		at topology.Address
	}
	var rows []row
	for _, r := range topo.Ranges() {
		if node, ok := topo.Node(r.Primary); ok {
			if at, ok := c.addressOf(node); ok {
				rows = append(rows, row{r, node.ID, at})
			}
		}
	}
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
