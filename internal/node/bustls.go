package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/internal/certs"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/follow"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/protocol/bus"
)

// busFiles are the files that prove to other nodes who this node is. Cert is empty if the bus is plain.
type busFiles certs.Files

// check refuses a part of the files.
func (f busFiles) check() error {
	given := 0
	for _, name := range []string{f.Cert, f.Key, f.CA} {
		if name != "" {
			given++
		}
	}
	if given == 0 || given == 3 {
		return nil
	}
	return errors.New("--bus-tls-cert, --bus-tls-key and --bus-tls-ca go together: the bus has TLS with all three, and none without any (ndctl certs makes them)")
}

// busTLS is what proves to other nodes who this node is; nil: the bus is plain.
type busTLS struct {
	store   *certs.Store
	file    string
	names   []certs.Name // nodes that the certificate names; there is at least one
	common  string       // name of its subject
	cluster uuid.UUID    // for which it names this node; set by claim
}

// openBusTLS reads the files; nil without files.
func openBusTLS(files busFiles, log *slog.Logger) (*busTLS, error) {
	if files.Cert == "" {
		return nil, nil
	}
	store, err := certs.Open("the bus", certs.Files(files), log)
	if err != nil {
		return nil, fmt.Errorf("%w (--bus-tls-cert)", err)
	}
	t := &busTLS{store: store, file: files.Cert, common: store.Leaf().Subject.CommonName}
	if t.names, err = nodesNamed(store.Leaf()); err != nil {
		return nil, fmt.Errorf("%s (--bus-tls-cert): %w", files.Cert, err)
	}
	return t, nil
}

// nodesNamed returns the nodes that a certificate names, with their clusters.
func nodesNamed(cert *x509.Certificate) ([]certs.Name, error) {
	names, err := certs.Names(cert)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if id, err := uuid.Parse(n.Cluster); err != nil || id.String() != n.Cluster || datafolder.NodeID(n.Node) != topology.NodeID(n.Node) {
			return nil, fmt.Errorf("%s does not have the form %s://cluster/<32 digits>/node/<40 digits>, both hexadecimal and lower case", n.URI(), certs.Scheme)
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the certificate names no node: it needs a URI %s://cluster/<id>/node/<id> (ndctl certs node makes one)", certs.Scheme)
	}
	return names, nil
}

// nodeName returns the name of the node that the certificate names: its --node-id if the subject has it, else its id; empty without a
// certificate, or if that names several nodes.
func (t *busTLS) nodeName() string {
	if t == nil || slices.ContainsFunc(t.names, func(n certs.Name) bool { return n.Node != t.names[0].Node }) {
		return ""
	}
	if id := t.names[0].Node; string(datafolder.NodeID(t.common)) != id || len(t.common) > 64 {
		return id
	}
	return t.common
}

// claim checks that the certificate names a node, and that the node's data folder belongs to no other cluster. It then sees to it
// that only such certificates are used.
func (t *busTLS) claim(id topology.NodeID, name string, folder uuid.UUID) error {
	if t == nil {
		return nil
	}
	var clusters []string
	for _, n := range t.names {
		if n.Node == string(id) && !slices.Contains(clusters, n.Cluster) {
			clusters = append(clusters, n.Cluster)
		}
	}
	switch {
	case len(clusters) == 0:
		return fmt.Errorf("this node is %s, but the certificate %s (--bus-tls-cert) is for %s", topology.Label(name, id), t.file, t.named())
	case len(clusters) > 1:
		return fmt.Errorf("the certificate %s (--bus-tls-cert) names this node in several clusters: %s", t.file, strings.Join(clusters, ", "))
	}
	t.cluster, _ = uuid.Parse(clusters[0]) // nodesNamed has checked it
	if !folder.IsZero() && folder != t.cluster {
		return fmt.Errorf("the data folder belongs to cluster %s, but the certificate %s (--bus-tls-cert) is for cluster %s", folder, t.file, t.cluster)
	}
	own := certs.Name{Cluster: clusters[0], Node: string(id)}
	return t.store.Require(func(cert *x509.Certificate) error {
		names, err := nodesNamed(cert)
		if err == nil && !slices.Contains(names, own) {
			err = fmt.Errorf("%s is not for this node, %s", t.file, own.URI())
		}
		return err
	})
}

// named describes the nodes that the certificate names.
func (t *busTLS) named() string {
	var all []string
	for _, n := range t.names {
		all = append(all, "node "+topology.Label(t.nodeNameOf(n), topology.NodeID(n.Node)))
	}
	return strings.Join(all, ", ")
}

func (t *busTLS) nodeNameOf(n certs.Name) string {
	if string(datafolder.NodeID(t.common)) == n.Node {
		return t.common
	}
	return ""
}

// limit makes the only cluster that the node may belong to the one that the certificate names, and lets removal revoke certificates.
func (t *busTLS) limit(config *cluster.Config, removed func(topology.NodeID) bool) {
	if t != nil {
		config.OnlyCluster, config.Removed = t.cluster.String(), removed
	}
}

// options returns what the bus needs; nil for plain text.
func (t *busTLS) options(removed func(topology.NodeID) bool) *bus.TLS {
	if t == nil {
		return nil
	}
	return &bus.TLS{
		Server: func() *tls.Config { return t.store.Server(tls.RequireAndVerifyClientCert) }, Client: t.store.Client, Cluster: t.cluster, Removed: removed,
	}
}

// watch reads the certificate again when it changes, and closes the connections with nodes that were removed.
func (t *busTLS) watch(ctx context.Context, n *Node) {
	if t == nil {
		return
	}
	n.done.Go(func() { t.store.Watch(ctx, follow.Interval) })
	n.done.Go(func() { disconnectRemoved(ctx, n) })
}

// partingTime is how long a node that was removed keeps its connections, to learn that it was.
const partingTime = 5 * time.Second

// disconnectRemoved closes the connections with nodes that were removed, some time after that.
func disconnectRemoved(ctx context.Context, n *Node) {
	tick := time.NewTicker(follow.Interval)
	defer tick.Stop()
	since := map[topology.NodeID]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			gone := n.cluster.Topology().Forgotten
			for id := range since {
				if _, still := gone[id]; !still {
					delete(since, id)
				}
			}
			for id := range gone {
				if since[id].IsZero() {
					since[id] = now
				}
			}
			closed := n.bus.Disconnect(func(p bus.Peer) bool {
				at, known := since[p.Node]
				return known && now.Sub(at) >= partingTime && isRemoved(n, p.Node)
			})
			if closed > 0 {
				n.log.Info("closed the connections with nodes that were removed from the cluster", "connections", closed)
			}
		}
	}
}

// isRemoved reports whether a node was removed from the cluster, and no operator lets it come back (setting readmit).
func isRemoved(n *Node, id topology.NodeID) bool {
	if _, gone := n.cluster.Topology().Forgotten[id]; !gone {
		return false
	}
	return !slices.ContainsFunc(n.effective.config().Cluster.Readmit, func(name string) bool { return datafolder.NodeID(name) == id })
}
