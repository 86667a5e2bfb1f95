package node

import (
	"context"
	"fmt"
	"net"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/protocol/bus"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/replication"
)

// busKinds are the connections of package replication as the bus has them.
var busKinds = map[replication.Kind]bus.Kind{replication.Append: bus.KindAppend, replication.Heartbeat: bus.KindHeartbeat, replication.Bulk: bus.KindBulk}

// openReplication makes the node's shards send to other nodes, and take from them.
func openReplication(n *Node) {
	self := replica.Process{Node: string(n.id), Incarnation: n.incarnation}
	n.replicator = replication.New(replication.Config{
		Self: self, Store: n.store, Shards: n.config.Shards, Dial: dialer{n}.dial, Log: n.peerLog, Requests: n.server.Commands,
		MoveRate: func() int64 { return n.effective.config().Cluster.MoveRate },
	})
	n.store.UseReplicator(n.replicator, resp.BulkFrame, n.log)
	for kind, of := range busKinds {
		n.bus.HandleStream(of, func(peer bus.Peer, conn net.Conn) {
			n.replicator.Serve(replica.Process{Node: string(peer.Node), Incarnation: peer.Incarnation}, kind, replication.Conn{Conn: conn, Version: peer.Version})
		})
	}
}

// dialer connects to processes of other nodes.
type dialer struct{ *Node }

// dial connects to a process of a node.
func (n dialer) dial(ctx context.Context, to replica.Process, kind replication.Kind) (conn replication.Conn, err error) {
	address, known := n.cluster.BusAddress(topology.NodeID(to.Node))
	if !known {
		return conn, fmt.Errorf("the address of node %s is unknown", to.Node)
	}
	socket, peer, err := n.bus.Dial(ctx, bus.Target{Address: address, Node: topology.NodeID(to.Node)}, busKinds[kind])
	if err != nil {
		return conn, err
	}
	if peer.Incarnation != to.Incarnation {
		socket.Close()
		return conn, fmt.Errorf("node %s runs as incarnation %d, not %d", to.Node, peer.Incarnation, to.Incarnation)
	}
	return replication.Conn{Conn: socket, Version: peer.Version}, nil
}
