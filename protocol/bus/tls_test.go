package bus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
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
		o.TLS = &TLS{
			Server: func() *tls.Config { return &tls.Config{Certificates: own, ClientCAs: a.pool} },
			Client: func() *tls.Config { return &tls.Config{Certificates: own, RootCAs: a.pool} },
		}
	}
}

// both changes options twice.
func both(first, second func(*Options)) func(*Options) {
	return func(o *Options) { first(o); second(o) }
}

// certified makes the certificate of this node name a cluster, as far as the node's own checks are concerned.
func certified(cluster uuid.UUID) func(*Options) {
	return func(o *Options) { o.TLS.Cluster = cluster }
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	uri := func(cluster uuid.UUID, node string) string {
		return "ndring://cluster/" + cluster.String() + "/node/" + node
	}
	for _, tc := range []struct {
		name  string
		a, b  Identity
		certA string
		certB string
		want  error
		byA   bool // the dialling side refuses, so the accepting side does not learn of it
		ownB  uuid.UUID
	}{
		{name: "both named", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), certB: uri(clusterA, "b")},
		{name: "without cluster", a: who(none, "a"), b: who(none, "b"), certA: "ndring://node/a", certB: "ndring://node/b"},
		{name: "joins without a cluster in its certificate", a: who(none, "a"), b: who(clusterA, "b"), certA: "ndring://node/a", certB: uri(clusterA, "b")},
		{name: "a member without a cluster in its certificate", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://node/a", certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "no names", a: who(clusterA, "a"), b: who(clusterA, "b"), certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "no names answer", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), want: ErrCertificate, byA: true},
		{name: "names of others", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "spiffe://x/a", certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "several", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "spiffe://x/a " + uri(clusterA, "z") + " " + uri(clusterA, "a"), certB: uri(clusterA, "b")},
		{name: "joins", a: who(none, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), certB: uri(clusterA, "b")},
		{name: "is asked to join", a: who(clusterA, "a"), b: who(none, "b"), certA: uri(clusterA, "a"), certB: uri(clusterA, "b")},
		{name: "bootstraps with one of another cluster", a: who(none, "a"), b: who(none, "b"), certA: uri(clusterA, "a"), certB: uri(clusterB, "b"), ownB: clusterB, want: ErrCertificate},
		{name: "joins another", a: who(none, "a"), b: who(clusterA, "b"), certA: uri(clusterB, "a"), certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "another node dials", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "x"), certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "another node without cluster dials", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://node/x", certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "another cluster dials", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterB, "a"), certB: uri(clusterA, "b"), want: ErrCertificate},
		{name: "another node answers", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), certB: uri(clusterA, "x"), want: ErrCertificate, byA: true},
		{name: "another cluster answers", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: uri(clusterA, "a"), certB: uri(clusterB, "b"), want: ErrCertificate, byA: true},
		{name: "no node", a: Identity{}, b: who(clusterA, "b"), certA: "ndring://node/", want: ErrCertificate},
		{name: "no cluster's id", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://cluster//node/a", want: ErrCertificate},
		{name: "half a name", a: who(clusterA, "a"), b: who(clusterA, "b"), certA: "ndring://cluster/" + clusterA.String(), want: ErrCertificate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, b := begin(t, tc.a, ca.node(t, tc.certA)), begin(t, tc.b, both(ca.node(t, tc.certB), certified(tc.ownB)))
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
				if string(reply) != "in private" || !peer.Verified {
					t.Errorf("%q from %+v", reply, peer)
				}
				if got := <-seen; !got.Verified || got.Identity != tc.a {
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
	name := func(node string) string { return "ndring://cluster/" + clusterA.String() + "/node/" + node }
	a, b := ours.node(t, name("a")), ours.node(t, name("b"))
	plain := func(*Options) {}
	anonymous := func(o *Options) {
		a(o)
		o.TLS.Client = func() *tls.Config { return &tls.Config{RootCAs: ours.pool} }
	}
	outdated := func(o *Options) { // both see each other's certificate as it will be
		b(o)
		of := o.TLS.Client
		o.TLS.Client = func() *tls.Config {
			c := of()
			c.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
			return c
		}
	}
	late := func(o *Options) {
		b(o)
		of := o.TLS.Server
		o.TLS.Server = func() *tls.Config {
			c := of()
			c.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
			return c
		}
	}
	trusting := func(o *Options) {
		b(o)
		o.TLS.Server = func() *tls.Config { c := ours.server(t, name("b")); c.ClientCAs = nil; return c }
	}
	for _, tc := range []struct {
		name         string
		a, b         func(*Options)
		byA, byB     string // what the two sides say
		mixed, never bool
	}{
		{name: "plain to TLS", a: plain, b: b, byA: "the peer refused: only one side speaks TLS", byB: "this node refused: only one side speaks TLS", mixed: true},
		{name: "TLS to plain", a: a, b: plain, byA: "only one side speaks TLS: this node speaks TLS, the other side does not", byB: "this node refused: only one side speaks TLS", mixed: true},
		{name: "another authority's", a: theirs.node(t, name("a")), b: b, byA: "unknown authority", byB: "the other side refuses this node's certificate"},
		{name: "without a certificate", a: anonymous, b: b, byA: "refuses this node's certificate", byB: "client didn't provide a certificate"},
		{name: "expired, the dialling side says", a: outdated, b: b, byA: "has expired", byB: "the other side refuses"},
		{name: "expired, the accepting side says", a: a, b: late, byA: "the other side refuses", byB: "has expired"},
		{name: "no CA", a: a, b: trusting, byA: "TLS with", byB: "no CA is configured"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a, b := begin(t, who(clusterA, "a"), tc.a), begin(t, who(clusterA, "b"), tc.b)
			b.Handle(methodEcho, echo)
			_, err := a.call(b.target(), methodEcho, "x")
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), tc.byA) || errors.Is(err, ErrMixed) != tc.mixed {
				t.Error(err)
			}
			if got := receive(t, "what the dialling side logs", a.refused); !strings.Contains(got.Error(), tc.byA) {
				t.Error(got)
			}
			got := receive(t, "what the accepting side logs", b.refused)
			if !strings.Contains(got.Error(), tc.byB) {
				t.Error(got)
			}
			if tc.mixed && strings.Contains(err.Error(), clusterA.String()+"; wanted") {
				t.Errorf("a stranger is told who the node is: %v", err)
			}
			if n := len(a.Links()) + len(b.Links()); n > 0 {
				t.Errorf("%d links", n)
			}
		})
	}
}

