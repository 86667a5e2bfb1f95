package certs

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// Scheme is the scheme of the URIs with which a certificate names its node: ndring://cluster/<id>/node/<id>,
// or ndring://node/<id> before the node belongs to a cluster.
const Scheme = "ndring"

// Name is a node that a certificate names.
type Name struct {
	Cluster string // id; empty: the certificate names none
	Node    string // id
}

// URI returns the name as a certificate has it.
func (n Name) URI() *url.URL {
	if n.Cluster == "" {
		return &url.URL{Scheme: Scheme, Host: "node", Path: "/" + n.Node}
	}
	return &url.URL{Scheme: Scheme, Host: "cluster", Path: "/" + n.Cluster + "/node/" + n.Node}
}

// ParseName reads a URI as URI makes it.
func ParseName(uri *url.URL) (n Name, err error) {
	parts := strings.Split(strings.TrimPrefix(uri.Path, "/"), "/")
	switch {
	case uri.Scheme != Scheme || uri.User != nil || uri.RawQuery != "" || uri.ForceQuery || uri.Fragment != "" || uri.Opaque != "":
	case uri.Host == "node" && len(parts) == 1:
		n.Node = parts[0]
	case uri.Host == "cluster" && len(parts) == 3 && parts[1] == "node" && parts[0] != "":
		n.Cluster, n.Node = parts[0], parts[2]
	}
	if n.Node == "" {
		return Name{}, fmt.Errorf("%.200s is not %s://cluster/<id>/node/<id>", uri, Scheme)
	}
	return n, nil
}

// Names returns the nodes that a certificate names. URIs of other schemes are for others.
func Names(cert *x509.Certificate) (all []Name, err error) {
	for _, uri := range cert.URIs {
		if uri.Scheme != Scheme {
			continue
		}
		n, err := ParseName(uri)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}
