package cluster

import (
	"log/slog"
	"time"

	"github.com/ndring/ndring/cluster/topology"
)

// rejoiner keeps a running node in touch with its cluster: it contacts known addresses that gossip
// does not see, since a partition does not heal by itself, and keeps this incarnation, its
// address, and whether it keeps a log and syncs each write, in the topology.
type rejoiner struct {
	life     *lifetime
	log      *slog.Logger
	interval time.Duration
	self     *localNode

	identity   *identityStore
	members    *members
	book       *addressBook
	readiness  *readiness
	seeds      *seeds
	joiner     *joiner
	advertiser *advertiser
	fsm        *fsm
	consensus  *consensusRef

	attempt int // of findLeader; only loop uses it
}

// loop runs until the node closes.
func (r *rejoiner) loop() {
	seen := make(chan struct{}, 1)
	defer r.members.watch(seen)()
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-r.life.ctx.Done():
			return
		case <-seen:
			r.recordMembers()
		case <-next.C:
			r.advertiser.update()
			r.recordMembers()
			r.seeds.contactMissing()
			r.ensureMember()
			wait := r.interval
			if r.readiness.waitingFor() != "" {
				wait = min(wait, time.Second)
			}
			next.Reset(wait)
		}
	}
}

// ensureMember keeps this incarnation a member, under its present address. A recovery can take the
// topology back to before this node joined or restarted (OpenRecovery). The new leader need not
// know that this node exists, so a node without a leader asks other members.
func (r *rejoiner) ensureMember() {
	a, t := r.consensus.Load(), r.fsm.current.Load()
	if a == nil || t.Cluster == "" || r.readiness.waitingFor() != "" { // startup is on it
		return
	}
	leader, own := a.leader(), r.self.row()
	row, member := t.Node(r.self.ID)
	switch {
	case member && row.Incarnation > r.self.Incarnation, !member && t.Forgotten[r.self.ID] >= r.self.Incarnation:
		return // only a later incarnation can be a member
	case leader == "":
		r.attempt++
		if err := r.joiner.findLeader(r.identity.clusterID(), r.attempt); err != nil {
			r.log.Debug("cannot find the leader yet", "err", err)
		}
	case !member || row.Incarnation < r.self.Incarnation || row.BusHost != own.BusHost, row.Always != own.Always, row.Log != own.Log, t.Format >= topology.Format2 && row.Weight != own.Weight:
		if err := r.joiner.announceTo(a, leader); err != nil {
			r.log.Debug("cannot announce this incarnation and its address yet", "err", err)
		}
	}
}

// recordMembers keeps the addresses of the members on disk, and drops nodes that are no longer members.
func (r *rejoiner) recordMembers() {
	own, t := r.identity.clusterID(), r.fsm.current.Load()
	if own == "" {
		return
	}
	isMember := func(id topology.NodeID) bool {
		_, known := t.Node(id)
		return known || t.Cluster == ""
	}
	for _, i := range r.members.alive() {
		if i.cluster == own && isMember(i.node) {
			r.book.put(i.node, entry{Gossip: i.gossip, Bus: i.bus, Name: i.name})
		}
	}
	r.book.retain(isMember)
	r.members.prune(isMember)
	if len(t.Nodes) > 1 {
		if err := r.identity.clearBootstrap(); err != nil {
			r.log.Warn("cannot save that the cluster has other members", "file", identityFile, "err", err)
		}
	}
	if err := r.book.save(); err != nil {
		r.log.Warn("cannot save the address book", "file", bookFile, "err", err)
	}
}
