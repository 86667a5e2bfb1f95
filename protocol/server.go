package protocol

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// Server serves clients on any number of listeners. Its parts have their own locks; they are leaves, except
// that mu is held while connections are stopped.
type Server struct {
	config atomic.Pointer[Config]
	log    *slog.Logger
	host   Host
	table  *command.Table

	store  *shard.Store
	pool   *memory.Pool // of values
	router *router

	connections connections
	tracker     tracker
	clients     memory.Pool  // of what clients send, except large arguments
	budget      *resp.Budget // of uploads
	strangers   *resp.Budget // of what clients send before AUTH
	output      resp.Outputs // of replies

	started    time.Time
	counters   counters
	statistics *statistics
	slowlog    slowlog
	latency    latency
	pause      pause
	gateWait   atomic.Int64 // ns that a command waits for its shard; tests change it
	commitWait atomic.Int64 // ns that a connection waits for commits; tests change it

	waits    context.Context // of connections for commits and leases
	endWaits func()          // ends them

	spare         spareFile
	acceptWarning throttle
	httpWarning   throttle
	handshakes    handshakes

	mu        sync.Mutex // guards listeners
	listeners []Listener
}

// Reconfigure changes the configuration. Connections follow with their next command.
func (s *Server) Reconfigure(config Config) {
	s.config.Store(&config)
	s.budget.SetLimit(config.MaxUploadBytes)
	s.output.SetLimits(config.outputLimits())
	s.store.Memory().Configure(config.Memory)
	s.store.Disk().Configure(config.Disk)
	s.store.ConfigureCopies(config.Copies)
	s.tracker.configure(config.TrackingTableMaxKeys)
}

// protected reports whether a client from an address must be rejected.
func (s *Server) protected(remote net.Addr) bool {
	if config := s.config.Load(); config.Password != "" || !config.ProtectedMode {
		return false
	}
	tcp, ok := remote.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}

// evictFor frees n bytes of memory, or returns ErrOOM.
func (s *Server) evictFor(n int64) error {
	if s.store.EvictFor(n) {
		return nil
	}
	s.counters.denyOOM.Add(1)
	return ErrOOM
}
