package protocol

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/protocol/command"
	"github.com/ndring/ndring/protocol/resp"
	"github.com/ndring/ndring/shard"
)

// commands is the command table of all servers.
var commands = newTable(commandRows())

func newTable(rows []*command.Spec) *command.Table {
	t := command.NewTable(rows, func(container *command.Spec) command.Handler { return help(container) })
	checkHandlers(t)
	return t
}

// NewServer returns a server of store. Pool must be the one that holds the store's values.
func NewServer(config Config, store *shard.Store, cluster Cluster, host Host, pool *memory.Pool, log *slog.Logger) *Server {
	s := &Server{
		store: store, host: host, pool: pool, log: log, table: commands,
		connections: newConnections(),
		budget:      resp.NewBudget(0),
		strangers:   resp.NewBudget(strangersBudget),
		statistics:  newStatistics(commands.Rows()),
		started:     time.Now(),
	}
	s.tracker.init(store, &s.connections)
	s.router = &router{cluster: cluster, store: store, closed: s.connections.closed}
	store.Memory().CountPool(&s.clients)
	s.pause.pauseRemovals, s.pause.closed = store.PauseRemovals, s.connections.closed
	s.handshakes.log = log
	s.handshakes.limit.Store(int64(handshakeTime))
	s.gateWait.Store(int64(gateWait))
	s.commitWait.Store(int64(commitWait))
	s.waits, s.endWaits = context.WithCancel(context.Background())
	s.Reconfigure(config.withDefaults())
	return s
}

// Serve accepts clients of l until Close. It returns at once.
func (s *Server) Serve(l Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.connections.closed:
		return net.ErrClosed
	default:
	}
	s.spare.hold()
	s.listeners = append(s.listeners, l)
	s.connections.done.Go(func() { s.accept(l) })
	return nil
}

// Close stops accepting, lets running commands end until a grace time has passed or ctx is done, and
// closes all connections.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	first := s.connections.stop()
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && first {
			s.log.Warn("close of a listener failed", "listener", l.Name, "err", err)
		}
	}
	s.mu.Unlock()
	soon := time.AfterFunc(stopWait, s.endWaits) // a commit that is under way may still come
	defer s.endWaits()
	defer soon.Stop()

	ended := make(chan struct{})
	go func() {
		s.connections.done.Wait()
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
	cut := s.connections.cut()
	<-ended
	return fmt.Errorf("closed %d connections within a command", cut)
}
