package protocol

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/resp"
)

// All these replies omit nodes that the client cannot reach: a wrong address is worse than none.

// clusterSlots writes a row for each run of slots: the primary, then the in-sync replicas that serve no
// slots themselves.
func clusterSlots(c *call, r *router) {
	l := r.layout()
	r.answer(c, "slots", l, members{}, func(w *resp.Writer, at []topology.Address) {
		rows := 0
		for _, run := range l.runs {
			if at[run.primary].Port != 0 {
				rows++
			}
		}
		w.Array(rows)
		for _, run := range l.runs {
			if at[run.primary].Port == 0 {
				continue
			}
			replicas := reachable(run.replicas, at)
			w.Array(3 + len(replicas))
			w.Int(int64(run.first))
			w.Int(int64(run.last))
			for _, i := range append([]int{run.primary}, replicas...) {
				w.Array(4)
				w.Text(at[i].Host)
				w.Int(int64(at[i].Port))
				w.Text(string(l.Nodes[i].ID))
				w.Map(0)
			}
		}
	})
}

func reachable(nodes []int, at []topology.Address) (some []int) {
	for _, i := range nodes {
		if at[i].Port != 0 {
			some = append(some, i)
		}
	}
	return some
}

// clusterShards writes an entry for each primary: in this reply a shard is, as in Redis, a node with all of
// its slots. Its replicas are the nodes with copies of any of them.
func clusterShards(c *call, r *router) {
	l := r.layout()
	seen := r.members(l)
	r.answer(c, "shards", l, seen, func(w *resp.Writer, at []topology.Address) {
		var primaries []int
		for i := range l.nodes {
			if l.nodes[i].slots > 0 && at[i].Port != 0 {
				primaries = append(primaries, i)
			}
		}
		w.Array(len(primaries))
		for _, i := range primaries {
			w.Map(2)
			w.Text("slots")
			w.Array(2 * len(l.nodes[i].runs))
			for _, r := range l.nodes[i].runs {
				w.Int(int64(r[0]))
				w.Int(int64(r[1]))
			}
			replicas := reachable(l.nodes[i].replicas, at)
			w.Text("nodes")
			w.Array(1 + len(replicas))
			writeShardNode(w, l.Nodes[i].ID, at[i], "master", seen.of[i])
			for _, r := range replicas {
				writeShardNode(w, l.Nodes[r].ID, at[r], "replica", seen.of[r])
			}
		}
	})
}

func writeShardNode(w *resp.Writer, id topology.NodeID, at topology.Address, role string, seen Liveness) {
	health := "online"
	switch {
	case !seen.Alive:
		health = "fail"
	case seen.Loading:
		health = "loading"
	}
	w.Map(7)
	w.Text("id")
	w.Text(string(id))
	w.Text("port")
	w.Int(int64(at.Port))
	for _, field := range [][2]string{{"ip", at.Host}, {"endpoint", at.Host}, {"role", role}} {
		w.Text(field[0])
		w.Text(field[1])
	}
	w.Text("replication-offset")
	w.Int(0)
	w.Text("health")
	w.Text(health)
}

// clusterNodes writes a line for each node, also for those without slots.
func clusterNodes(c *call, r *router) {
	l := r.layout()
	self := r.cluster.Self()
	if _, member := l.index[self]; !member { // as Redis shows a node that has met no other
		c.replies.Verbatim(alone(c.from, self) + r.nodeLines(l, r.members(l), r.addresses(c.from, l)))
		return
	}
	seen := r.members(l)
	r.answer(c, "nodes", l, seen, func(w *resp.Writer, at []topology.Address) { w.Verbatim(r.nodeLines(l, seen, at)) })
}

func (r *router) nodeLines(l *layout, seen members, at []topology.Address) string {
	var b strings.Builder
	for i := range l.Nodes {
		if at[i].Port == 0 {
			continue
		}
		role := "master -"
		if l.Nodes[i].ID == r.cluster.Self() {
			role = "myself," + role
		}
		writeNodeLine(&b, l, i, at[i], role, seen.of[i])
		for _, r := range l.nodes[i].runs {
			if r[0] == r[1] {
				fmt.Fprintf(&b, " %d", r[0])
			} else {
				fmt.Fprintf(&b, " %d-%d", r[0], r[1])
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// alone returns the line of a node that is in no cluster.
func alone(from *origin, self topology.NodeID) string {
	host, port := "", from.localPort()
	if local, err := netip.ParseAddrPort(from.local.String()); err == nil {
		host = local.Addr().Unmap().String()
	}
	return fmt.Sprintf("%s %s:%d@0 myself,master - 0 0 0 connected\n", self, host, port)
}

// writeNodeLine writes the fields before the slots: id, address, flags and primary, the time since which a
// node has not answered, the time of its last pong (not recorded: 0), the highest epoch of its shards, and
// the state of the link.
func writeNodeLine(b *strings.Builder, l *layout, i int, at topology.Address, role string, seen Liveness) {
	node, hostname, link, silent := &l.Nodes[i], "", "connected", int64(0)
	if _, err := netip.ParseAddr(at.Host); err != nil {
		hostname = "," + at.Host
	}
	if !seen.Alive {
		flags, primary, _ := strings.Cut(role, " ")
		role, link, silent = flags+",fail "+primary, "disconnected", seen.unixMilli()
	}
	fmt.Fprintf(b, "%s %s:%d@%d%s %s %d 0 %d %s", node.ID, at.Host, at.Port, node.BusPort, hostname, role, silent, l.nodes[i].epoch, link)
}

// clusterReplicas writes the lines of the nodes in the ISR of a node's shards.
func clusterReplicas(c *call, r *router) {
	l := r.layout()
	of, known := l.index[topology.NodeID(c.arg(2))]
	if !known {
		c.replies.Error(errUnknownNode(c.arg(2)))
		return
	}
	at, seen := r.addresses(c.from, l), r.members(l)
	replicas := reachable(l.nodes[of].replicas, at)
	c.replies.Array(len(replicas))
	for _, i := range replicas {
		var b strings.Builder
		role := "slave "
		if l.Nodes[i].ID == r.cluster.Self() {
			role = "myself,slave "
		}
		writeNodeLine(&b, l, i, at[i], role+string(l.Nodes[of].ID), seen.of[i])
		c.replies.Text(b.String())
	}
}