// server returns a node's configuration as a server.
func (a *authority) server(t *testing.T, uris string) *tls.Config {
	t.Helper()
	var o Options
	a.node(t, uris)(&o)
	return o.TLS.Server()
}

// A node that was removed is refused in spite of its certificate, whichever side dials, and its connections can be closed.
func TestRemoved(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	var removed atomic.Bool
	name := func(node string) string { return "ndring://cluster/" + clusterA.String() + "/node/" + node }
	a := begin(t, who(clusterA, "a"), ca.node(t, name("a")))
	b := begin(t, who(clusterA, "b"), both(ca.node(t, name("b")), func(o *Options) {
		o.TLS.Removed = func(id topology.NodeID) bool { return removed.Load() && id == "a" }
	}))
	a.Handle(methodEcho, echo)
	b.Handle(methodEcho, echo)
	for _, from := range []*node{a, b} {
		to := map[*node]*node{a: b, b: a}[from]
		if _, err := from.call(to.target(), methodEcho, "x"); err != nil {
			t.Fatal(err)
		}
	}
	removed.Store(true)
	if n := b.Disconnect(func(p Peer) bool { return p.Node == "a" }); n != 2 {
		t.Errorf("%d connections were closed", n)
	}
	eventually(t, "both have ended", func() bool { return len(a.Links())+len(b.Links()) == 0 })
	if _, err := a.call(b.target(), methodEcho, "x"); !errors.Is(err, ErrRemoved) || !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	if _, err := b.call(a.target(), methodEcho, "x"); !errors.Is(err, ErrRemoved) {
		t.Error(err)
	}
}

// Each connection begins with the newest certificates, and those before it stay.
func TestNewCertificates(t *testing.T) {
	t.Parallel()
	before, after := newAuthority(t), newAuthority(t)
	name := func(node string) string { return "ndring://cluster/" + clusterA.String() + "/node/" + node }
	var renewed atomic.Bool
	changing := func(node string) func(*Options) {
		var old, young Options
		before.node(t, name(node))(&old)
		after.node(t, name(node))(&young)
		of := func() *TLS {
			if renewed.Load() {
				return young.TLS
			}
			return old.TLS
		}
		return func(o *Options) {
			o.TLS = &TLS{Server: func() *tls.Config { return of().Server() }, Client: func() *tls.Config { return of().Client() }}
		}
	}
	a, b := begin(t, who(clusterA, "a"), changing("a")), begin(t, who(clusterA, "b"), changing("b"))
	b.Handle(methodEcho, echo)
	for range 2 {
		if _, err := a.call(b.target(), methodEcho, "x"); err != nil {
			t.Fatal(err)
		}
		renewed.Store(true)
	}
	if n := len(b.Links()); n != 1 {
		t.Errorf("%d links: the first did not stay", n)
	}
	a.Renew()
	if _, err := a.call(b.target(), methodEcho, "x"); err != nil {
		t.Fatal(err)
	}
}

// What is written reaches the other side whole, in one write to the socket for each 256 KiB.
func TestWritesAreGathered(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	name := func(node string) string { return "ndring://cluster/" + clusterA.String() + "/node/" + node }
	var writes atomic.Int64
	counted := func(o *Options) {
		o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return &countedConn{conn, &writes}, err
		}
	}
	a, b := begin(t, who(clusterA, "a"), both(ca.node(t, name("a")), counted)), begin(t, who(clusterA, "b"), ca.node(t, name("b")))
	got := make(chan [32]byte, 1)
	sent := make([]byte, 1<<20+12345)
	rand.Read(sent)
	b.HandleStream(KindBulk, func(_ Peer, conn net.Conn) {
		defer conn.Close()
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		got <- sha256.Sum256(all)
	})
	conn, _, err := a.Dial(t.Context(), b.target(), KindBulk)
	if err != nil {
		t.Fatal(err)
	}
	before := writes.Load()
	if n, err := conn.Write(sent); n != len(sent) || err != nil {
		t.Fatal(n, err)
	}
	if n := writes.Load() - before; n > 8 {
		t.Errorf("%d writes for %d bytes", n, len(sent))
	}
	conn.Close()
	if receive(t, "the bytes", got) != sha256.Sum256(sent) {
		t.Error("other bytes arrived")
	}
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestLogLimiter(t *testing.T) {
	t.Parallel()
	var l logLimiter
	now, lines := time.Unix(1e9, 0), 0
	for i := range 10_000 {
		if l.pass(strconv.Itoa(i), now) {
			lines++
		}
	}
	if lines != logLines {
		t.Errorf("%d lines for 10,000 strangers", lines)
	}
	if now = now.Add(10 * time.Second); !l.pass("1", now) || l.pass("1", now) {
		t.Error("ten seconds later a subject has one line again")
	}
}
