package protocol

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/shard"
)

// Config says how a Server behaves. Zero values take the defaults that are named.
type Config struct {
	MaxArrayBytes  int64         // bytes of data of one array or part; default 512 MiB
	MaxUploadBytes int64         // bytes of all commands on their way in; default 1 GiB. More wait, then get BUSY
	MaxReplyBytes  int64         // bytes of replies that may wait for one client before its commands do; default 64 MiB
	MaxClients     int           // connections; default 10,000. One more gets an error and is closed
	UploadWait     time.Duration // how long a command waits for room among the uploads; default 10 s
	UploadStall    time.Duration // longest silence within a command; default 30 s. Then the connection is closed
	ReplyStall     time.Duration // longest time in which a client takes nothing of what waits for it; default 60 s. Then it is closed
	Password       string        // that clients must give; "" for none
	ProtectedMode  bool          // without a password, only clients from this machine are served
	Version        string        // of ndring, as INFO says it
}

// Defaults of Config.
const (
	DefaultMaxArrayBytes  = 512 << 20
	DefaultMaxUploadBytes = 1 << 30
	DefaultMaxReplyBytes  = 64 << 20
	DefaultMaxClients     = 10_000
	DefaultUploadWait     = 10 * time.Second
	DefaultUploadStall    = 30 * time.Second
	DefaultReplyStall     = 60 * time.Second
)

const (
	maxArgs     = 64 << 10        // arguments of one command
	maxKey      = 64<<10 - 1      // bytes
	maxHeader   = 1<<20 + 16      // bytes of a .npy before its data: what package array accepts, and magic, version and length
	maxPlainArg = 64 << 10        // bytes of an argument of a command that takes no arrays
	lingerTime  = time.Second     // after a protocol error: how long the rest of the stream is read, so that the client gets to see the error
	lingerBytes = 64 << 20        // and how much of it
	stopGrace   = 5 * time.Second // for commands under way when the server closes
)

func (c Config) withDefaults() Config {
	setDefault(&c.MaxArrayBytes, DefaultMaxArrayBytes)
	setDefault(&c.MaxUploadBytes, DefaultMaxUploadBytes)
	setDefault(&c.MaxReplyBytes, DefaultMaxReplyBytes)
	setDefault(&c.MaxClients, DefaultMaxClients)
	setDefault(&c.UploadWait, DefaultUploadWait)
	setDefault(&c.UploadStall, DefaultUploadStall)
	setDefault(&c.ReplyStall, DefaultReplyStall)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c Config) limits() Limits {
	largest := c.MaxArrayBytes + maxHeader
	return Limits{MaxArgs: maxArgs, MaxBulk: largest, MaxSkip: 4 * largest, Wait: c.UploadWait}
}

// Cluster is what the server asks of the cluster that it is a part of.
type Cluster interface {
	// Topology returns the newest topology. It is called once a command and must not block.
	Topology() *topology.Topology
	// Self returns this node's id.
	Self() topology.NodeID
}

// Listener is a socket on which clients come, with the name by which other nodes know the same network.
type Listener struct {
	net.Listener
	Name string
}

// Server serves clients on any number of listeners.
type Server struct {
	config  Config
	store   *shard.Store
	cluster Cluster
	pool    *memory.Pool
	budget  *Budget
	log     *slog.Logger
	started time.Time

	counters counters
	nextID   atomic.Int64

	mu        sync.Mutex // guards all below
	listeners []Listener
	conns     map[*conn]struct{}
	closing   bool
	done      sync.WaitGroup // accept loops and connections
}

type counters struct {
	connections, rejected, denied, authFailures, commands, errors, panics, protocolErrors atomic.Int64
	bytesIn, bytesOut                                                                     atomic.Int64
}

// NewServer returns a server of store. Pool must be the one in which the store's values live.
func NewServer(config Config, store *shard.Store, cluster Cluster, pool *memory.Pool, log *slog.Logger) *Server {
	config = config.withDefaults()
	return &Server{
		config: config, store: store, cluster: cluster, pool: pool, log: log,
		budget:  NewBudget(config.MaxUploadBytes),
		started: time.Now(),
		conns:   make(map[*conn]struct{}),
	}
}

// Serve accepts clients of l until Close, and returns at once.
func (s *Server) Serve(l Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return net.ErrClosed
	}
	s.listeners = append(s.listeners, l)
	s.done.Go(func() { s.accept(l) })
	return nil
}

func (s *Server) accept(l Listener) {
	for {
		nc, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of file descriptors, most likely: others may close soon
			s.log.Warn("accept failed", "listener", l.Name, "err", err)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.welcome(nc, l.Name)
	}
}

func (s *Server) welcome(nc net.Conn, listener string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	if len(s.conns) >= s.config.MaxClients {
		s.counters.rejected.Add(1)
		turnAway(nc, "ERR max number of clients reached")
		return
	}
	if s.protected(nc.RemoteAddr()) {
		s.counters.denied.Add(1)
		turnAway(nc, deniedText)
		return
	}
	s.counters.connections.Add(1)
	c := newConn(s, nc, listener, s.nextID.Add(1))
	s.conns[c] = struct{}{}
	s.done.Go(func() {
		defer s.forget(c)
		c.serve()
	})
}

// turnAway closes a connection with an error. One short write to an empty socket does not block.
func turnAway(nc net.Conn, text string) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write([]byte("-" + text + "\r\n")) // if it fails, the client has gone
	nc.Close()
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Close stops accepting, lets the commands under way end, up to a grace time or until ctx is done, and closes all connections.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	already := s.closing
	s.closing = true
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !already {
			s.log.Warn("closing a listener", "listener", l.Name, "err", err)
		}
	}
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	cut := len(s.conns)
	for c := range s.conns {
		c.nc.Close()
	}
	s.mu.Unlock()
	<-ended
	return fmt.Errorf("%d connections were cut within a command", cut)
}

// Stats is what a server counts; totals are since the start.
type Stats struct {
	Clients                                         int
	Connections, Rejected, Commands, Errors, Panics int64
	ProtocolErrors, Denied, AuthFailures            int64
	BytesIn, BytesOut                               int64
	UploadBytes                                     int64 // of commands on their way in, now
	ValueBytes                                      int64 // in buffers: stored, arriving or being sent, now
	Store                                           shard.Stats
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	clients := len(s.conns)
	s.mu.Unlock()
	c := &s.counters
	return Stats{
		Clients: clients, Connections: c.connections.Load(), Rejected: c.rejected.Load(),
		Commands: c.commands.Load(), Errors: c.errors.Load(), Panics: c.panics.Load(), ProtocolErrors: c.protocolErrors.Load(),
		Denied: c.denied.Load(), AuthFailures: c.authFailures.Load(),
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		UploadBytes: s.budget.Used(), ValueBytes: s.pool.Bytes(), Store: s.store.Stats(),
	}
}
