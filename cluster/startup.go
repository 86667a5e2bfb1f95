package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
)

// startup makes this incarnation of the node a member: it finds a cluster or has one formed, starts
// raft, and has the leader admit it. Everything runs in one goroutine.
type startup struct {
	life   *lifetime
	log    *slog.Logger
	config *Config
	self   *localNode
	host   Host
	folder raftFolder

	identity     *identityStore
	membership   *membership
	members      *members
	peers        *peers
	readiness    *readiness
	seeds        *seeds
	duplicates   *duplicates
	bootstrapper *bootstrapper
	joiner       *joiner
	proposer     *proposer
	controller   *controller

	fsm       *fsm
	streams   *streamLayer
	consensus *consensusRef
	applied   <-chan struct{} // a new topology was applied
	formed    chan struct{}   // the coordinator reports that the cluster is formed; capacity 1
}

// run ends when the topology has this incarnation, or when it never will.
func (s *startup) run() {
	err := s.findCluster()
	if err == nil && s.life.ctx.Err() == nil {
		err = s.announce()
	}
	switch {
	case err != nil:
		s.readiness.fail(err)
	case s.life.ctx.Err() == nil:
		s.readiness.setReady()
		leader := s.peers.name(s.consensus.Load().leader())
		s.log.Info("joined the cluster", "cluster", s.identity.clusterID(), "nodes", len(s.fsm.current.Load().Nodes), "leader", leader)
	}
}

// pause waits for a tick or for news, and reports false when the node is closing.
func (s *startup) pause() bool {
	timer := time.NewTimer(s.config.Timing.Tick)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.formed:
	case <-s.applied:
	case <-s.life.ctx.Done():
		return false
	}
	return true
}

// notifyFormed wakes a startup that waits for the coordinator.
func (s *startup) notifyFormed() {
	select {
	case s.formed <- struct{}{}:
	default:
	}
}

var errUnownedData = errors.New("the data folder has arrays but belongs to no cluster, and a node joins with an empty folder. Without --join and " +
	"--bootstrap-expect it bootstraps a cluster of one around its arrays, which other nodes can join")

// findCluster returns when the node belongs to a cluster and raft runs.
func (s *startup) findCluster() error {
	if s.identity.clusterID() == "" {
		s.seeds.awaitTried(s.life.ctx) // the first seed to answer may not be the only one
	}
	for first := true; ; first = false {
		if own := s.identity.clusterID(); own != "" {
			return s.startRaft(own)
		}
		var err error
		switch {
		case len(s.config.Join) == 0 && s.config.BootstrapExpect == 0:
			err = s.bootstrapper.formAlone()
		case s.config.HasData:
			err = errUnownedData
		default:
			err = s.discover(first)
		}
		if err != nil {
			return err
		}
		if s.identity.clusterID() == "" && !s.pause() {
			return nil
		}
	}
}

// discover makes one attempt to find a cluster to join, or other nodes to form one with.
func (s *startup) discover(first bool) error {
	clusters := map[string][]incarnation{}
	for _, i := range s.members.alive() {
		if i.cluster != "" {
			clusters[i.cluster] = append(clusters[i.cluster], i)
		}
	}
	if err := s.duplicates.check(); err != nil {
		return err
	}
	bound, err := s.bootstrapper.resolveClaim()
	if err != nil || bound || s.identity.clusterID() != "" {
		return err
	}
	switch {
	case len(clusters) > 1:
		var all []string
		for id, nodes := range clusters {
			all = append(all, fmt.Sprintf("%s at %s", id, nodes[0].gossip))
		}
		return fmt.Errorf("--join leads to nodes of different clusters: %s", strings.Join(all, ", "))
	case len(clusters) == 1:
		for id, nodes := range clusters {
			if err := s.membership.allows(id); err != nil {
				return fmt.Errorf("--join leads to a cluster that this node may not join, at %s: %w", nodes[0].gossip, err)
			}
			return s.joiner.requestJoin(id, nodes)
		}
	case s.config.BootstrapExpect > 0:
		return s.bootstrapper.formTogether()
	case !first:
		s.readiness.await("a cluster member at %s", strings.Join(s.config.Join, ", "))
	}
	return nil
}

// startRaft starts raft as a server of the cluster.
func (s *startup) startRaft(cluster string) error {
	if err := s.host.SetClusterID(cluster); err != nil {
		return err
	}
	if err := s.seeds.contactBefore(s.life, cluster); err != nil || s.life.ctx.Err() != nil {
		return err
	}
	if err := s.adoptStore(cluster); err != nil {
		return err
	}
	kept, err := s.openStores()
	if err != nil {
		return err
	}
	var servers []server
	if record := s.identity.get().Bootstrap; record != nil {
		servers = record.Servers
	}
	a, err := openConsensus(s.self.server, kept, servers, s.streams, s.fsm, s.config.Timing, s.log)
	if failed := s.fsm.failed.Load(); err != nil && failed != nil { // raft's error does not say why
		return *failed
	}
	if err != nil {
		return err
	}
	s.consensus.Store(a)
	s.life.run(func() { s.controller.run(a) })
	if id := s.folder.known; id != "" {
		s.life.run(func() { a.keepMark(s.life.ctx, s.config.Files, id, s.log) })
	}
	return nil
}

