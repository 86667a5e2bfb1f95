package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/protocol/bus"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// Node is one ndring process' worth of node. New, then Open, then Close. Open is Start, which returns when others can reach the node, and Ready.
type Node struct {
	config Config // that the node was started with; tuning has what counts now
	log    *slog.Logger
	level  *slog.LevelVar // of log
	tuning tuning

	id          topology.NodeID
	incarnation uint64
	disk        *persistence.Disk // nil without a folder
	store       *shard.Store
	server      *protocol.Server
	bus         *bus.Bus
	cluster     *cluster.Cluster
	obedience   *obedience
	topology    atomic.Pointer[topology.Topology] // that the shards are in step with

	http      *http.Server
	httpAddr  net.Addr
	busPort   int
	clients   []net.Addr // of the client listeners, in the order of Config.Listen
	recovered chan error // how the reading of the shards has ended
	stop      context.CancelFunc
	done      sync.WaitGroup

	ready    atomic.Bool
	closing  atomic.Bool
	close    sync.Once
	closed   error
	shutdown sync.Once
	asked    chan struct{}     // closed by shutdown
	how      protocol.Shutdown // set before
}

// New returns a node that does nothing yet. Level is that of log, which CONFIG SET log-level changes.
func New(config Config, log *slog.Logger, level *slog.LevelVar) *Node {
	n := &Node{config: config, tuning: newTuning(config), log: log, level: level, asked: make(chan struct{}), recovered: make(chan error, 1), stop: func() {}}
	n.topology.Store(&topology.Topology{})
	return n
}

// Open starts the node and returns when it serves. After an error nothing is left running.
func (n *Node) Open(ctx context.Context) error {
	if err := n.Start(ctx); err != nil {
		return err
	}
	return n.Ready(ctx)
}

// Start begins all that the node does, and returns when other nodes can reach it. Clients wait in the system's queue until they can be answered. After an error nothing is left running.
func (n *Node) Start(ctx context.Context) error {
	if err := n.start(ctx); err != nil {
		return errors.Join(err, n.abandon(ctx))
	}
	return nil
}

// abandon ends a start. That ctx is over may be why; what the start has begun has the time of a stop to end in order.
func (n *Node) abandon(ctx context.Context) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return n.Close(limit)
}

func (n *Node) start(ctx context.Context) error {
	if err := n.openDisk(); err != nil {
		return err
	}
	pool := new(memory.Pool)
	n.store = shard.NewClosedStore(n.config.Shards, newClock().now, pool)
	if n.disk != nil {
		n.store.UseDisk(n.disk, n.config.Logged, resp.BulkFrame, n.log)
	}
	n.server = protocol.NewServer(n.config.Server, n.store, n, n, pool, n.log)
	n.server.Reconfigure(n.config.Server) // where a zero is a zero
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	n.store.Open(running)
	sockets, err := n.bind(ctx)
	if err != nil {
		return err
	}
	if err := n.openCluster(ctx); err != nil {
		return errors.Join(err, closeAll(sockets))
	}
	if err := n.listenHTTP(ctx); err != nil {
		return errors.Join(err, closeAll(sockets))
	}
	n.done.Go(func() { n.serveClients(running, sockets) })
	n.done.Go(func() { n.recovered <- n.recover(running) })
	n.done.Go(func() { n.obedience.run(running) })
	if err := n.cluster.Open(ctx); err != nil {
		return err
	}
	host, port := n.cluster.GossipAddress()
	n.log.Info("the node can be reached", "node", n.id, "name", n.config.NodeID, "gossip", joinHostPort(host, port), "bus", joinHostPort(host, n.busPort), "http", n.httpAddr.String())
	return nil
}

// recover reads the shards back. Clients are told LOADING meanwhile, or that their shard is there.
func (n *Node) recover(ctx context.Context) error {
	if n.disk == nil {
		return nil
	}
	err := n.store.Disk().Recover(ctx, n.log)
	n.obedience.wake() // the shards can be opened
	return err
}

// Ready returns when the node serves what the cluster wants of it. After an error nothing is left running.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.await(ctx); err != nil {
		return errors.Join(err, n.abandon(ctx))
	}
	n.ready.Store(true)
	n.tellReady()
	return nil
}

