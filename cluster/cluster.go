package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// Cluster is one node's part in the cluster. New, then Open, then Close.
type Cluster struct {
	config Config
	log    *slog.Logger
	host   Host
	life   *lifetime
	self   *localNode

	readiness *readiness
	identity  *identityStore
	members   *members
	book      *addressBook
	gossip    *gossip
	peers     *peers

	fsm       *fsm
	streams   *streamLayer
	consensus *consensusRef

	startup      *startup
	bootstrapper *bootstrapper
	admitter     *admitter
	rejoiner     *rejoiner
	proposer     *proposer
	reporter     *reporter
	loads        *loads

	applied chan struct{} // a new topology was applied; capacity 1

	close  sync.Once
	closed error
}

// consensusRef holds the node's raft; nil before the node is part of a cluster.
type consensusRef = atomic.Pointer[consensus]

// New assembles a node's part in the cluster. It does no work.
func New(config Config, bus Bus, host Host) *Cluster {
	config.Timing = config.Timing.withDefaults()
	config.fill()
	c := &Cluster{
		config: config, log: config.Log, host: host, life: newLifetime(), self: newLocalNode(config.Self, config.Start, config.Always, config.Weight),
		readiness: newReadiness(config.Log), identity: &identityStore{files: config.Files}, book: newAddressBook(config.Files),
		consensus: new(consensusRef), applied: make(chan struct{}, 1),
	}
	c.members = newMembers(c.self.ID, c.self.Incarnation, c.log)
	c.gossip = newGossip(&c.config, c.members)
	c.peers = &peers{self: c.self, members: c.members, book: c.book, bus: bus}
	c.fsm = newFSM(c.publish)
	c.fsm.fail = c.fail
	c.streams = newStreamLayer(bus, c.self.server, c.peers.resolve, c.members.watch)
	c.proposer = newProposer(c.self, c.peers, c.fsm, c.consensus)
	c.reporter = &reporter{life: c.life, self: c.self, peers: c.peers, fsm: c.fsm, consensus: c.consensus, reports: newReports()}
	c.loads = &loads{self: c.self, host: host, peers: c.peers, fsm: c.fsm}
	c.admitter = &admitter{life: c.life, self: c.self, peers: c.peers, fsm: c.fsm, consensus: c.consensus, removed: c.config.Removed}
	c.assembleStart(bus)
	return c
}

// assembleStart makes the parts that bring the node into its cluster and keep it there.
func (c *Cluster) assembleStart(bus Bus) {
	membership := &membership{host: c.host, identity: c.identity, gossip: c.gossip, server: c.self.server, only: c.config.OnlyCluster, log: c.log}
	duplicates := &duplicates{life: c.life, log: c.log, self: c.self, members: c.members, peers: c.peers}
	seeds := &seeds{
		log: c.log, addresses: c.config.Join, self: c.self, members: c.members, book: c.book, gossip: c.gossip, readiness: c.readiness, tried: make(chan struct{}),
	}
	joiner := &joiner{
		life: c.life, self: c.self, shards: c.config.Shards, identity: c.identity, membership: membership, members: c.members, peers: c.peers,
		readiness: c.readiness, admitter: c.admitter,
	}
	c.bootstrapper = &bootstrapper{
		life: c.life, log: c.log, config: &c.config, self: c.self, identity: c.identity, membership: membership, members: c.members, peers: c.peers,
		readiness: c.readiness, seeds: seeds, duplicates: duplicates, joiner: joiner,
	}
	c.rejoiner = &rejoiner{
		life: c.life, log: c.log, interval: c.config.Timing.Rejoin, self: c.self, identity: c.identity, members: c.members, book: c.book,
		readiness: c.readiness, seeds: seeds, joiner: joiner, fsm: c.fsm, consensus: c.consensus,
		advertiser: &advertiser{log: c.log, self: c.self, gossip: c.gossip, streams: c.streams, bus: bus},
	}
	c.startup = &startup{
		life: c.life, log: c.log, config: &c.config, self: c.self, host: c.host, identity: c.identity, membership: membership, members: c.members,
		peers: c.peers, readiness: c.readiness, seeds: seeds, duplicates: duplicates, bootstrapper: c.bootstrapper, joiner: joiner,
		proposer: c.proposer, fsm: c.fsm, streams: c.streams, consensus: c.consensus, applied: c.applied, formed: make(chan struct{}, 1),
		folder: raftFolder{
			dir: c.config.RaftDir, store: c.self.Store, known: c.config.RaftState, hasData: c.config.HasData, files: c.config.Files,
			setState: c.host.SetRaftState, log: c.log, logger: raftLogger(c.log),
		},
		controller: &controller{life: c.life, log: c.log, timing: c.config.Timing, self: c.self, members: c.members, peers: c.peers, fsm: c.fsm, reports: c.reporter.reports,
			loads: c.loads, emptyShards: c.config.EmptyShards, moves: c.config.Moves},
	}
}

