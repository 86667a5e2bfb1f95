package bus

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/ndring/ndring/internal/certs"
	"github.com/ndring/ndring/internal/uuid"
)

// mayConnect decides whether two nodes may have a connection of a kind.
func mayConnect(local, remote Identity, kind Kind) error {
	switch {
	case local.same(remote):
		return ErrSelf
	case local.Cluster.IsZero() && kind != KindControl:
		return fmt.Errorf("%w: this side belongs to no cluster, and %s is for members", ErrNotReady, kind)
	case remote.Cluster.IsZero() && kind != KindControl:
		return fmt.Errorf("%w: the other side belongs to no cluster, and %s is for members", ErrNotReady, kind)
	case local.Cluster != remote.Cluster && !local.Cluster.IsZero() && !remote.Cluster.IsZero():
		return ErrOtherCluster
	}
	return nil
}

// matches returns nil if a node is the one that the target asks for.
func (t Target) matches(node Identity) error {
	switch {
	case t.Node != "" && t.Node != node.Node:
		return ErrOtherNode
	case !t.Store.IsZero() && t.Store != node.Store:
		return ErrOtherStore
	}
	return nil
}

// checkCertificate returns an error unless the certificate of a TLS connection names the peer.
func (t *TLS) checkCertificate(state tls.ConnectionState, local, remote Identity) error {
	if len(state.PeerCertificates) == 0 {
		return fmt.Errorf("%w: there is none", ErrCertificate)
	}
	names, err := certs.Names(state.PeerCertificates[0])
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("it names no node: it needs the URI %s://cluster/<id>/node/%s", certs.Scheme, orNone(string(remote.Node)))
	}
	for _, name := range names {
		mismatch := t.checkName(name, local, remote)
		if mismatch == nil {
			return nil
		}
		err = errors.Join(err, mismatch)
	}
	return fmt.Errorf("%w: %w", ErrCertificate, err)
}

// checkName returns nil if a name is that of the remote node. Only a node without a cluster may have a certificate that names none:
// which cluster a member belongs to must be proved too.
func (t *TLS) checkName(name certs.Name, local, remote Identity) error {
	if name.Cluster == "" && !remote.Cluster.IsZero() {
		return fmt.Errorf("%s names no cluster, and the node claims to be a member of %s", name.URI(), remote.Cluster)
	}
	if name.Cluster != "" {
		cluster, err := uuid.Parse(name.Cluster)
		if err != nil || cluster.IsZero() {
			return fmt.Errorf("%s names no cluster", name.URI())
		}
		for _, known := range []uuid.UUID{remote.Cluster, local.Cluster, t.Cluster} {
			if !known.IsZero() && known != cluster {
				return fmt.Errorf("%s is for another cluster than %s", name.URI(), known)
			}
		}
	}
	if name.Node != string(remote.Node) {
		return fmt.Errorf("%s is for another node than %s", name.URI(), orNone(string(remote.Node)))
	}
	return nil
}
