package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/protocol/bus"
)

// openCluster opens the port for other nodes, and makes the node's part in the cluster, which does nothing yet.
func (n *Node) openCluster(ctx context.Context) error {
	key, err := n.config.Cluster.gossipKey()
	if err != nil {
		return err
	}
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", joinHostPort(n.config.Bind, n.config.Cluster.BusPort))
	if err != nil {
		return cannotListen("other nodes", "--bus-port", err)
	}
	n.busPort = socket.Addr().(*net.TCPAddr).Port
	store := uuid.New()
	if n.disk != nil {
		store = n.disk.Store()
	}
	n.bus = bus.New(bus.Options{Log: n.log, MaxLinks: n.config.Descriptors.Links, MaxHandshakes: n.config.Descriptors.Handshakes, Identity: func() bus.Identity {
		id, _ := uuid.ParseOptional(n.cluster.ID()) // none, or one that was made here or checked by a handshake
		return bus.Identity{Cluster: id, Node: n.id, Store: store, Incarnation: n.incarnation}
	}})
	config := cluster.Config{
		Self: topology.Node{
			ID: n.id, Name: n.config.NodeID, Store: store.String(), Incarnation: n.incarnation, Zone: n.config.Zone,
			BusPort: n.busPort, Listeners: announced(n.config.Listen, n.clients),
		},
		Shards: n.config.Shards, Replicas: n.config.Cluster.Replicas, FirstEpoch: n.incarnation,
		Join: n.config.Cluster.Join, BootstrapExpect: n.config.Cluster.Expect,
		GossipBind: n.config.Bind, GossipPort: n.config.Cluster.GossipPort, GossipKey: key,
		Timing: n.config.Cluster.timing, Log: n.log,
	}
	if n.disk != nil {
		config.HasData, config.NewClusterID = n.disk.HasData(), n.disk.Cluster().String()
		config.RaftState = datafolder.RaftState(n.disk)
		config.Files, config.RaftDir = datafolder.Files{Disk: n.disk}, filepath.Join(n.disk.Dir(), datafolder.Raft)
	}
	link := link{n.bus}
	n.cluster = cluster.New(config, link, n)
	n.obedience = newObedience(n)
	link.serve(n.cluster)
	if err := n.bus.Serve(socket); err != nil {
		return errors.Join(err, socket.Close())
	}
	if n.config.openGossip() {
		n.log.Warn("gossip has no key (--insecure): anyone who reaches its port can add nodes to what this one sees, or have it take nodes for dead",
			"port", n.config.Cluster.GossipPort, "mend", "--gossip-key-file")
	}
	return nil
}

// link is the bus as package cluster sees it.
type link struct{ *bus.Bus }

// serve hands what other nodes want to c.
func (l link) serve(c *cluster.Cluster) {
	l.HandleStream(bus.KindRaft, func(_ bus.Peer, conn net.Conn) { c.ServeStream(conn) })
	for _, m := range cluster.Methods {
		l.Handle(bus.Method(m), func(ctx context.Context, peer bus.Peer, request []byte) ([]byte, error) {
			return c.ServeCall(ctx, caller(peer), m, request)
		})
	}
}

func caller(p bus.Peer) cluster.Caller {
	return cluster.Caller{Node: p.Node, Store: p.Store.String(), Incarnation: p.Incarnation, Cluster: p.Cluster.String()}
}

func target(t cluster.Target) (bus.Target, error) {
	store, err := uuid.ParseOptional(t.Store)
	return bus.Target{Address: t.Address, Node: t.Node, Store: store}, err
}

// Dial implements cluster.Bus.
func (l link) Dial(ctx context.Context, to cluster.Target) (net.Conn, error) {
	t, err := target(to)
	if err != nil {
		return nil, err
	}
	conn, _, err := l.Bus.Dial(ctx, t, bus.KindRaft)
	return conn, err
}

// Call implements cluster.Bus.
func (l link) Call(ctx context.Context, to cluster.Target, m cluster.Method, payload []byte) ([]byte, error) {
	t, err := target(to)
	if err != nil {
		return nil, err
	}
	reply, _, err := l.Bus.Call(ctx, t, bus.Method(m), payload)
	var remote *bus.RemoteError
	switch {
	case errors.As(err, &remote):
		return nil, &cluster.RemoteError{Text: remote.Text}
	case errors.Is(err, bus.ErrUnreachable):
		return nil, fmt.Errorf("%w: %w", cluster.ErrNotSent, err)
	}
	return reply, err
}

// Probe implements cluster.Bus.
func (l link) Probe(ctx context.Context, address string) (cluster.Caller, error) {
	_, peer, err := l.Bus.Call(ctx, bus.Target{Address: address}, bus.Method(cluster.MethodProbe), nil)
	return caller(peer), err
}

// SetClusterID implements cluster.Host: the data folder becomes the cluster's.
func (n *Node) SetClusterID(id string) error {
	if n.disk == nil || n.disk.Cluster().String() == id {
		return nil
	}
	parsed, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	return n.disk.SetCluster(parsed)
}

// SetRaftState implements cluster.Host: the data folder's manifest names the raft state.
func (n *Node) SetRaftState(raftState string) error {
	id, err := uuid.Parse(raftState)
	if err != nil {
		return err
	}
	return n.disk.SetRaft(id)
}

// Publish implements cluster.Host.
func (n *Node) Publish(*topology.Topology) { n.obedience.wake() }

// AwaitTopology implements cluster.Host.
func (n *Node) AwaitTopology(ctx context.Context, index uint64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n.Topology().Index < index {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the node routes by topology %d, not yet by %d: %w", n.Topology().Index, index, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// Topology returns the newest topology that the shards are in step with. It and what follows are what package protocol asks of the cluster.
func (n *Node) Topology() *topology.Topology { return n.topology.Load() }

// Self returns the node's id.
func (n *Node) Self() topology.NodeID { return n.id }

// Liveness returns what gossip knows about another node.
func (n *Node) Liveness(id topology.NodeID) protocol.Liveness {
	alive, since, _ := n.cluster.Liveness(id)
	return protocol.Liveness{Alive: alive, Since: since}
}

// Status returns how the node stands in its cluster.
func (n *Node) Status() protocol.ClusterStatus {
	s := n.cluster.Status()
	status := protocol.ClusterStatus{
		Waiting: s.Waiting, Starting: s.Starting, Leader: s.Leader, Term: s.Term, Voters: s.Voters, VoterIDs: s.VoterNodes, Quorum: s.Quorum,
		Applied: n.Topology().Index, Proposals: s.Proposed, Failed: s.Failed,
	}
	status.SettingsOverridden, status.SettingsRefused = n.settingsAside()
	if status.Waiting == "" && !n.ready.Load() {
		status.Waiting, status.Starting = "its shards", true
	}
	return status
}

// Links returns the connections to other nodes.
func (n *Node) Links() (all []protocol.ClusterLink) {
	for _, l := range n.bus.Links() {
		all = append(all, protocol.ClusterLink{Inbound: l.Inbound, Node: l.Peer.Node, Since: l.Since})
	}
	return all
}

// Forget takes a node that is gone for good out of the cluster.
func (n *Node) Forget(ctx context.Context, id topology.NodeID) error {
	return n.cluster.Forget(ctx, id)
}

// Leave takes this node out of the cluster once it holds no copy.
func (n *Node) Leave(ctx context.Context) error { return n.cluster.Leave(ctx) }
