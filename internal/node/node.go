package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/follow"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/protocol/bus"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/replication"
	"github.com/ndring/ndring/shard"
	"github.com/ndring/ndring/shard/reconcile"
)

// Node is one node in this process. New, then Open, then Close. Open is Start, which returns when other nodes can reach
// the node, and Ready.
type Node struct {
	config    Config // what the node was started with; effective has the configuration in effect
	log       *slog.Logger
	peerLog   *slog.Logger // of what deals with other nodes: log, limited
	effective *effectiveConfig
	machine   machine

	id          topology.NodeID
	incarnation uint64
	disk        *persistence.Disk // nil without a data folder
	store       *shard.Store
	server      *protocol.Server
	busTLS      *busTLS // nil: the bus is plain
	bus         *bus.Bus
	cluster     *cluster.Cluster
	reconciler  *reconcile.Reconciler
	replicator  *replication.Replicator
	view        *clientCluster

	http      httpPort
	busPort   int
	clients   *clientPorts
	recovered chan error // the result of reading the shards
	cancel    context.CancelFunc
	done      sync.WaitGroup

	ready   atomic.Bool
	closing atomic.Bool
	close   sync.Once
	closed  error
	stop    *stopRequest
}

// New returns a node that does nothing yet. Level is the level of log; CONFIG SET log-level changes it.
func New(config Config, log *slog.Logger, level *slog.LevelVar) *Node {
	return &Node{
		config: config, log: log, peerLog: slog.New(limitLines(log.Handler())), effective: newEffectiveConfig(config, log, level), machine: systemMachine(),
		clients: &clientPorts{}, recovered: make(chan error, 1), cancel: func() {}, stop: newStopRequest(),
	}
}

// Open starts the node and returns when it serves. After an error nothing is left running.
func (n *Node) Open(ctx context.Context) error {
	if err := n.Start(ctx); err != nil {
		return err
	}
	return n.Ready(ctx)
}

// Start starts the node, and returns when other nodes can reach it. Clients wait in the system's queue until the node can
// answer them. After an error nothing is left running.
func (n *Node) Start(ctx context.Context) error {
	if err := n.start(ctx); err != nil {
		return errors.Join(err, n.abandon(ctx))
	}
	return nil
}

// abandon closes a node that could not start. It has the time of an orderly stop even if ctx is done.
func (n *Node) abandon(ctx context.Context) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return n.Close(limit)
}

func (n *Node) start(ctx context.Context) (err error) {
	if n.busTLS, err = openBusTLS(n.config.Cluster.BusTLS, n.log); err != nil {
		return err
	}
	if err := n.openDisk(); err != nil {
		return err
	}
	if err := n.busTLS.claim(n.id, n.config.NodeID, clusterOf(n.disk)); err != nil {
		return err
	}
	watchPassword, err := watchPassword(n)
	if err != nil {
		return err
	}
	running := n.openStore(ctx)
	n.done.Go(func() { watchPassword(running) })
	if err := n.view.clusterUsers.open(n.server, n.disk, n.log); err != nil {
		return err
	}
	ports, err := openClientPorts(ctx, &n.config, n.machine.listen, n.log)
	if err != nil {
		return err
	}
	n.clients = ports
	if err := n.openCluster(ctx); err != nil {
		return errors.Join(err, ports.close())
	}
	certificates, err := openHTTPCertificate(&n.config, n.log)
	if err == nil {
		err = openHTTP(running, n, certificates)
	}
	if err != nil {
		return errors.Join(err, ports.close())
	}
	if certificates != nil {
		n.done.Go(func() { certificates.Watch(running, follow.Interval) })
	}
	n.done.Go(func() { ports.serve(running, n.server, n.view) })
	n.done.Go(func() { ports.watch(running) })
	n.done.Go(func() { n.recovered <- n.recover(running) })
	n.done.Go(func() { n.reconciler.Run(running) })
	n.done.Go(func() { n.reconciler.Tick(running) })
	n.busTLS.watch(running, n)
	if err := n.cluster.Open(ctx); err != nil {
		return err
	}
	n.view.gossipRing.use(func(keys [][]byte) error { return cluster.SetGossipKeys(n.cluster, keys) })
	n.done.Go(func() { n.view.gossipRing.watch(running) })
	host, port := n.cluster.GossipAddress()
	n.log.Info("reachable by other nodes", "node", n.id, "name", n.config.NodeID, "gossip", joinHostPort(host, port), "bus", joinHostPort(host, n.busPort), "http", n.http.addr.String())
	return nil
}

