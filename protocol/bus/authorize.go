package bus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"

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

// scheme is the scheme of the URIs with which a certificate names its node: ndring://cluster/<id>/node/<id>,
// or ndring://node/<id> before the node belongs to a cluster.
const scheme = "ndring"

// checkCertificate returns an error if the certificate of a TLS connection names nodes, but not this
// peer. It reports whether the certificate verified the peer.
func checkCertificate(state tls.ConnectionState, local, remote Identity) (verified bool, err error) {
	if len(state.PeerCertificates) == 0 {
		return false, nil
	}
	named := false
	for _, uri := range state.PeerCertificates[0].URIs {
		if uri.Scheme != scheme {
			continue
		}
		named = true
		mismatch := checkURI(uri, local, remote)
		if mismatch == nil {
			return len(state.VerifiedChains) > 0, nil
		}
		err = errors.Join(err, mismatch)
	}
	if named {
		return false, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return false, nil
}

// checkURI returns nil if a URI names the remote node. A node without a cluster may have a certificate
// of the cluster that it is about to join, but not of a different one.
func checkURI(uri *url.URL, local, remote Identity) error {
	parts := strings.Split(strings.TrimPrefix(uri.Path, "/"), "/")
	node := parts[len(parts)-1]
	switch {
	case uri.Host == "node" && len(parts) == 1:
	case uri.Host == "cluster" && len(parts) == 3 && parts[1] == "node":
		cluster, err := uuid.Parse(parts[0])
		if err != nil || cluster.IsZero() {
			return fmt.Errorf("%s names no cluster", uri)
		}
		for _, known := range []uuid.UUID{remote.Cluster, local.Cluster} {
			if !known.IsZero() && known != cluster {
				return fmt.Errorf("%s is for another cluster than %s", uri, known)
			}
		}
	default:
		return fmt.Errorf("%s is not %s://cluster/<id>/node/<id>", uri, scheme)
	}
	if node == "" || node != string(remote.Node) {
		return fmt.Errorf("%s is for another node than %s", uri, orNone(string(remote.Node)))
	}
	return nil
}
