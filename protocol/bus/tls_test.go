package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/uuid"
)

// authority signs certificates for nodes.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.cert = a.sign(t, template)
	a.pool.AddCert(a.cert)
	return a
}

// sign makes a key and its certificate; the first is self-signed.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// node returns the TLS options of a node whose certificate has the given URIs, separated by spaces.
func (a *authority) node(t *testing.T, uris string) func(*Options) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, text := range strings.Fields(uris) {
		uri, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	key, cert := a.sign(t, template)
	own := []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	return func(o *Options) {
		o.ServerTLS = &tls.Config{Certificates: own, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool}
		o.ClientTLS = &tls.Config{Certificates: own, RootCAs: a.pool}
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	uri := func(cluster uuid.UUID, node string) string {
		return "ndring://cluster/" + cluster.String() + "/node/" + node
	}
	for _, tc := range []struct {
		name   string
		a, b   Identity
		certA  string
		certB  string
		want   error
		byA    bool // the dialling side refuses, so the accepting side does not learn of it
		proveA bool
		proveB bool
	}{
		{name: "both named", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), certB: uri(clusterA, "b"), proveA: true, proveB: true},
		{name: "without cluster", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://node/a", certB: "ndring://node/b", proveA: true, proveB: true},
		{name: "no names", a: who(clusterA, "a"), b: who(clusterA, "b")},
		{name: "names of others", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "spiffe://x/a", certB: "https://cluster/1/node/2"},
		{name: "several", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "spiffe://x/a " + uri(clusterA, "z") + " " + uri(clusterA, "a"), proveA: true},
		{name: "joins", a: who(none, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), proveA: true},
		{name: "is asked to join", a: who(clusterA, "a"), b: who(none, "b"), certB: uri(clusterA, "b"), proveB: true},
		{name: "joins another", a: who(none, "a"), b: who(clusterA, "b"), certA: uri(clusterB, "a"), want: ErrCertificate},
		{name: "another node dials", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "x"), want: ErrCertificate},
		{name: "another node without cluster dials", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://node/x", want: ErrCertificate},
		{name: "another cluster dials", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterB, "a"), want: ErrCertificate},
		{name: "another node answers", a: who(clusterA, "a"), b: who(clusterA, "b"), certB: uri(clusterA, "x"), want: ErrCertificate, byA: true},
		{name: "another cluster answers", a: who(clusterA, "a"), b: who(clusterA, "b"), certB: uri(clusterB, "b"), want: ErrCertificate, byA: true},
		{name: "no node", a: Identity{}, b: who(clusterA, "b"), certA: "ndring://node/", want: ErrCertificate},
		{name: "no cluster's id", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://cluster//node/a", want: ErrCertificate},
		{name: "half a name", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://cluster/" + clusterA.String(), want: ErrCertificate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, b := begin(t, tc.a, ca.node(t, tc.certA)), begin(t, tc.b, ca.node(t, tc.certB))
			seen := make(chan Peer, 1)
			b.Handle(methodEcho, func(_ context.Context, peer Peer, request []byte) ([]byte, error) {
				seen <- peer
				return request, nil
			})
			reply, peer, err := a.Call(t.Context(), b.target(), methodEcho, []byte("in private"))
			if !errors.Is(err, tc.want) {
				t.Fatal(err)
			}
			if err == nil {
				if string(reply) != "in private" || peer.Verified != tc.proveB {
					t.Errorf("%q from %+v", reply, peer)
				}
				if got := <-seen; got.Verified != tc.proveA || got.Identity != tc.a {
					t.Errorf("seen as %+v", got)
				}
				return
			}
			if !errors.Is(err, ErrUnreachable) {
				t.Error(err)
			}
			if tc.byA {
				return
			}
			if err := receive(t, "the error of the accepting side", b.refused); !errors.Is(err, tc.want) {
				t.Error(err)
			}
		})
	}
}

func TestStrangersToTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	plain := func(*Options) {}
	short := func(change func(*Options)) func(*Options) {
		return func(o *Options) { change(o); o.HandshakeTimeout = 300 * time.Millisecond }
	}
	anonymous := func(o *Options) { o.ClientTLS = &tls.Config{RootCAs: ours.pool} }
	elsewhere := func(o *Options) {
		ours.node(t, "")(o)
		o.ClientTLS.ServerName = "node.example"
	}
	for _, tc := range []struct {
		name string
		a, b func(*Options)
	}{
		{"plain to TLS", plain, short(ours.node(t, ""))},
		{"TLS to plain", short(ours.node(t, "")), plain},
		{"another authority's", theirs.node(t, ""), ours.node(t, "")},
		{"without a certificate", anonymous, ours.node(t, "")},
		{"for another name", elsewhere, ours.node(t, "")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, b := begin(t, who(clusterA, "a"), tc.a), begin(t, who(clusterA, "b"), tc.b)
			b.Handle(methodEcho, echo)
			if _, err := a.call(b.target(), methodEcho, "x"); !errors.Is(err, ErrUnreachable) {
				t.Error(err)
			}
			if n := len(a.Links()) + len(b.Links()); n > 0 {
				t.Errorf("%d links", n)
			}
		})
	}
}