// openStore opens the store, with its shards closed, and makes the server of its clients. The context that it returns
// lasts until Close.
func (n *Node) openStore(ctx context.Context) context.Context {
	pool := new(memory.Pool)
	n.store = shard.NewClosedStore(n.config.Shards, newClock().now, pool)
	n.store.UseMonotonic(n.machine.monotonic)
	if n.disk != nil {
		n.store.UseDisk(n.disk, n.config.Logged, resp.BulkFrame, n.log)
	}
	n.view = &clientCluster{self: n.id, ready: &n.ready, effective: n.effective}
	n.server = protocol.NewServer(n.config.Server, n.store, n.view, &clientHost{n.effective, n.stop, aclFile(n.config.ACLFile)}, pool, n.log)
	n.server.Reconfigure(n.config.Server) // unlike NewServer, it keeps zeros
	n.effective.reconfigure = n.server.Reconfigure
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.store.Open(running)
	return running
}

// openCluster opens the bus, and makes the node's parts of the cluster: gossip, consensus and reconciler do nothing yet.
func (n *Node) openCluster(ctx context.Context) error {
	ring, err := openGossipRing(n.config.Cluster.GossipKeyFile, filesOf(n.disk), n.log)
	if err != nil {
		return err
	}
	socket, err := n.machine.listen(ctx, joinHostPort(n.config.Bind, n.config.Cluster.BusPort))
	if err != nil {
		return cannotListen("other nodes", "--bus-port", err)
	}
	n.busPort = socket.Addr().(*net.TCPAddr).Port
	store := uuid.New()
	if n.disk != nil {
		store = n.disk.Identity().Store()
	}
	removed := func(id topology.NodeID) bool { return isRemoved(n, id) }
	n.bus = bus.New(bus.Options{Log: n.peerLog, Dialer: n.machine.dial, TLS: n.busTLS.options(removed), MaxLinks: n.config.Descriptors.Links, MaxHandshakes: n.config.Descriptors.Handshakes, MaxPayload: maxBusPayload, Identity: func() bus.Identity {
		id, _ := uuid.ParseOptional(n.cluster.ID()) // empty, or an id that was made here or checked by a handshake
		return bus.Identity{Cluster: id, Node: n.id, Store: store, Incarnation: n.incarnation}
	}})
	link, host := link{n.bus}, &clusterHost{node: n, disk: n.disk, stop: n.stop, log: n.log}
	config := n.clusterConfig(store.String(), ring.current())
	n.busTLS.limit(&config, removed)
	n.cluster = cluster.New(config, link, host)
	n.view.gossipRing = ring
	openReplication(n)
	n.reconciler = reconcile.New(reconcile.Config{
		Self: n.id, Incarnation: n.incarnation, Store: n.store, Log: n.log,
		Newest: n.cluster.Topology, ApplySettings: func(t *topology.Topology) { n.effective.applyCluster(t); n.view.clusterUsers.apply(t) }, HearsLeader: n.cluster.HearsLeader, Report: n.cluster.Report, Noticed: host.Noticed, Propose: n.cluster.Propose, AwaitRemote: n.cluster.AwaitTopology,
		Alive: func(id topology.NodeID) bool { alive, _, _ := n.cluster.Liveness(id); return alive }, Stays: n.cluster.Handovers().Stays,
	})
	host.reconciler = n.reconciler
	n.view.raft = n.cluster
	n.view.bus, n.view.cluster, n.view.reconciler, n.view.replicator = n.bus, n.cluster, n.reconciler, n.replicator
	link.serve(n.cluster)
	if err := n.bus.Serve(socket); err != nil {
		return errors.Join(err, socket.Close())
	}
	n.config.warnOfOpenPorts(n.log)
	return nil
}

func (n *Node) clusterConfig(store string, gossipKeys [][]byte) cluster.Config {
	config := cluster.Config{
		Self: topology.Node{
			ID: n.id, Name: n.config.NodeID, Store: store, Incarnation: n.incarnation, Zone: n.config.Zone,
			BusPort: n.busPort, Listeners: announced(n.config.Listen, n.clients.addrs),
		},
		Shards: n.config.Shards, Replicas: n.config.Cluster.Replicas, FirstEpoch: n.incarnation,
		Join: n.config.Cluster.Join, BootstrapExpect: n.config.Cluster.Expect,
		GossipBind: n.config.Bind, GossipPort: n.config.Cluster.GossipPort, GossipKeys: gossipKeys, GossipNetwork: n.machine.gossip,
		Always:      func() bool { return n.syncsAlways(n.effective.config()) },
		EmptyShards: func() string { return n.effective.config().Cluster.EmptyShards },
		Weight:      func() int { return n.effective.config().Cluster.Weight },
		Moves:       func() cluster.Moves { return n.effective.config().Cluster.Moves },
		Timing:      n.config.Cluster.timing, Log: n.peerLog,
	}
	if n.disk != nil {
		identity := n.disk.Identity()
		config.Self.Log = n.config.Logged
		config.Start = cluster.Start{Starts: identity.Starts(), Unclean: identity.Unclean(), Lossy: identity.Damaged(), SameLock: identity.SameLock()}
		config.HasData, config.NewClusterID = identity.HasData(), identity.Cluster().String()
		config.RaftState = datafolder.RaftState(n.disk)
		config.Files, config.RaftStores = datafolder.Files{Disk: n.disk}, n.machine.raft
		if n.machine.raft == nil {
			config.RaftDir = filepath.Join(n.disk.Dir(), datafolder.Raft)
		}
	}
	return config
}

