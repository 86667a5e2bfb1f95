package node

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
	"github.com/ndring/ndring/protocol"
	"github.com/ndring/ndring/shard"
)

// Node is one ndring process' worth of node. New, then Open, then Close.
type Node struct {
	mu     sync.Mutex // guards config once the node is open
	config Config
	log    *slog.Logger
	level  *slog.LevelVar // of log

	id       topology.NodeID
	topology *topology.Topology
	store    *shard.Store
	server   *protocol.Server
	http     *http.Server
	httpAddr net.Addr
	clients  []net.Addr // of the client listeners, in the order of Config.Listen
	ready    atomic.Bool
	close    sync.Once
	closed   error
	shutdown sync.Once
	asked    chan struct{}     // closed by shutdown
	how      protocol.Shutdown // set before
}

// New returns a node that does nothing yet. Level is that of log, which CONFIG SET log-level changes.
func New(config Config, log *slog.Logger, level *slog.LevelVar) *Node {
	return &Node{config: config, log: log, level: level, asked: make(chan struct{})}
}

// Open starts the node and returns when it serves. After an error nothing is left running.
func (n *Node) Open(ctx context.Context) error {
	n.id = nodeID(n.config.NodeID)
	disk, epoch, err := n.openDisk()
	if err != nil {
		return err
	}
	self := topology.Node{ID: n.id, Listeners: map[string]topology.Address{}}
	for _, l := range n.config.Listen {
		self.Listeners[l.Name] = l.Announce
	}
	if n.topology, err = topology.Single(self, n.config.Shards, epoch); err != nil {
		if disk != nil {
			err = errors.Join(err, disk.Close(false))
		}
		return err
	}
	pool := new(memory.Pool)
	n.store = shard.NewStore(n.config.Shards, epoch, newClock().now, pool)
	if disk != nil {
		n.store.UseDisk(disk, n.config.Logged, protocol.Frame, n.log)
	}
	n.server = protocol.NewServer(n.config.Server, n.store, n, n, pool, n.log)
	n.server.Reconfigure(n.config.Server) // where a zero is a zero
	n.store.Open(context.WithoutCancel(ctx))
	if err := n.listen(ctx); err != nil {
		return errors.Join(err, n.Close(ctx))
	}
	if disk != nil { // clients are told LOADING meanwhile, or that their shard is there
		if err := n.store.Recover(ctx, n.log); err != nil {
			return errors.Join(err, n.Close(ctx))
		}
	}
	n.ready.Store(true)
	args := []any{"version", n.config.Server.Version, "node", n.id, "shards", n.config.Shards}
	for i, l := range n.config.Listen {
		name := "resp"
		if len(n.config.Listen) > 1 {
			name += "." + l.Name
		}
		args = append(args, name, n.clients[i].String())
	}
	n.log.Info("ndring is ready", append(args, "http", n.httpAddr.String())...)
	return nil
}

// openDisk opens the data folder, if there is to be one, and returns the epoch of this start: versions must not repeat those of an earlier one, even of
// one whose folder is gone.
func (n *Node) openDisk() (*persistence.Disk, uint64, error) {
	now := uint64(time.Now().UnixMilli())
	if n.config.Dir == "" {
		return nil, now, nil
	}
	dir, err := filepath.Abs(n.config.Dir)
	if err != nil {
		return nil, 0, err
	}
	boot, err := bootID()
	if err != nil {
		n.log.Warn("the system does not say when it was started: after a stop that is not clean, the logs are read as after a loss of power", "err", err)
		boot = rand.Text()
	}
	disk, err := persistence.OpenDisk(vfs.OS{}, dir, persistence.Options{
		Shards: n.config.Shards, BootID: boot, Log: n.log,
		Epoch: func(last uint64) uint64 { return max(last+1, now) },
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", dir, err)
	}
	if disk.PowerLoss() {
		n.log.Warn("the machine was started anew since the last run, which did not end cleanly: what was not synced may be gone", "dir", dir)
	}
	return disk, disk.Epoch(), nil
}

func (n *Node) listen(ctx context.Context) error {
	var lc net.ListenConfig
	for _, l := range n.config.Listen {
		socket, err := lc.Listen(ctx, "tcp", l.Address)
		if err != nil {
			return fmt.Errorf("cannot listen for clients: %w", err)
		}
		n.clients = append(n.clients, socket.Addr())
		if err := n.server.Serve(protocol.Listener{Listener: socket, Name: l.Name}); err != nil {
			return err
		}
	}
	socket, err := lc.Listen(ctx, "tcp", joinHostPort(n.config.Bind, n.config.HTTPPort))
	if err != nil {
		return fmt.Errorf("cannot listen for HTTP: %w", err)
	}
	n.httpAddr = socket.Addr()
	n.http = &http.Server{Handler: n.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := n.http.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
			n.log.Error("the HTTP port failed", "err", err)
		}
	}()
	return nil
}

// Close stops the node in order; commands under way may end until ctx is done. It may be called more than once.
func (n *Node) Close(ctx context.Context) error {
	n.close.Do(func() {
		n.ready.Store(false)
		if n.server == nil {
			return
		}
		n.closed = n.server.Close(ctx)
		if n.http != nil {
			n.closed = errors.Join(n.closed, n.http.Shutdown(ctx))
		}
		save := n.how == protocol.ShutdownSave || n.how == protocol.ShutdownDefault && (n.config.Logged || len(n.config.Server.Disk.Save) > 0)
		if !n.config.Logged { // the snapshots are all there is
			ctx = context.WithoutCancel(ctx)
		}
		n.closed = errors.Join(n.closed, n.store.Close(ctx, save))
		n.store.Release()
	})
	return n.closed
}

// errAlone is the answer to what only a member of a larger cluster can do.
var errAlone = errors.New("this node is a cluster of one")

// Topology and what follows are what package protocol asks of the cluster.
func (n *Node) Topology() *topology.Topology { return n.topology }

// Self returns the node's id.
func (n *Node) Self() topology.NodeID { return n.id }

// Sight returns what the node sees of another one: there is none.
func (n *Node) Sight(topology.NodeID) protocol.Sight { return protocol.Sight{} }

// Status returns how the node stands in its cluster.
func (n *Node) Status() protocol.ClusterStatus {
	status := protocol.ClusterStatus{Leader: n.id, Voters: 1, Quorum: true, Applied: n.topology.Index}
	if !n.ready.Load() {
		status.Waiting = "its shards are being read from disk"
	}
	return status
}

// Links returns the connections to other nodes.
func (n *Node) Links() []protocol.ClusterLink { return nil }

// Forget fails: no other node is known.
func (n *Node) Forget(context.Context, topology.NodeID) error { return errAlone }

// Leave fails: nobody would take the shards.
func (n *Node) Leave(context.Context) error { return errAlone }

// ClientAddrs returns where the node listens for clients, in the order of Config.Listen.
func (n *Node) ClientAddrs() []net.Addr { return n.clients }

// HTTPAddr returns where the node listens for HTTP.
func (n *Node) HTTPAddr() net.Addr { return n.httpAddr }

// nodeID makes the 40 hexadecimal digits that clients see from a node's name, or from nothing.
func nodeID(name string) topology.NodeID {
	if decoded, err := hex.DecodeString(name); err == nil && len(decoded) == sha1.Size {
		return topology.NodeID(hex.EncodeToString(decoded))
	}
	if name == "" {
		name = rand.Text()
	}
	sum := sha1.Sum([]byte(name)) // a name, not a secret
	return topology.NodeID(hex.EncodeToString(sum[:]))
}