// Open reads the node's identity and starts gossip. It returns when others can reach the node;
// Ready returns when the node is a member. After an error nothing is left running.
func (c *Cluster) Open(context.Context) error {
	if err := c.load(); err != nil {
		return err
	}
	if err := c.gossip.open(); err != nil {
		return err
	}
	host, _ := c.gossip.address()
	c.self.setHost(host)
	c.life.run(c.rejoiner.loop)
	c.life.run(c.startup.run)
	return nil
}

// load reads what the node has promised, which cluster it belongs to, and where the other members were.
func (c *Cluster) load() error {
	if err := c.book.load(); err != nil {
		return err
	}
	identity, err := c.startup.folder.identity(c.self.ID, c.config.NewClusterID, len(c.book.all()) > 0)
	if err != nil {
		return err
	}
	if identity.Cluster != "" {
		if err := c.bootstrapper.membership.allows(identity.Cluster); err != nil {
			return fmt.Errorf("the data folder belongs to another cluster: %w", err)
		}
	}
	c.identity.load(identity)
	c.gossip.self.cluster = identity.Cluster
	return nil
}

// Ready returns when this incarnation is part of the topology, or with the reason why it never will be.
func (c *Cluster) Ready(ctx context.Context) error { return c.readiness.wait(ctx, c.life.ctx) }

// leaveTimeout bounds how long a closing node spends telling the others that it leaves.
const leaveTimeout = time.Second

// Close ends the node's part in order and tells the others that it leaves.
func (c *Cluster) Close(context.Context) error {
	c.close.Do(func() {
		if c.consensus.Load() == nil {
			c.streams.Close() // raft may be starting, and wait for a disk that refuses its term until the streams are closed
		}
		c.life.end()
		c.closed = c.gossip.leave(leaveTimeout)
		if a := c.consensus.Load(); a != nil {
			c.closed = errors.Join(c.closed, a.close())
		}
		c.streams.Close()
		c.closed = errors.Join(c.closed, c.book.save())
	})
	return c.closed
}

// Topology returns the newest topology; one with an empty Cluster before there is any.
func (c *Cluster) Topology() *topology.Topology { return c.fsm.current.Load() }

// BusAddress returns where the bus of a node was last reached; false if that is unknown.
func (c *Cluster) BusAddress(id topology.NodeID) (address string, known bool) {
	address, _ = c.peers.resolve(id)
	return address, address != ""
}

// GossipAddress returns where others reach this node's gossip.
func (c *Cluster) GossipAddress() (host string, port int) { return c.gossip.address() }

// GossipRefused returns how many messages to the gossip port were refused because no node sends
// such messages.
func (c *Cluster) GossipRefused() int64 { return c.gossip.refused.Load() }

// ID returns the cluster id; empty before the node belongs to a cluster.
func (c *Cluster) ID() string { return c.identity.clusterID() }

// Waiting returns what the node is waiting for; empty once it is ready.
func (c *Cluster) Waiting() string { return c.readiness.waitingFor() }

// fail ends a node that must not go on. Raft may call it, so it must not block.
func (c *Cluster) fail(err error) {
	c.log.Error("this node must stop", "err", err)
	c.readiness.fail(err)
	c.host.Fail(err)
}

// publish passes a new topology on. Raft calls it, so it must not block.
func (c *Cluster) publish(t *topology.Topology) {
	c.host.Publish(t)
	select {
	case c.applied <- struct{}{}:
	default:
	}
}
