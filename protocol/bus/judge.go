package bus

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ndring/ndring/internal/uuid"
)

// fits decides whether two nodes may have a connection of a kind with each other.
func fits(mine, theirs Identity, kind Kind) error {
	switch {
	case mine.same(theirs):
		return ErrSelf
	case mine.Cluster.IsZero() && kind != KindControl:
		return fmt.Errorf("%w: this side is in no cluster, and %s is for members", ErrNotReady, kind)
	case theirs.Cluster.IsZero() && kind != KindControl:
		return fmt.Errorf("%w: the other side is in no cluster, and %s is for members", ErrNotReady, kind)
	case mine.Cluster != theirs.Cluster && !mine.Cluster.IsZero() && !theirs.Cluster.IsZero():
		return ErrOtherCluster
	}
	return nil
}

// fits decides whether a node is the one that was wanted.
func (t Target) fits(node Identity) error {
	switch {
	case t.Node != "" && t.Node != node.Node:
		return ErrOtherNode
	case !t.Store.IsZero() && t.Store != node.Store:
		return ErrOtherStore
	}
	return nil
}

// scheme is that of the URIs by which a certificate names its owner: ndring://cluster/<id>/node/<id>, or ndring://node/<id> when there is no cluster yet.
const scheme = "ndring"

// certified decides whether the certificate of a TLS connection, if it names nodes at all, names this one; it tells whether it did.
func certified(state tls.ConnectionState, mine, theirs Identity) (verified bool, err error) {
	if len(state.PeerCertificates) == 0 {
		return false, nil
	}
	named := false
	for _, uri := range state.PeerCertificates[0].URIs {
		if uri.Scheme != scheme {
			continue
		}
		named = true
		not := owner(uri, mine, theirs)
		if not == nil {
			return len(state.VerifiedChains) > 0, nil
		}
		err = errors.Join(err, not)
	}
	if named {
		return false, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	return false, nil
}

// owner decides whether a URI names a node. Who is in no cluster yet may well have the certificate of the one that it is about to join, but not of another one.
func owner(uri *url.URL, mine, theirs Identity) error {
	parts := strings.Split(strings.TrimPrefix(uri.Path, "/"), "/")
	node := parts[len(parts)-1]
	switch {
	case uri.Host == "node" && len(parts) == 1:
	case uri.Host == "cluster" && len(parts) == 3 && parts[1] == "node":
		cluster, err := uuid.Parse(parts[0])
		if err != nil || cluster.IsZero() {
			return fmt.Errorf("%s names no cluster", uri)
		}
		for _, known := range []uuid.UUID{theirs.Cluster, mine.Cluster} {
			if !known.IsZero() && known != cluster {
				return fmt.Errorf("%s is for another cluster than %s", uri, known)
			}
		}
	default:
		return fmt.Errorf("%s is not %s://cluster/<id>/node/<id>", uri, scheme)
	}
	if node == "" || node != string(theirs.Node) {
		return fmt.Errorf("%s is for another node than %s", uri, orNone(string(theirs.Node)))
	}
	return nil
}
