package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// Host is what the server asks of the process that it is a part of.
type Host interface {
	// Settings returns all settings that CONFIG shows.
	Settings() []Setting
	// ChangeSettings changes settings for good, all of them or none. The error is a *SettingError.
	ChangeSettings([]Setting) error
	// Shutdown begins an orderly stop and does not wait for it.
	Shutdown(Shutdown)
}

const (
	maxArgs     = 64 << 10        // arguments of one command
	maxKey      = 64<<10 - 1      // bytes
	maxHeader   = 1<<20 + 16      // bytes of a .npy before its data: what package array accepts, and magic, version and length
	maxPlainArg = 64 << 10        // bytes of an argument of a command that takes no arrays
	lingerTime  = time.Second     // after a protocol error: how long the rest of the stream is read, so that the client gets to see the error
	lingerBytes = 64 << 20        // and how much of it
	stopGrace   = 5 * time.Second // for commands under way when the server closes
)

// Shutdown says whether an orderly stop writes snapshots.
type Shutdown int

// The kinds of stops.
const (
	ShutdownDefault Shutdown = iota // with a log or with save points
	ShutdownSave
	ShutdownNoSave
)

// Listener is a socket on which clients come, with the name by which other nodes know the same network.
type Listener struct {
	net.Listener
	Name string
}

// Server serves clients on any number of listeners.
type Server struct {
	config  atomic.Pointer[Config]
	store   *shard.Store
	cluster Cluster
	host    Host
	pool    *memory.Pool // of values
	clients memory.Pool  // of what is read of commands, and is no large argument
	budget  *resp.Budget
	output  resp.Outputs

	strangers *resp.Budget // of clients before AUTH
	log       *slog.Logger
	started   time.Time

	counters   counters
	statistics *statistics
	slowlog    slowlog
	latency    latency
	pause      pause
	layouts    layouts
	nextID     atomic.Int64

	spare         spareFile
	acceptWarning throttle
	httpWarning   throttle

	gateWait atomic.Int64 // how long a command waits for its shard; tests change it

	mu        sync.Mutex // guards all below
	listeners []Listener
	conns     map[*conn]struct{}
	closing   bool
	closed    chan struct{}  // closed when closing begins
	done      sync.WaitGroup // accept loops and connections
}

// NewServer returns a server of store. Pool must be the one in which the store's values live.
func NewServer(config Config, store *shard.Store, cluster Cluster, host Host, pool *memory.Pool, log *slog.Logger) *Server {
	s := &Server{
		store: store, cluster: cluster, host: host, pool: pool, log: log,
		budget:     resp.NewBudget(0),
		strangers:  resp.NewBudget(strangersBudget),
		statistics: newStatistics(),
		started:    time.Now(),
		conns:      make(map[*conn]struct{}),
		closed:     make(chan struct{}),
	}
	store.Memory().CountPool(&s.clients)
	s.pause.keep = store.PauseRemovals
	s.gateWait.Store(int64(gateWait))
	s.Reconfigure(config.withDefaults())
	return s
}

// Reconfigure changes how the server behaves from now on. Connections take it over with their next command.
func (s *Server) Reconfigure(config Config) {
	s.config.Store(&config)
	s.budget.SetLimit(config.MaxUploadBytes)
	s.output.SetLimits(config.outputLimits())
	s.store.Memory().Configure(config.Memory)
	s.store.Disk().Configure(config.Disk)
}

// Serve accepts clients of l until Close, and returns at once.
func (s *Server) Serve(l Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return net.ErrClosed
	}
	s.spare.hold()
	s.listeners = append(s.listeners, l)
	s.done.Go(func() { s.accept(l) })
	return nil
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
	if !already {
		close(s.closed)
	}
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
		s.spare.close()
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
