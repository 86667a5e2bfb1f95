package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Cluster is one node's part in the cluster. New, then Open, then Close.
type Cluster struct {
	config Config
	timing Timing
	log    *slog.Logger
	bus    Bus
	host   Host
	files  Files
	self   topology.Node                 // without what depends on the node's address
	row    atomic.Pointer[topology.Node] // self as others reach it
	local  string                        // server id
	raft   raftFolder                    // only become uses it

	sights  *sights
	gossip  *gossip
	book    *book
	machine *machine
	streams *streams

	agreement atomic.Pointer[agreement] // nil before the node is part of a cluster
	waiting   atomic.Pointer[string]    // what for; empty when it serves
	fatal     atomic.Pointer[error]     // why it can never serve
	foreign   atomic.Pointer[[]string]  // seeds where nodes of another cluster answer
	silent    atomic.Pointer[[]string]  // likewise, where nobody has answered lately
	proposals counters
	refused   atomic.Int64  // messages to the gossip port
	kick      chan struct{} // wakes become; one at most
	twinTold  uint64        // incarnation of the twin that was told of; become's

	askAgain time.Time // for claims; only become uses it
	turn     int       // of those that are asked who leads; only keepInTouch uses it

	changed chan struct{} // a new topology is there; one at most
	met     chan struct{} // closed when all seeds have been called on once
	ready   chan struct{} // closed when this start of the node is part of the topology
	failed  chan struct{} // closed after fatal was set

	mu       sync.Mutex // guards identity
	identity identity

	context context.Context // ends with Close
	cancel  context.CancelFunc
	done    sync.WaitGroup
	close   sync.Once
	closed  error
}

// counters are totals since the start.
type counters struct{ proposed, failed atomic.Int64 }

// New returns a node that does nothing yet.
func New(config Config, bus Bus, host Host) *Cluster {
	config.Timing = config.Timing.withDefaults()
	if config.Files == nil {
		config.Files = &memoryFiles{}
	}
	c := &Cluster{
		config: config, timing: config.Timing, log: config.Log, bus: bus, host: host, files: config.Files, self: config.Self,
		local: serverID(config.Self.ID, config.Self.Store),
		kick:  make(chan struct{}, 1), changed: make(chan struct{}, 1), met: make(chan struct{}), ready: make(chan struct{}), failed: make(chan struct{}),
	}
	c.context, c.cancel = context.WithCancel(context.Background())
	c.row.Store(&c.self) // until its address is known
	c.sights = newSights(c.self.ID, c.self.Incarnation, c.log)
	c.machine = newMachine(c.publish)
	c.streams = newStreams(bus, c.local, c.resolve, c.sights.watch)
	c.raft = raftFolder{
		dir: config.RaftDir, store: config.Self.Store, known: config.RaftState, hasData: config.HasData, files: c.files, found: host.SetRaftState, log: c.log, logger: raftLogger(c.log),
	}
	c.await(starting)
	return c
}

// Open reads what the node has promised and belongs to, and starts gossip. It returns when others can reach the node; Ready tells when it is one of
// them. After an error nothing is left running.
func (c *Cluster) Open(context.Context) error {
	if err := c.load(); err != nil {
		return err
	}
	if err := c.gossip.open(); err != nil {
		return err
	}
	c.settle()
	c.done.Go(c.keepInTouch)
	c.done.Go(c.become)
	return nil
}

// settle notes where others reach this node.
func (c *Cluster) settle() {
	row := c.self
	row.BusHost, _ = c.gossip.address()
	row.Listeners = maps.Clone(row.Listeners)
	for name, a := range row.Listeners {
		if a.Derived && a.Host == "" {
			a.Host = row.BusHost
			row.Listeners[name] = a
		}
	}
	c.row.Store(&row)
}