// openStores opens the raft state in the data folder, or makes one in memory.
func (s *startup) openStores() (*stores, error) {
	if s.folder.dir == "" {
		return memoryStores(s.config.RaftStores), nil
	}
	i := s.identity.get()
	return s.folder.open(&i)
}

// adoptStore handles a data folder whose store differs from the one that joined the cluster: its
// manifest was rewritten, or it has lost raft's files (Rejoin). Such a node is a new raft server
// without a vote, and ignores the earlier server's files. A cluster of one is bootstrapped again
// around the folder's arrays; a node of a larger cluster rejoins it with its copies.
func (s *startup) adoptStore(cluster string) error {
	i := s.identity.get()
	was := i.Server
	if was == s.self.server || was == "" {
		return nil
	}
	_, store, err := parseServerID(was)
	if err != nil {
		return err
	}
	alone := i.Bootstrap.alone()
	if !alone {
		servers, err := s.folder.serversOf(was)
		if err != nil {
			return err
		}
		alone = len(servers) == 1 && string(servers[0].ID) == was
	}
	if alone {
		s.log.Warn("data folder has a new store: bootstrapping the cluster of one again, without its settings", "was", was, "is", s.self.server)
		return s.membership.persist(cluster, s.bootstrapper.recordOfOne())
	}
	s.log.Warn("data folder has a new store: rejoining the cluster as a new raft server, without a vote", "was", was, "is", s.self.server)
	s.identity.addFormerStore(store)
	return s.membership.persist(cluster, nil)
}

// announce returns when this incarnation is in the topology, or when the node closes. An error is
// final.
func (s *startup) announce() error {
	a := s.consensus.Load()
	for attempt := 1; ; attempt++ {
		if s.self.in(s.fsm.current.Load()) {
			if err := s.identity.clearFormerStores(); err != nil {
				s.log.Debug("cannot clear the former stores yet", "err", err)
			}
			s.host.Joined()
			return nil
		}
		if err := s.duplicates.check(); err != nil {
			return err
		}
		if err := s.seeds.checkCluster(s.identity.clusterID()); err != nil {
			return err
		}
		if err := s.tryAnnounce(a, attempt); err != nil {
			return err
		}
		if !s.self.in(s.fsm.current.Load()) && !s.pause() {
			return nil
		}
	}
}

// tryAnnounce makes one attempt to get this incarnation into the topology. An error is final.
func (s *startup) tryAnnounce(a *consensus, attempt int) error {
	leader, record := a.leader(), s.identity.get().Bootstrap
	var err error
	switch {
	case leader == "":
		s.readiness.await("%s", s.missingVoters(a))
		err = s.joiner.findLeader(s.identity.clusterID(), attempt)
	case s.fsm.current.Load().Cluster == "" && record != nil:
		s.readiness.await("the topology to be created")
		s.createTopology(record)
	default:
		s.readiness.await("the leader, %s, to admit this incarnation of the node", s.peers.name(leader))
		if err = s.joiner.announceTo(a, leader); err != nil {
			s.readiness.await("the leader, %s, to admit this incarnation of the node (%v)", s.peers.name(leader), err)
		}
	}
	var rejected *rejectedError
	if errors.As(err, &rejected) {
		return err
	}
	return nil
}

func (s *startup) createTopology(record *bootstrapRecord) {
	create := topology.Op{
		Kind: topology.Create, Cluster: s.identity.clusterID(), Shards: s.config.Shards, Replicas: s.config.Replicas,
		Epoch: record.Epoch, Nodes: record.Nodes, Node: record.Keeper, Unclean: s.self.start.Unclean, Lossy: s.self.start.Lossy,
		Format: topology.Format1, // the controller sets a later one, which each member must know
	}
	if _, err := s.proposer.propose(s.life.ctx, topology.Command{Ops: []topology.Op{create}}); err != nil {
		s.log.Debug("topology not created yet", "err", err)
	}
}

// missingVoters describes which voters are missing before there can be a leader.
func (s *startup) missingVoters(a *consensus) string {
	future := a.GetConfiguration()
	if future.Error() != nil {
		return "a leader"
	}
	voters := 0
	var missing []string
	for _, server := range future.Configuration().Servers {
		if server.Suffrage != raft.Voter {
			continue
		}
		voters++
		node, store, err := parseServerID(string(server.ID))
		if err != nil || s.peers.seesServer(node, store) {
			continue
		}
		name := s.peers.name(node)
		if i, ok := s.members.get(node); node == s.self.ID || ok && i.alive {
			name += " with its previous data folder"
		}
		missing = append(missing, name)
	}
	switch need := voters/2 + 1 - (voters - len(missing)); {
	case voters == 0:
		return "the leader of its cluster to contact it"
	case need > 0:
		return fmt.Sprintf("%d more of the %d voters to have a majority; missing: %s", need, voters, strings.Join(missing, ", "))
	default:
		return fmt.Sprintf("the %d voters to elect a leader", voters)
	}
}
