package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write puts a certificate, its key and its CA into files.
func write(t *testing.T, dir string, pair Pair, ca *Authority) Files {
	t.Helper()
	own, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	f := Files{filepath.Join(dir, "node.crt"), filepath.Join(dir, "node.key"), filepath.Join(dir, "ca.crt")}
	for name, text := range map[string][]byte{f.Cert: pair.Cert, f.Key: pair.Key, f.CA: own.Cert} {
		if err := os.WriteFile(name+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func authority(t *testing.T) *Authority {
	t.Helper()
	ca, err := NewAuthority("test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *Authority, name string, until time.Time) Pair {
	t.Helper()
	uri, err := url.Parse("ndring://node/" + name)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(Request{Name: name, Hosts: []string{"127.0.0.1", "localhost"}, URIs: []*url.URL{uri}, From: time.Now().Add(-time.Hour), Until: until})
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func open(t *testing.T, f Files) *Store {
	t.Helper()
	s, err := Open("a test", f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake returns the certificate that each side has seen of the other.
func shake(t *testing.T, server, client *tls.Config) (ofServer, ofClient string, err error) {
	t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0") // a net.Pipe has no room for an alert
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	near, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := socket.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	for _, c := range []net.Conn{near, far} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	seen := make(chan string, 1)
	go func() {
		s := tls.Server(far, server)
		name := ""
		if s.Handshake() == nil && len(s.ConnectionState().PeerCertificates) > 0 {
			name = s.ConnectionState().PeerCertificates[0].Subject.CommonName
		}
		seen <- name
		s.Close()
	}()
	client.ServerName = "127.0.0.1"
	c := tls.Client(near, client)
	if err = c.Handshake(); err == nil {
		ofServer = c.ConnectionState().PeerCertificates[0].Subject.CommonName
		_, err = c.Read(make([]byte, 1)) // with TLS 1.3 the server's refusal follows the handshake
		if err == io.EOF {
			err = nil
		}
	}
	near.Close()
	return ofServer, <-seen, err
}

func TestBothSides(t *testing.T) {
	t.Parallel()
	ca, later := authority(t), time.Now().Add(time.Hour)
	a := open(t, write(t, t.TempDir(), issue(t, ca, "a", later), ca))
	b := open(t, write(t, t.TempDir(), issue(t, ca, "b", later), ca))
	stranger := open(t, write(t, t.TempDir(), issue(t, authority(t), "c", later), ca))
	server := a.Server(tls.RequireAndVerifyClientCert)
	if ofServer, ofClient, err := shake(t, server, b.Client()); ofServer != "a" || ofClient != "b" || err != nil {
		t.Error(ofServer, ofClient, err)
	}
	if _, ofClient, err := shake(t, server, stranger.Client()); err == nil || ofClient != "" {
		t.Error("a certificate of another CA is accepted", ofClient)
	}
	if _, _, err := shake(t, stranger.Server(tls.NoClientCert), a.Client()); err == nil {
		t.Error("the server's certificate of another CA is accepted")
	}
}

// A certificate that is renewed counts for the next handshake; files that do not fit do not.
func TestReload(t *testing.T) {
	t.Parallel()
	ca, later, dir := authority(t), time.Now().Add(time.Hour), t.TempDir()
	f := write(t, dir, issue(t, ca, "old", later), ca)
	s := open(t, f)
	server := s.Server(tls.NoClientCert)
	serves := func(want string) {
		t.Helper()
		if got, _, err := shake(t, server, s.Client()); got != want || err != nil {
			t.Errorf("the server is %q, not %q: %v", got, want, err)
		}
	}
	serves("old")
	if changed, err := s.Reload(); changed || err != nil {
		t.Error("the same files count as changed", err)
	}
	next := issue(t, ca, "new", later)
	if err := os.WriteFile(f.Cert, next.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it tries again
		if changed, err := s.Reload(); changed || err == nil || !strings.Contains(err.Error(), f.Key) {
			t.Error("a certificate without its key is accepted", err)
		}
	}
	serves("old")
	if err := os.WriteFile(f.Key, next.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Reload(); !changed || err != nil {
		t.Error(changed, err)
	}
	serves("new")
	write(t, dir, issue(t, authority(t), "other", later), authority(t)) // a CA that did not sign it: the peers will say so
	if changed, err := s.Reload(); !changed || err != nil {
		t.Error(changed, err)
	}
}

// A renewed certificate that the node may not have does not take the place of the one before.
func TestRequire(t *testing.T) {
	t.Parallel()
	ca, later, dir := authority(t), time.Now().Add(time.Hour), t.TempDir()
	s := open(t, write(t, dir, issue(t, ca, "a", later), ca))
	is := func(name string) func(*x509.Certificate) error {
		return func(c *x509.Certificate) error {
			if c.Subject.CommonName != name {
				return errors.New("it is of " + c.Subject.CommonName)
			}
			return nil
		}
	}
	if err := s.Require(is("b")); err == nil {
		t.Error("the certificate of another is accepted")
	}
	if err := s.Require(is("a")); err != nil {
		t.Error(err)
	}
	write(t, dir, issue(t, ca, "b", later), ca)
	if changed, err := s.Reload(); changed || err == nil || !strings.Contains(err.Error(), "it is of b") || s.Leaf().Subject.CommonName != "a" {
		t.Error(changed, err, s.Leaf().Subject)
	}
	write(t, dir, issue(t, ca, "a", later.Add(time.Minute)), ca)
	if changed, err := s.Reload(); !changed || err != nil {
		t.Error(changed, err)
	}
}

func TestWrongFiles(t *testing.T) {
	t.Parallel()
	ca, dir := authority(t), t.TempDir()
	good := write(t, dir, issue(t, ca, "a", time.Now().Add(time.Hour)), ca)
	expired := write(t, t.TempDir(), issue(t, ca, "b", time.Now().Add(-time.Minute)), ca)
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		files Files
		want  string
	}{
		"missing": {Files{Cert: "missing.crt", Key: good.Key}, "missing.crt"}, "missing key": {Files{Cert: good.Cert, Key: "missing.key"}, "missing.key"},
		"text": {Files{Cert: text, Key: good.Key}, text}, "key of another": {Files{Cert: good.Cert, Key: expired.Key}, expired.Key},
		"no CA": {Files{good.Cert, good.Key, text}, "no certificate of a CA"}, "expired": {expired, "has expired"},
	} {
		if _, err := Open("a test", tc.files, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "the certificate for a test") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthority(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	pair, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadAuthority(pair)
	if err != nil || !again.Certificate().Equal(ca.Certificate()) {
		t.Fatal(err)
	}
	leaf := issue(t, again, "a", time.Now().Add(time.Hour))
	own, err := tls.X509KeyPair(leaf.Cert, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate())
	if _, err := own.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "localhost"}); err != nil {
		t.Error(err)
	}
	if own.Leaf.URIs[0].String() != "ndring://node/a" || own.Leaf.IPAddresses[0].String() != "127.0.0.1" {
		t.Error(own.Leaf.URIs, own.Leaf.IPAddresses)
	}
	other, err := authority(t).PEM()
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]Pair{
		"empty": {}, "key of another": {pair.Cert, other.Key}, "no CA": leaf, "no key": {pair.Cert, pair.Cert}, "text": {[]byte("x"), []byte("y")},
	} {
		if _, err := LoadAuthority(wrong); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
