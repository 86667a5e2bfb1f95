package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"
)

// readiness says whether this incarnation is part of the topology, and if not, what the node is
// waiting for.
type readiness struct {
	log     *slog.Logger
	waiting atomic.Pointer[string] // completes "waiting for"; empty once the node is ready
	ready   chan struct{}          // closed when this incarnation is part of the topology
	fatal   atomic.Pointer[error]  // why the node can never become ready
	failed  chan struct{}          // closed after fatal is set
}

// starting is what a node waits for before it knows better.
const starting = "its own startup"

// reminderInterval is how often a waiting node logs what it is waiting for.
const reminderInterval = 3 * time.Second

func newReadiness(log *slog.Logger) *readiness {
	r := &readiness{log: log, ready: make(chan struct{}), failed: make(chan struct{})}
	r.await(starting)
	return r
}

// await records what the node is waiting for.
func (r *readiness) await(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.waiting.Store(&text)
}

func (r *readiness) waitingFor() string { return *r.waiting.Load() }

// setReady is called once.
func (r *readiness) setReady() {
	r.await("")
	close(r.ready)
}

// fail makes wait return err, now and later. Only the first failure counts.
func (r *readiness) fail(err error) {
	if r.fatal.CompareAndSwap(nil, &err) {
		close(r.failed)
	}
}

// wait returns when the node is ready, or with the reason why it is not and when a context ends.
func (r *readiness) wait(ctx, lifetime context.Context) error {
	tick := time.NewTicker(reminderInterval)
	defer tick.Stop()
	for {
		select {
		case <-r.ready:
			return nil
		case <-r.failed:
			return *r.fatal.Load()
		case <-ctx.Done():
			return fmt.Errorf("the node is waiting for %s: %w", r.waitingFor(), ctx.Err())
		case <-lifetime.Done():
			return net.ErrClosed
		case <-tick.C:
			r.log.Info("node is waiting", "for", r.waitingFor())
		}
	}
}
