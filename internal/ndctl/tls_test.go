package ndctl

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/certs"
)

// tlsFront accepts TLS connections and passes what they say on to an address. It returns its own.
func tlsFront(t *testing.T, config *tls.Config, to string) string {
	t.Helper()
	socket, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex // guards open
	var open []net.Conn
	pass := func(near net.Conn) {
		defer near.Close()
		far, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer far.Close()
		mu.Lock()
		open = append(open, near, far)
		mu.Unlock()
		wait.Go(func() { io.Copy(far, near); far.Close() })
		io.Copy(near, far)
	}
	wait.Go(func() {
		for {
			conn, err := socket.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { pass(conn) })
		}
	})
	t.Cleanup(func() {
		socket.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wait.Wait()
	})
	return socket.Addr().String()
}

// set makes a set of certificates, and returns its folder.
func set(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "certs")
	for _, line := range append([]string{"init"}, args...) {
		if r := runWith(t, nil, "", append(append([]string{"certs"}, strings.Fields(line)...), "--out", dir)...); r.code != exitOK {
			t.Fatal(line, r)
		}
	}
	return dir
}

// listens returns the configuration with which a node of a set listens.
func listens(t *testing.T, dir, name string, auth tls.ClientAuthType) *tls.Config {
	t.Helper()
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(readFile(t, filepath.Join(dir, name, "ca.crt"))))
	return &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: auth, ClientCAs: pool}
}

func TestTLSToNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	dir, other := set(t, "node n1", "node far --host far.example", "client me"), set(t, "client me")
	file := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	plain := c.ports[0]
	open := tlsFront(t, listens(t, dir, "n1", tls.NoClientCert), plain)
	strict := tlsFront(t, listens(t, dir, "n1", tls.RequireAndVerifyClientCert), plain)
	farConfig := listens(t, dir, "far", tls.NoClientCert)
	far := tlsFront(t, farConfig, plain)
	expired := tlsFront(t, &tls.Config{Certificates: []tls.Certificate{outdated(t, dir)}}, plain)
	ca := "--tls --cacert " + file("n1", "ca.crt")
	mine := " --cert " + file("me", "tls.crt") + " --key " + file("me", "tls.key")
	foreign := " --cert " + filepath.Join(other, "me", "tls.crt") + " --key " + filepath.Join(other, "me", "tls.key")
	for _, tc := range []struct {
		what, flags, addr string
		env               []string
		code              int
		want              string
	}{
		{what: "TLS", flags: ca, addr: open},
		{what: "a client certificate", flags: ca + mine, addr: strict},
		{what: "from the environment", addr: strict, env: []string{"NDRING_TLS_CA=" + file("n1", "ca.crt"), "NDRING_TLS_CERT=" + file("n1", "tls.crt"), "NDRING_TLS_KEY=" + file("n1", "tls.key")}},
		{what: "NDRING_TLS", addr: open, env: []string{"NDRING_TLS=yes", "NDRING_TLS_CA=" + file("n1", "ca.crt")}},
		{what: "NDRING_TLS=no", addr: plain, env: []string{"NDRING_TLS=no", "NDRING_TLS_CERT=" + file("n1", "tls.crt")}},
		{what: "another name", flags: ca + " --sni localhost", addr: open},
		{what: "unknown CA", flags: "--tls", addr: open, code: exitUnreachable, want: "signed by an unknown authority: give its CA with --cacert"},
		{what: "wrong host", flags: ca + " --sni other.example", addr: open, code: exitUnreachable, want: "the node's certificate is for other hosts than other.example"},
		{what: "no client certificate", flags: ca, addr: strict, code: exitUnreachable, want: "the node wants a client certificate: give --cert FILE and --key FILE"},
		{what: "client certificate of another CA", flags: ca + foreign, addr: strict, code: exitUnreachable, want: "the node refuses this client's certificate"},
		{what: "expired", flags: ca, addr: expired, code: exitUnreachable, want: "has expired, or is not valid yet"},
		{what: "a node without TLS", flags: ca, addr: plain, code: exitUnreachable, want: "the node does not speak TLS on this port: leave out --tls"},
		{what: "without --tls", addr: open, code: exitUnreachable, want: "--tls"},
		{what: "flags without --tls", flags: "--cacert x", addr: open, code: exitUsage, want: "--cacert, --cert, --key and --sni need --tls"},
		{what: "no key", flags: ca + " --cert x", addr: open, code: exitUsage, want: "--cert and --key go together"},
		{what: "missing CA", flags: "--tls --cacert nosuch", addr: open, code: exitUsage, want: "nosuch"},
		{what: "no CA in the file", flags: "--tls --cacert " + file("n1", "tls.key"), addr: open, code: exitUsage, want: "holds no certificate of a CA"},
		{what: "nonsense", addr: open, env: []string{"NDRING_TLS=maybe"}, code: exitUsage, want: "neither yes nor no"},
	} {
		r := c.run(c.env(append(tc.env, "NDRING_ADDR="+tc.addr)...), append(strings.Fields(tc.flags), "status")...)
		if r.code != tc.code || !strings.Contains(r.err, tc.want) || tc.code == exitOK && !strings.Contains(r.out, "health     ok") {
			t.Errorf("%s: %+v", tc.what, r)
		}
	}
	if r := c.run(c.env("NDRING_ADDR="+far), strings.Fields(ca+" --sni far.example status")...); r.code != exitOK {
		t.Errorf("the name of a far host: %+v", r)
	}
}

// outdated returns a certificate of a set's CA that has expired.
func outdated(t *testing.T, dir string) tls.Certificate {
	t.Helper()
	s, err := openCertSet(dir)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := s.authority.Issue(certs.Request{Name: "old", Hosts: []string{"127.0.0.1"}, From: time.Now().Add(-2 * time.Hour), Until: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	own, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return own
}
