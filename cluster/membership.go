package cluster

import (
	"fmt"
	"log/slog"

	"github.com/ndring/ndring/internal/uuid"
)

// membership is the only way into a cluster.
type membership struct {
	host     Host
	identity *identityStore
	gossip   *gossip
	server   string // id of this node in raft
	only     string // Config.OnlyCluster
	log      *slog.Logger
}

// newID returns the id of a cluster that this node bootstraps.
func (m *membership) newID() string {
	if m.only != "" {
		return m.only
	}
	return uuid.New().String()
}

// allows returns an error if the node must not belong to a cluster.
func (m *membership) allows(cluster string) error {
	if m.only == "" || m.only == cluster {
		return nil
	}
	return fmt.Errorf("this node's certificate (--bus-tls-cert) is for cluster %s, not for cluster %s", m.only, cluster)
}

// persist records durably that the node belongs to a cluster, then tells the others. Record says
// how the cluster begins, on the one node that bootstraps it.
func (m *membership) persist(cluster string, record *bootstrapRecord) error {
	if err := m.allows(cluster); err != nil {
		return err
	}
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
