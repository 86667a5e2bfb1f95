package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/certs"
)

// tlsFiles are the files of a CA and of a certificate that it has signed.
type tlsFiles struct {
	t             *testing.T
	authority     *certs.Authority
	ca, cert, key string
}

func makeTLSFiles(t *testing.T) *tlsFiles {
	t.Helper()
	ca, err := certs.NewAuthority("test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	f := &tlsFiles{t, ca, filepath.Join(folder, "ca.crt"), filepath.Join(folder, "node.crt"), filepath.Join(folder, "node.key")}
	f.put(f.ca, pair.Cert)
	f.renew("first")
	return f
}

// put replaces a file in one step.
func (f *tlsFiles) put(name string, text []byte) {
	f.t.Helper()
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		f.t.Fatal(err)
	}
}

// renew replaces the certificate and its key.
func (f *tlsFiles) renew(name string) {
	f.t.Helper()
	pair, err := f.authority.Issue(certs.Request{Name: name, Hosts: []string{"127.0.0.1", "localhost"}, From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)})
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(f.cert, pair.Cert)
	f.put(f.key, pair.Key)
}

// flags returns the flags of a node that uses the files.
func (f *tlsFiles) flags(more ...string) []string {
	return append([]string{"--tls-cert", f.cert, "--tls-key", f.key}, more...)
}

// client returns the configuration of a client that trusts the CA.
func (f *tlsFiles) client() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(f.authority.Certificate())
	return &tls.Config{RootCAs: pool}
}

// talk connects to an address with TLS.
func (f *tlsFiles) talk(address string) *talker {
	f.t.Helper()
	nc, err := tls.Dial("tcp", address, f.client())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { nc.Close() })
	return newTalker(nc)
}

// Unmodified clients use a cluster over TLS as they use one without.
func TestClientsOverTLS(t *testing.T) {
	t.Parallel()
	files := makeTLSFiles(t)
	nodes := openCluster(t, 3, files.flags()...)
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	var keys []string
	for _, n := range nodes {
		keys = append(keys, keysOf(t, n, 30)...)
	}
	for _, protocol := range []int{2, 3} {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[protocol-1].ClientAddrs()[0].String()}, Protocol: protocol, TLSConfig: files.client()})
		testGoSingly(ctx, t, client, keys)
		testGoPipelines(ctx, t, client, keys)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	single := redis.NewClient(&redis.Options{Addr: nodes[0].ClientAddrs()[0].String(), TLSConfig: files.client()})
	defer single.Close()
	if err := single.Ping(ctx).Err(); err != nil {
		t.Error(err)
	}
	plain := redis.NewClient(&redis.Options{Addr: nodes[0].ClientAddrs()[0].String(), MaxRetries: -1})
	defer plain.Close()
	if err := plain.Ping(ctx).Err(); err == nil {
		t.Error("a client without TLS is served")
	}
	cli := tool(t, "redis-cli")
	for i, key := range []string{keys[0], keys[40], keys[80]} {
		cmd := exec.CommandContext(ctx, cli, "--tls", "--cacert", files.ca, "-c", "-p", portOf(t, nodes[i]), "-x", "NP.SET", key)
		cmd.Stdin = strings.NewReader(array)
		if out, err := cmd.CombinedOutput(); string(out) != "OK\n" || err != nil {
			t.Errorf("redis-cli: %s, %v", out, err)
		}
		cmd = exec.CommandContext(ctx, cli, "--tls", "--cacert", files.ca, "-c", "-p", portOf(t, nodes[(i+1)%3]), "NP.GET", key)
		if out, err := cmd.CombinedOutput(); string(out) != array+"\n" || err != nil {
			t.Errorf("redis-cli that is redirected: %s, %v", out, err)
		}
	}
	out, err := exec.CommandContext(ctx, cli, "--tls", "--cacert", files.ca, "--cluster", "check", nodes[0].ClientAddrs()[0].String()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "[OK] All 16384 slots covered.") {
		t.Errorf("redis-cli --cluster check: %s, %v", out, err)
	}
}

