package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/uuid"
)

// become makes the node part of a cluster, and tells that this start of it is there. It ends when the topology has it, or it never will.
func (c *Cluster) become() {
	if err := c.findCluster(); err != nil {
		c.fail(err)
		return
	}
	if c.context.Err() != nil || !c.announce() {
		return
	}
	c.await("")
	close(c.ready)
	c.log.Info("the node is part of the cluster", "cluster", c.ID(), "nodes", len(c.Topology().Nodes), "leader", c.name(c.agreement.Load().leader()))
}

// pause waits for a tick or something new, and reports whether the node goes on.
func (c *Cluster) pause() bool {
	timer := time.NewTimer(c.timing.Tick)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.kick:
	case <-c.changed:
	case <-c.context.Done():
		return false
	}
	return true
}

// findCluster returns when the node belongs to a cluster and raft runs.
func (c *Cluster) findCluster() error {
	alone := len(c.config.Join) == 0 && c.config.BootstrapExpect == 0
	if len(c.config.Join) > 0 && c.ID() == "" { // whoever answers first may not be the only one
		select {
		case <-c.met:
		case <-time.After(seedTime):
		case <-c.context.Done():
		}
	}
	for first := true; ; first = false {
		if own := c.ID(); own != "" {
			return c.enter(own)
		}
		var err error
		switch {
		case alone:
			err = c.makeAlone()
		case c.config.HasData:
			err = errors.New("the data folder has arrays that are of no cluster: a node joins with an empty folder. Started without --join and " +
				"--bootstrap-expect, it makes a cluster of one of them, which others may join")
		default:
			err = c.seek(first)
		}
		if err != nil {
			return err
		}
		if c.ID() == "" && !c.pause() {
			return nil
		}
	}
}

// makeAlone makes a cluster of this node.
func (c *Cluster) makeAlone() error {
	id := c.config.NewClusterID
	if id == "" {
		id = uuid.New().String()
	}
	return c.belong(id, c.onlyMe())
}

// onlyMe is the beginning of a cluster of this node alone, which keeps what it has.
func (c *Cluster) onlyMe() *made {
	m := &made{Servers: []server{{ID: c.local, Voter: true}}, Nodes: []topology.Node{*c.row.Load()}, Epoch: c.config.FirstEpoch}
	if c.config.HasData {
		m.Keeper = c.self.ID
	}
	return m
}

// alone reports whether the cluster was made of one node, and has had no other since.
func (m *made) alone() bool { return m != nil && len(m.Servers) == 1 }

// belong writes down that the node is of a cluster, for good. M is how that begins, on the one node that makes it.
func (c *Cluster) belong(cluster string, m *made) error {
	if err := c.host.SetClusterID(cluster); err != nil {
		return err
	}
	c.mu.Lock()
	c.identity.Cluster, c.identity.Made, c.identity.Server = cluster, m, c.local
	err := c.identity.save(c.files)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.gossip.tell(func(m *meta) { m.cluster, m.expect = cluster, 0 }); err != nil {
		c.log.Debug("the others may hear a little later that this node is of a cluster", "err", err)
	}
	return nil
}

// seek looks for a cluster to join, or for others to make one with.
func (c *Cluster) seek(first bool) error {
	clusters := map[string][]instance{}
	for _, i := range c.sights.alive() {
		if i.cluster != "" {
			clusters[i.cluster] = append(clusters[i.cluster], i)
		}
	}
	if err := c.checkTwins(); err != nil {
		return err
	}
	claimed, err := c.heedClaim()
	if err != nil || c.ID() != "" || claimed {
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
			return c.askIn(id, nodes)
		}
	case c.config.BootstrapExpect > 0:
		return c.makeTogether()
	case !first:
		c.await("a node of a cluster at %s", strings.Join(c.config.Join, ", "))
	}
	return nil
}

