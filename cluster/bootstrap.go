package cluster

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// bootstrapper forms a new cluster. Among the nodes of a bootstrap the one with the lowest id is
// the coordinator: it collects a claim from each. Since a set has one coordinator and a node grants
// one claim at a time, two clusters never share a node. claims.go is the other side: granting
// claims, and asking what became of them.
type bootstrapper struct {
	life   *lifetime
	log    *slog.Logger
	config *Config
	self   *localNode

	identity   *identityStore
	membership *membership
	members    *members
	peers      *peers
	readiness  *readiness
	seeds      *seeds
	duplicates *duplicates
	joiner     *joiner

	retryAt time.Time // when this node collects claims again; only startup uses it
}

// formAlone makes a cluster of this node.
func (b *bootstrapper) formAlone() error {
	id := b.config.NewClusterID
	if id == "" || b.config.OnlyCluster != "" {
		id = b.membership.newID()
	}
	return b.membership.persist(id, b.recordOfOne())
}

// recordOfOne begins a cluster of this node alone, which keeps its arrays.
func (b *bootstrapper) recordOfOne() *bootstrapRecord {
	r := &bootstrapRecord{Servers: []server{{ID: b.self.server, Voter: true}}, Nodes: []topology.Node{b.self.row()}, Epoch: b.config.FirstEpoch}
	if b.config.HasData {
		r.Keeper = b.self.ID
	}
	return r
}

// formTogether waits for enough nodes, and collects their claims if this node is the coordinator.
func (b *bootstrapper) formTogether() error {
	candidates, short := b.candidates()
	if short != "" {
		b.readiness.await("%s", short)
		return nil
	}
	slices.Sort(candidates)
	set := candidates[:b.config.BootstrapExpect]
	if coordinator, _, _ := parseServerID(set[0]); coordinator != b.self.ID {
		b.readiness.await("%s to bootstrap the cluster of %d nodes", b.peers.name(coordinator), b.config.BootstrapExpect)
		return nil
	}
	if time.Now().Before(b.retryAt) {
		return nil
	}
	// If this attempt fails, the nodes that stood in its way need time to withdraw.
	b.retryAt = time.Now().Add(b.config.Timing.Tick + rand.N(4*b.config.Timing.Tick))
	return b.collect(set)
}

// candidates returns the server ids of the nodes that can bootstrap a cluster with this one, or
// what to wait for if there are too few.
func (b *bootstrapper) candidates() (servers []string, short string) {
	servers = []string{b.self.server}
	names := []string{b.self.label()}
	others := 0
	var duplicated []string // the later process with one node id ends, and it is unknown which one that is
	for _, i := range b.members.alive() {
		switch {
		case int(i.expect) != min(b.config.BootstrapExpect, 255) || i.hasData:
			others++
		case i.duplicated:
			duplicated = append(duplicated, topology.Label(i.name, i.node))
		default:
			servers = append(servers, serverID(i.node, i.store))
			names = append(names, topology.Label(i.name, i.node))
		}
	}
	if len(servers) >= b.config.BootstrapExpect {
		return servers, ""
	}
	short = fmt.Sprintf("%d nodes to bootstrap a cluster; it sees %d: %s", b.config.BootstrapExpect, len(servers), strings.Join(names, ", "))
	if others > 0 {
		short += fmt.Sprintf("; %d more were started without --bootstrap-expect %d or have arrays", others, b.config.BootstrapExpect)
	}
	if len(duplicated) > 0 {
		short += "; running twice or just restarted: " + strings.Join(duplicated, ", ")
	}
	if silent := b.seeds.silentSeeds(); len(silent) > 0 {
		short += "; no answer from " + strings.Join(silent, ", ")
	}
	return nil, short
}