// load reads what the node has promised and belongs to, and where the others were.
func (c *Cluster) load() (err error) {
	if c.book, err = openBook(c.files); err != nil {
		return err
	}
	if c.identity, err = c.raft.identity(c.self.ID, c.config.NewClusterID, len(c.book.all()) > 0); err != nil {
		return err
	}
	c.gossip = newGossip(&c.config, meta{
		node: c.self.ID, store: c.self.Store, cluster: c.identity.Cluster, incarnation: c.self.Incarnation, busPort: uint16(c.self.BusPort),
		expect: uint8(min(c.config.BootstrapExpect, 255)), hasData: c.config.HasData, name: c.self.Name,
	}, c.sights)
	c.gossip.refused = &c.refused
	return nil
}

// Ready returns when this start of the node is part of the topology, or with the reason why it never will be.
func (c *Cluster) Ready(ctx context.Context) error {
	tick := time.NewTicker(tellInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.ready:
			return nil
		case <-c.failed:
			return *c.fatal.Load()
		case <-ctx.Done():
			return fmt.Errorf("the node waits for %s: %w", c.Waiting(), ctx.Err())
		case <-c.context.Done():
			return net.ErrClosed
		case <-tick.C:
			c.log.Info("the node waits", "for", c.Waiting())
		}
	}
}

// tellInterval is how often a node that waits says what for.
const tellInterval = 3 * time.Second

// Close ends the node's part in order: the others are told that it goes.
func (c *Cluster) Close(context.Context) error {
	c.close.Do(func() {
		c.cancel()
		c.done.Wait()
		if c.gossip != nil {
			c.closed = c.gossip.leave(leaveTime)
		}
		if a := c.agreement.Load(); a != nil {
			c.closed = errors.Join(c.closed, a.close())
		}
		c.streams.Close()
		if c.book != nil {
			c.closed = errors.Join(c.closed, c.book.save())
		}
	})
	return c.closed
}

// leaveTime is how long the news that a node goes may take to be sent.
const leaveTime = time.Second

// Topology returns the newest topology; one without a Cluster before there is any.
func (c *Cluster) Topology() *topology.Topology { return c.machine.current.Load() }

// GossipAddress returns where this node's gossip is reached.
func (c *Cluster) GossipAddress() (host string, port int) { return c.gossip.address() }

// GossipRefused returns how many messages have come to the gossip port that no node sends.
func (c *Cluster) GossipRefused() int64 { return c.refused.Load() }

// ID returns the id of the cluster; empty before the node is part of one.
func (c *Cluster) ID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity.Cluster
}

// publish hands a new topology on. Raft calls it, so it must not block.
func (c *Cluster) publish(t *topology.Topology) {
	c.host.Publish(t)
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// fail ends the wait of Ready for good.
func (c *Cluster) fail(err error) {
	if c.fatal.CompareAndSwap(nil, &err) {
		close(c.failed)
	}
}

// starting is what a node waits for that does not know yet for what.
const starting = "the start"

// await notes what the node waits for.
func (c *Cluster) await(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	c.waiting.Store(&text)
}

// Waiting returns what the node waits for; empty when it serves.
func (c *Cluster) Waiting() string { return *c.waiting.Load() }

// resolve returns where a node's bus is, and whether gossip sees it.
func (c *Cluster) resolve(id topology.NodeID) (address string, alive bool) {
	if i, ok := c.sights.get(id); ok {
		return i.bus, i.alive
	}
	e, _ := c.book.get(id)
	return e.Bus, false
}

// target returns how a node is reached, with the store that the topology or gossip has for it.
func (c *Cluster) target(id topology.NodeID) (Target, error) {
	address, _ := c.resolve(id)
	if address == "" {
		return Target{}, fmt.Errorf("nobody knows where node %s is", id)
	}
	return Target{Address: address, Node: id}, nil
}

// name returns how people know a node.
func (c *Cluster) name(id topology.NodeID) string {
	if id == c.self.ID {
		return label(c.self.Name, id)
	}
	if i, ok := c.sights.get(id); ok {
		return label(i.name, id)
	}
	if e, ok := c.book.get(id); ok {
		return label(e.Name, id)
	}
	return label("", id)
}