// enter starts raft.
func (c *Cluster) enter(cluster string) error {
	if err := c.host.SetClusterID(cluster); err != nil {
		return err
	}
	if len(c.config.Join) > 0 { // those seeds may be of another cluster, which has to be known before this one goes on alone
		met := make(chan struct{})
		c.done.Go(func() {
			defer close(met)
			c.rejoin()
		})
		select {
		case <-met:
		case <-time.After(seedTime):
		case <-c.context.Done():
			return nil
		}
		if err := c.checkSeeds(cluster); err != nil {
			return err
		}
	}
	if err := c.checkServer(cluster); err != nil {
		return err
	}
	kept, err := c.openStores()
	if err != nil {
		return err
	}
	var servers []server
	if m := c.mine(); m != nil {
		servers = m.Servers
	}
	a, err := openAgreement(c.local, kept, servers, c.streams, c.machine, c.timing, c.log)
	if err != nil {
		return err
	}
	c.agreement.Store(a)
	c.done.Go(func() { c.control(a) })
	if id := c.raft.known; id != "" {
		c.done.Go(func() { c.keepMark(a, id) })
	}
	return nil
}

// openStores opens what raft has kept in the node's folder, or makes what it needs in memory.
func (c *Cluster) openStores() (*stores, error) {
	if c.raft.dir == "" {
		return memoryStores(), nil
	}
	c.mu.Lock()
	identity := c.identity
	c.mu.Unlock()
	return c.raft.open(&identity)
}

// checkServer sees to a data folder that is another store than the one that became part of the cluster: its manifest had to be made anew, or it has lost what raft kept in
// it (Rejoin). It has no vote, whatever raft's files say; they are not used. A cluster of one is made again around what is in the folder; to a larger one the node comes back
// as another server, with the copies that it had.
func (c *Cluster) checkServer(cluster string) error {
	c.mu.Lock()
	was, began := c.identity.Server, c.identity.Made
	c.mu.Unlock()
	if was == c.local || was == "" {
		return nil
	}
	_, store, err := parseServerID(was)
	if err != nil {
		return err
	}
	alone := began.alone()
	if !alone {
		servers, err := c.raft.serversOf(was)
		if err != nil {
			return err
		}
		alone = len(servers) == 1 && string(servers[0].ID) == was
	}
	if alone {
		c.log.Warn("the data folder is another store than it was: the cluster, of this node alone, is made again around its arrays, without its settings", "was", was, "is", c.local)
		return c.belong(cluster, c.onlyMe())
	}
	c.log.Warn("the data folder is another store than it was: the node comes back to its cluster as another server, without a vote", "was", was, "is", c.local)
	c.mu.Lock()
	c.identity.Was = append(c.identity.Was, store)
	c.mu.Unlock()
	return c.belong(cluster, nil)
}

func raftDirOf(dir, store string) string { return filepath.Join(dir, store) }

// seedTime is how long a start waits for its seeds before it goes on without them.
const seedTime = 3 * time.Second

// checkSeeds returns an error when the seeds are of another cluster, and nobody of this one is to be seen.
func (c *Cluster) checkSeeds(own string) error {
	foreign := c.foreign.Load()
	if foreign == nil || len(*foreign) == 0 {
		return nil
	}
	for _, i := range c.sights.alive() {
		if i.cluster == own {
			return nil
		}
	}
	return fmt.Errorf("the data folder is of cluster %s, but at %s there are nodes of another one: start this node with an empty folder to join that, "+
		"or with addresses of its own cluster", own, strings.Join(*foreign, ", "))
}

// checkTwins returns an error when a node of the same id runs elsewhere, and this one was started later.
func (c *Cluster) checkTwins() error {
	for _, twin := range c.liveTwins() {
		if twin.incarnation < c.self.Incarnation {
			return fmt.Errorf("a node with the id of this one, %s, runs already, at %s: each needs a --node-id and a --dir of its own", label(c.self.Name, c.self.ID), twin.bus)
		}
		if c.twinTold != twin.incarnation {
			c.twinTold = twin.incarnation
			c.log.Error("another node was started with the id of this one", "node", label(c.self.Name, c.self.ID), "address", twin.bus)
		}
	}
	return nil
}