// collect collects the claims of a set. With all of them it forms the cluster, otherwise it
// releases them.
func (b *bootstrapper) collect(set []string) error {
	b.readiness.await("the claims of %d nodes", len(set))
	wanted, err := b.recordWanted(set)
	if err != nil {
		return err
	}
	answers := b.askAll(wanted)
	var nodes []topology.Node
	var failures []string
	var joined *incarnation // a member of a cluster that gossip has not reported yet
	for _, answer := range answers {
		switch {
		case answer.failure == "":
			nodes = append(nodes, answer.node)
		default:
			failures = append(failures, answer.failure)
			if answer.cluster != "" {
				joined = &incarnation{meta: meta{node: answer.node.ID, cluster: answer.cluster}}
			}
		}
	}
	if len(failures) == 0 {
		return b.form(wanted, nodes)
	}
	why := strings.Join(failures, "; ")
	b.readiness.await("the claims of %d nodes: %s", len(set), why)
	b.log.Debug("cluster not formed yet", "why", why)
	if err := b.release(wanted); err != nil {
		return err
	}
	if joined != nil {
		return b.joiner.requestJoin(joined.cluster, []incarnation{*joined})
	}
	return nil
}

// recordWanted records this node's own claim, with a new round and a cluster id, before any
// other node is asked.
func (b *bootstrapper) recordWanted(set []string) (wanted claim, err error) {
	err = b.identity.update(func(i *identity) bool {
		i.Round++
		wanted = claim{Coordinator: b.self.ID, Store: b.self.Store, Round: i.Round, Cluster: b.membership.newID(), Members: set}
		i.Claim = &wanted
		return true
	})
	return wanted, err
}

// claimAnswer is the result of asking one node for its claim.
type claimAnswer struct {
	node    topology.Node // only its id after a failure
	cluster string        // to which the node belongs already
	failure string        // empty: the claim is granted
}

// askAll asks all nodes of a set for their claims concurrently. The answers are in the order of the
// set.
func (b *bootstrapper) askAll(wanted claim) []claimAnswer {
	answers := make([]claimAnswer, len(wanted.Members))
	var wait sync.WaitGroup
	for i, server := range wanted.Members {
		if server == b.self.server {
			answers[i].node = b.self.row()
			continue
		}
		wait.Go(func() { answers[i] = b.askOne(server, wanted) })
	}
	wait.Wait()
	return answers
}

func (b *bootstrapper) askOne(server string, wanted claim) claimAnswer {
	reply, err := b.askClaim(server, claimRequest{Claim: wanted, Shards: b.config.Shards, Replicas: b.config.Replicas})
	id, _, _ := parseServerID(server)
	failed := topology.Node{ID: id}
	switch {
	case err != nil:
		return claimAnswer{node: failed, failure: fmt.Sprintf("%s does not answer: %v", b.peers.name(id), err)}
	case reply.Refused != "" || reply.Node == nil:
		return claimAnswer{node: failed, cluster: reply.Cluster, failure: fmt.Sprintf("%s %s", b.peers.name(id), reply.Refused)}
	}
	return claimAnswer{node: *reply.Node}
}

// form begins the cluster for which all claims were granted.
func (b *bootstrapper) form(granted claim, nodes []topology.Node) error {
	record := &bootstrapRecord{Nodes: nodes, Epoch: b.config.FirstEpoch}
	voters := topology.VotersWanted(len(granted.Members))
	for i, id := range granted.Members {
		record.Servers = append(record.Servers, server{ID: id, Voter: i < voters})
	}
	for _, n := range nodes { // so that versions are higher than any in a member's data folder
		record.Epoch = max(record.Epoch, n.Incarnation)
	}
	if err := b.membership.persist(granted.Cluster, record); err != nil {
		return err
	}
	b.log.Info("bootstrapping a cluster", "cluster", granted.Cluster, "nodes", len(nodes), "voters", voters)
	for _, id := range granted.Members {
		if id != b.self.server {
			b.life.run(func() { b.callServer(id, MethodFormed, nil) })
		}
	}
	return nil
}

// release records that the coordinator no longer wants a claim, and only then tells the nodes that
// granted it.
func (b *bootstrapper) release(wanted claim) error {
	err := b.identity.update(func(i *identity) bool {
		i.Claim = nil
		return true
	})
	if err != nil {
		return err
	}
	for _, id := range wanted.Members {
		if id != b.self.server { // a node that misses this asks (resolveClaim)
			b.life.run(func() { b.askClaim(id, claimRequest{Claim: wanted, Release: true}) })
		}
	}
	return nil
}