// syncsAlways reports whether each write is on disk before its reply.
func (n *Node) syncsAlways(c Config) bool {
	return n.disk != nil && c.Logged && c.Server.Disk.Fsync == shard.FsyncAlways
}

// recover reads the shards from disk. Meanwhile clients get LOADING, unless their shard has been read.
func (n *Node) recover(ctx context.Context) error {
	if n.disk == nil {
		return nil
	}
	err := n.store.Disk().Recover(ctx, n.log)
	n.reconciler.Wake() // the shards can be opened
	return err
}

// Ready returns when the node serves all that the cluster wants it to serve. After an error nothing is left running.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.await(ctx); err != nil {
		return errors.Join(err, n.abandon(ctx))
	}
	n.ready.Store(true)
	n.logReady()
	return nil
}

func (n *Node) await(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	recovered := make(chan struct{})
	go func() { // a data folder that cannot be read ends the wait for the cluster
		defer close(recovered)
		select {
		case err := <-n.recovered:
			if err != nil {
				cancel(err)
			}
		case <-ctx.Done():
		}
	}()
	for _, step := range []func(context.Context) error{n.cluster.Ready, n.reconciler.AwaitSettled} {
		if err := step(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
				return cause
			}
			return err
		}
	}
	select {
	case <-recovered:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

func (n *Node) logReady() {
	args := []any{"version", n.config.Server.Version, "node", n.id, "cluster", n.cluster.ID(), "nodes", len(n.Topology().Nodes), "shards", n.config.Shards}
	for i, l := range n.config.Listen {
		name := "resp"
		if len(n.config.Listen) > 1 {
			name += "." + l.Name
		}
		args = append(args, name, n.clients.addrs[i].String())
	}
	n.log.Info("ndring is ready", append(args, "http", n.http.addr.String())...)
}

// Close stops the node in the reverse order of Open. First it hands its shards over to other nodes, while clients go on. Commands
// under way may finish until ctx is done, or stopTime is over. It is idempotent.
func (n *Node) Close(ctx context.Context) error {
	n.close.Do(func() {
		n.closing.Store(true)
		n.handOver(ctx)
		ctx, cancel := context.WithTimeout(ctx, stopTime)
		defer cancel()
		if n.replicator != nil { // commands under way may wait for other nodes
			defer context.AfterFunc(ctx, n.replicator.Close)()
		}
		n.ready.Store(false)
		if n.server != nil {
			n.closed = n.server.Close(ctx)
		}
		n.closed = errors.Join(n.closed, n.http.shutdown(ctx))
		if n.cluster != nil {
			n.closed = errors.Join(n.closed, n.cluster.Close(ctx))
		}
		if n.bus != nil {
			n.closed = errors.Join(n.closed, n.bus.Close())
		}
		if n.replicator != nil {
			n.replicator.Close()
		}
		n.cancel()
		n.done.Wait()
		if n.store != nil {
			n.closed = errors.Join(n.closed, n.closeStore(ctx))
		} else if n.disk != nil {
			n.closed = errors.Join(n.closed, n.disk.Close(false))
		}
	})
	return n.closed
}

func (n *Node) closeStore(ctx context.Context) error {
	how := n.stop.requested().Save()
	save := how == protocol.ShutdownSave ||
		how == protocol.ShutdownDefault && (n.config.Logged || len(n.effective.config().Server.Disk.Save) > 0)
	if deadline, limited := ctx.Deadline(); !n.config.Logged { // without a log, the snapshots must be complete
		ctx = context.WithoutCancel(ctx)
	} else if limited { // keep a fifth of the time for what must follow the snapshots
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-stopTime/5))
		defer cancel()
	}
	err := n.store.Close(ctx, save)
	n.store.Release()
	return err
}

// Shutdown asks the owner of the node to Close it.
func (n *Node) Shutdown(how protocol.Shutdown) { n.stop.request(how) }

// ShutdownAsked is closed when a client has asked for a shutdown, or when the node must stop.
func (n *Node) ShutdownAsked() <-chan struct{} { return n.stop.done }

// Failure returns why the node must stop; nil after a client has asked for it.
func (n *Node) Failure() error { return n.stop.err() }

// Topology returns the topology by which the node routes clients.
func (n *Node) Topology() *topology.Topology { return n.view.Topology() }

// Self returns the node's id.
func (n *Node) Self() topology.NodeID { return n.id }

// ClientAddrs returns where the node listens for clients, in the order of Config.Listen.
func (n *Node) ClientAddrs() []net.Addr { return n.clients.addrs }

// GossipAddr returns the address to give to other nodes with --join.
func (n *Node) GossipAddr() string { return joinHostPort(n.cluster.GossipAddress()) }

// HTTPAddr returns where the node listens for HTTP.
func (n *Node) HTTPAddr() net.Addr { return n.http.addr }
