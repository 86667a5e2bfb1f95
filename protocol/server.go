package protocol

import (
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

// Host is the process that the server is a part of.
type Host interface {
	// Settings returns all settings that CONFIG shows.
	Settings() []Setting
	// ChangeSettings changes settings until the process ends, all of them or none. The error is a *SettingError.
	ChangeSettings([]Setting) error
	// Shutdown begins an orderly stop and does not wait for it.
	Shutdown(Shutdown)
}

const (
	maxArgs     = 64 << 10        // arguments of one command
	maxKey      = 64<<10 - 1      // bytes
	maxHeader   = 1<<20 + 16      // bytes of a .npy file before its data: the limit of package array, plus magic, version and length
	maxPlainArg = 64 << 10        // bytes of an argument of a command that accepts no arrays
	lingerTime  = time.Second     // for which the stream is drained after a protocol error, so that the client sees the error
	lingerBytes = 64 << 20        // that are drained
	stopGrace   = 5 * time.Second // for running commands when the server closes
)

// Shutdown says whether an orderly stop writes snapshots.
type Shutdown int

// The kinds of stops.
const (
	ShutdownDefault Shutdown = iota // with a log or with save points
	ShutdownSave
	ShutdownNoSave
)

// Listener is a socket that accepts clients. Other nodes know the same network by its name.
type Listener struct {
	net.Listener
	Name string
}

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

	spare         spareFile
	acceptWarning throttle
	httpWarning   throttle

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