func (n *Node) await(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	recovered := make(chan struct{})
	go func() { // a folder that cannot be read ends the wait for the cluster
		defer close(recovered)
		select {
		case err := <-n.recovered:
			if err != nil {
				cancel(err)
			}
		case <-ctx.Done():
		}
	}()
	for _, step := range []func(context.Context) error{n.cluster.Ready, n.obedience.settled} {
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

func (n *Node) tellReady() {
	args := []any{"version", n.config.Server.Version, "node", n.id, "cluster", n.cluster.ID(), "nodes", len(n.Topology().Nodes), "shards", n.config.Shards}
	for i, l := range n.config.Listen {
		name := "resp"
		if len(n.config.Listen) > 1 {
			name += "." + l.Name
		}
		args = append(args, name, n.clients[i].String())
	}
	n.log.Info("ndring is ready", append(args, "http", n.httpAddr.String())...)
}

// bind opens the ports for clients, which nobody serves yet.
func (n *Node) bind(ctx context.Context) (sockets []net.Listener, err error) {
	var lc net.ListenConfig
	for _, l := range n.config.Listen {
		socket, err := lc.Listen(ctx, "tcp", l.Address)
		if err != nil {
			return nil, errors.Join(cannotListen("clients", l.flag(&n.config), err), closeAll(sockets))
		}
		sockets = append(sockets, socket)
		n.clients = append(n.clients, socket.Addr())
	}
	return sockets, nil
}

// holdTime is how long clients are left to the system's queue while the node starts.
const holdTime = 3 * time.Second

// serveClients takes clients once the node can answer them. One that waits for nothing but itself is there in a moment: until then the system keeps their
// connections, which costs them less than an error. One that waits for others says so.
func (n *Node) serveClients(ctx context.Context, sockets []net.Listener) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(holdTime); n.Status().Starting && !n.placed() && time.Now().Before(limit) && ctx.Err() == nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	for i, l := range n.config.Listen {
		if err := n.server.Serve(protocol.Listener{Listener: sockets[i], Name: l.Name}); err != nil { // the node stops
			sockets[i].Close()
		}
	}
}

// placed reports whether each shard has a node that serves it.
func (n *Node) placed() bool {
	t := n.Topology()
	return len(t.Shards) > 0 && !slices.ContainsFunc(t.Shards, func(s topology.Shard) bool { return s.Primary == "" })
}

func closeAll(sockets []net.Listener) (err error) {
	for _, s := range sockets {
		err = errors.Join(err, s.Close())
	}
	return err
}

func (n *Node) listenHTTP(ctx context.Context) error {
	socket, err := new(net.ListenConfig).Listen(ctx, "tcp", joinHostPort(n.config.Bind, n.config.HTTPPort))
	if err != nil {
		return cannotListen("HTTP", "--http-port", err)
	}
	n.httpAddr = socket.Addr()
	n.http = &http.Server{Handler: n.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelWarn)}
	go func() {
		if err := n.http.Serve(bound(socket, n.config.Descriptors.HTTP)); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("the HTTP port failed", "err", err)
		}
	}()
	return nil
}

// Close stops the node in order; commands under way may end until ctx is done. It may be called more than once.
func (n *Node) Close(ctx context.Context) error {
	n.close.Do(func() {
		n.closing.Store(true)
		n.ready.Store(false)
		if n.server != nil {
			n.closed = n.server.Close(ctx)
		}
		if n.http != nil {
			n.closed = errors.Join(n.closed, n.http.Shutdown(ctx))
		}
		if n.cluster != nil {
			n.closed = errors.Join(n.closed, n.cluster.Close(ctx))
		}
		if n.bus != nil {
			n.closed = errors.Join(n.closed, n.bus.Close())
		}
		n.stop()
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
	save := n.how == protocol.ShutdownSave || n.how == protocol.ShutdownDefault && (n.config.Logged || len(n.effective().Server.Disk.Save) > 0)
	if deadline, limited := ctx.Deadline(); !n.config.Logged { // the snapshots are all there is
		ctx = context.WithoutCancel(ctx)
	} else if limited { // the rest of the time is for what cannot be left out
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-stopTime/5))
		defer cancel()
	}
	err := n.store.Close(ctx, save)
	n.store.Release()
	return err
}

// ClientAddrs returns where the node listens for clients, in the order of Config.Listen.
func (n *Node) ClientAddrs() []net.Addr { return n.clients }

// GossipAddr returns where other nodes find this one: what they are given with --join.
func (n *Node) GossipAddr() string { return joinHostPort(n.cluster.GossipAddress()) }

// HTTPAddr returns where the node listens for HTTP.
func (n *Node) HTTPAddr() net.Addr { return n.httpAddr }
