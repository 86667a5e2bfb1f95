package cluster

import "log/slog"

// membership is the only way into a cluster.
type membership struct {
	host     Host
	identity *identityStore
	gossip   *gossip
	server   string // id of this node in raft
	log      *slog.Logger
}

// persist records durably that the node belongs to a cluster, then tells the others. Record says
// how the cluster begins, on the one node that bootstraps it.
func (m *membership) persist(cluster string, record *bootstrapRecord) error {
	if err := m.host.SetClusterID(cluster); err != nil {
		return err
	}
	err := m.identity.update(func(i *identity) bool {
		i.Cluster, i.Bootstrap, i.Server = cluster, record, m.server
		return true
	})
	if err != nil {
		return err
	}
	if err := m.gossip.tell(tellTime, func(self *meta) { self.cluster, self.expect = cluster, 0 }); err != nil {
		m.log.Debug("gossip about this node's cluster is delayed", "err", err)
	}
	return nil
}