// liveTwins asks those that gossip calls by the id of this node whether they are there.
func (c *Cluster) liveTwins() (live []instance) {
	for _, twin := range c.sights.twinsAlive() {
		ctx, cancel := context.WithTimeout(c.context, time.Second)
		who, err := c.bus.Probe(ctx, twin.bus)
		cancel()
		if err == nil && who.Node == c.self.ID && who.Incarnation != c.self.Incarnation { // else it is gone, or another node by now: gossip has not noticed yet
			twin.incarnation = who.Incarnation
			live = append(live, twin)
		}
	}
	return live
}

// announce has this start of the node join the topology, and reports whether it did.
func (c *Cluster) announce() bool {
	a := c.agreement.Load()
	var refused *refusedError
	for turn := 0; ; {
		t := c.Topology()
		if row, ok := t.Node(c.self.ID); ok && row.Incarnation == c.self.Incarnation && row.Store == c.self.Store {
			c.tell("forget the stores that the folder was", c.arrived())
			return true
		}
		err := c.checkTwins()
		if err == nil {
			err = c.checkSeeds(c.ID())
		}
		if err != nil {
			c.fail(err)
			return false
		}
		leader := a.leader()
		switch {
		case leader == "":
			c.await("%s", c.missingVoters(a))
			turn++
			if err := c.askAround(turn); errors.As(err, &refused) {
				c.fail(err)
				return false
			}
		case t.Cluster == "" && c.mine() != nil:
			c.await("the topology to be made")
			m := c.mine()
			create := topology.Op{Kind: topology.Create, Cluster: c.ID(), Shards: c.config.Shards, Replicas: c.config.Replicas, Epoch: m.Epoch, Nodes: m.Nodes, Node: m.Keeper}
			if _, err := c.Propose(c.context, topology.Command{Ops: []topology.Op{create}}); err != nil {
				c.log.Debug("the topology is not made yet", "err", err)
			}
		default:
			c.await("the leader, %s, to let this start of the node in", c.name(leader))
			if err := c.joinAgain(leader); err != nil {
				if errors.As(err, &refused) {
					c.fail(err)
					return false
				}
				c.await("the leader, %s, to let this start of the node in (%v)", c.name(leader), err)
			}
		}
		if row, ok := c.Topology().Node(c.self.ID); ok && row.Incarnation == c.self.Incarnation {
			continue
		}
		if !c.pause() {
			return false
		}
	}
}

// arrived forgets the stores that the folder was before: the cluster knows it as the one that it is.
func (c *Cluster) arrived() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.identity.Was) == 0 {
		return nil
	}
	c.identity.Was = nil
	return c.identity.save(c.files)
}

// mine returns how the cluster began, if this node has made it.
func (c *Cluster) mine() *made {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.identity.Made
}

// missingVoters says who has to come before there can be a leader.
func (c *Cluster) missingVoters(a *agreement) string {
	future := a.GetConfiguration()
	if future.Error() != nil {
		return "a leader"
	}
	voters := 0
	var missing []string
	for _, s := range future.Configuration().Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		node, store, err := parseServerID(string(s.ID))
		if err != nil || c.seesServer(node, store) {
			continue
		}
		name := c.name(node)
		if i, ok := c.sights.get(node); node == c.self.ID || ok && i.alive {
			name += " with the data folder that it had"
		}
		missing = append(missing, name)
	}
	switch need := voters/2 + 1 - (voters - len(missing)); {
	case voters == 0:
		return "word from the leader of its cluster"
	case need > 0:
		return fmt.Sprintf("%d more of the %d voters to have a majority; missing: %s", need, voters, strings.Join(missing, ", "))
	default:
		return fmt.Sprintf("the %d voters to elect a leader", voters)
	}
}
