package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// seeds contacts the addresses given with --join and those in the address book, and knows where a
// node of another cluster, or none, answered.
type seeds struct {
	log       *slog.Logger
	addresses []string // given with --join
	self      *localNode
	members   *members
	book      *addressBook
	gossip    *gossip
	readiness *readiness

	foreign atomic.Pointer[[]string] // seeds where a node of another cluster answered last
	silent  atomic.Pointer[[]string] // addresses where no node answered last
	once    sync.Once                // closes tried
	tried   chan struct{}            // closed when all seeds have been tried once
}

// seedTimeout is how long a start waits for its seeds before it goes on without them.
const seedTimeout = 3 * time.Second

// awaitTried waits until all seeds have been tried, within seedTimeout.
func (s *seeds) awaitTried(ctx context.Context) {
	if len(s.addresses) > 0 {
		awaitFor(ctx, s.tried, seedTimeout)
	}
}

func awaitFor(ctx context.Context, done <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// contactBefore contacts the seeds before a node goes on alone as a member of a cluster, since they
// may belong to another one.
func (s *seeds) contactBefore(life *lifetime, cluster string) error {
	if len(s.addresses) == 0 {
		return nil
	}
	done := make(chan struct{})
	life.run(func() {
		defer close(done)
		s.contactMissing()
	})
	awaitFor(life.ctx, done, seedTimeout)
	if life.ctx.Err() != nil {
		return nil
	}
	return s.checkCluster(cluster)
}

// checkCluster returns an error if seeds belong to another cluster and gossip sees no member of
// this one.
func (s *seeds) checkCluster(own string) error {
	foreign := s.foreign.Load()
	if foreign == nil || len(*foreign) == 0 {
		return nil
	}
	for _, i := range s.members.alive() {
		if i.cluster == own {
			return nil
		}
	}
	return fmt.Errorf("the data folder belongs to cluster %s, but the nodes at %s belong to another one: start this node with an empty folder to join "+
		"that cluster, or with --join addresses of its own", own, strings.Join(*foreign, ", "))
}

// contactMissing contacts the known nodes that gossip does not see. The seeds are tried too while
// the node is not ready, sees no other node, or misses one: a node that has moved may be where its
// name leads now.
func (s *seeds) contactMissing() {
	defer s.once.Do(func() { close(s.tried) })
	alone, ready := len(s.members.alive()) == 0, s.readiness.waitingFor() == ""
	var addresses []string
	for id, e := range s.book.all() {
		if i, ok := s.members.get(id); id != s.self.ID && !(ok && i.alive) {
			addresses = append(addresses, e.Gossip)
		}
	}
	if alone || !ready || len(addresses) > 0 {
		addresses = append(addresses, s.addresses...)
	}
	if len(addresses) == 0 {
		return
	}
	n, foreign, silent, err := s.gossip.join(addresses)
	if err != nil {
		s.log.Debug("some known addresses do not answer", "answered", n, "of", len(addresses), "err", err)
	}
	s.silent.Store(&silent)
	// Any node may run by now where a member once was: only seeds count.
	foreign = slices.DeleteFunc(foreign, func(a string) bool { return !slices.Contains(s.addresses, a) })
	s.foreign.Store(&foreign)
}

// silentSeeds returns the addresses where no node answered lately.
func (s *seeds) silentSeeds() []string {
	if silent := s.silent.Load(); silent != nil {
		return *silent
	}
	return nil
}