// A client is redirected to listeners with the name of the one that it came by: with TLS if that has it.
func TestListenersWithAndWithoutTLS(t *testing.T) {
	t.Parallel()
	files := makeTLSFiles(t)
	flags := files.flags("--listen", "inside=127.0.0.1:0,tls=no", "--listen", "outside=127.0.0.1:0", "--replicas", "1", "--shards", "16")
	nodes := []*Node{openNode(t, flags...)}
	for _, id := range []string{"b", "c"} {
		nodes = append(nodes, joinCluster(t, nodes, append(flags, "--node-id", id)...))
	}
	awaitTopology(t, nodes, asAssigned)
	key := keysOf(t, nodes[1], 1)[0]
	for i, c := range []*talker{dialTalker(t, nodes[0]), files.talk(nodes[0].ClientAddrs()[1].String())} {
		if got, want := c.say("NP.SHAPE", key), "-MOVED "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, nodes[1].ClientAddrs()[i].String()) {
			t.Errorf("listener %d: redirected with %s, not to %s", i, got, nodes[1].ClientAddrs()[i])
		}
		slots := c.say("CLUSTER", "SLOTS")
		for j, n := range nodes {
			mine, other := n.ClientAddrs()[i].(*net.TCPAddr).Port, n.ClientAddrs()[1-i].(*net.TCPAddr).Port
			if !strings.Contains(slots, fmt.Sprintf(":%d ", mine)) || strings.Contains(slots, fmt.Sprintf(":%d ", other)) {
				t.Errorf("listener %d: node %d has port %d, not %d: %s", i, j, mine, other, slots)
			}
		}
		if got, want := c.say("INFO", "server"), fmt.Sprintf("tcp_port:%d\r\n", nodes[0].ClientAddrs()[i].(*net.TCPAddr).Port); !strings.Contains(got, want) {
			t.Errorf("listener %d: %s", i, got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	secure := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[2].ClientAddrs()[1].String()}, TLSConfig: files.client()})
	defer secure.Close()
	plain := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[2].ClientAddrs()[0].String()}})
	defer plain.Close()
	for _, n := range nodes {
		for _, key := range keysOf(t, n, 5) {
			if err := secure.Do(ctx, "NP.SET", key, array).Err(); err != nil {
				t.Error(err)
			}
			if got, err := plain.Do(ctx, "NP.GET", key).Text(); got != array || err != nil {
				t.Errorf("%q, %v", got, err)
			}
		}
	}
}

// A node reads its certificate again when the files change, and clients need no more than what tls-client-auth says.
func TestCertificatesOfANode(t *testing.T) {
	t.Parallel()
	files := makeTLSFiles(t)
	n := openNode(t, files.flags("--tls-ca", files.ca, "--tls-client-auth", "require")...)
	address := n.ClientAddrs()[0].String()
	served := func() string {
		config := files.client()
		own, err := tls.LoadX509KeyPair(files.cert, files.key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{own}
		nc, err := tls.Dial("tcp", address, config)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if got := newTalker(nc).say("PING"); got != "+PONG" {
			t.Error(got)
		}
		return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := served(); got != "first" {
		t.Error(got)
	}
	files.renew("second")
	for deadline := time.Now().Add(clusterTime); served() != "second"; {
		if time.Now().After(deadline) {
			t.Fatal("the new certificate is not served")
		}
		time.Sleep(10 * time.Millisecond)
	}
	stranger, err := tls.Dial("tcp", address, files.client())
	if err == nil {
		if got := newTalker(stranger).say("PING"); !strings.Contains(got, "certificate required") {
			t.Errorf("a client without a certificate got %s", got)
		}
		stranger.Close()
	}
	if got := n.server.Stats().HandshakeFailures; got != 1 {
		t.Errorf("%d failed handshakes are counted", got)
	}
	config, err := ParseConfig([]string{"--port", "0", "--http-port", "0", "--dir", "", "--tls-cert", "missing.crt", "--tls-key", files.key}, environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := New(*config, n.log, n.effective.level).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot read the certificate for clients: open missing.crt") {
		t.Errorf("a node without its certificate: %v", err)
	}
}
