package ndctl

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/gossipkey"
	"github.com/ndring/ndring/internal/slowtest"
	"github.com/ndring/ndring/protocol"
)

// startSecure starts three nodes with all that a set of certificates has for them.
func startSecure(t *testing.T, dir string, args ...string) *testCluster {
	t.Helper()
	return startClusterOf(t, nil, 3, func(name string) []string {
		file := func(name, end string) string { return filepath.Join(dir, name, end) }
		return []string{
			"--gossip-key-file", file(name, "gossip.key"), "--bus-tls-cert", file(name, "bus.crt"), "--bus-tls-key", file(name, "bus.key"), "--bus-tls-ca", file(name, "ca.crt"),
		}
	}, args...)
}

// traffic stores and reads arrays until stop is called, which returns how many requests succeeded. A request that fails is an error.
func (c *testCluster) traffic() (stop func() int64) {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.ports, MaxRedirects: 8})
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	var done atomic.Int64
	for w := range 2 {
		wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key, value := fmt.Sprintf("traffic-%d-%d", w, i%50), npyOf(1+i%300)
				err := client.Do(context.Background(), "NP.SET", key, value).Err()
				if err == nil {
					var got string
					if got, err = client.Do(context.Background(), "NP.GET", key).Text(); err == nil && got != value {
						err = fmt.Errorf("%s is another array", key)
					}
				}
				if err != nil {
					c.t.Errorf("request %d: %v", i, err)
					return
				}
				done.Add(2)
			}
		})
	}
	return func() int64 {
		cancel()
		wait.Wait()
		client.Close()
		return done.Load()
	}
}

// serial returns the number of the certificate with which a bus answers, and an empty text if it does not answer.
func serial(address, dir string) string {
	own, err := tls.LoadX509KeyPair(filepath.Join(dir, "n1", "bus.crt"), filepath.Join(dir, "n1", "bus.key"))
	if err != nil {
		return "" // it is being renewed
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}})
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// buses returns the addresses of the buses by the names of the nodes.
func (c *testCluster) buses() map[string]string {
	c.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: c.env()["NDRING_ADDR"]})
	defer client.Close()
	text, err := client.Do(c.t.Context(), "CLUSTER", "NODES").Text()
	if err != nil {
		c.t.Fatal(err)
	}
	all := map[string]string{}
	for i, port := range c.ports {
		_, rest, found := strings.Cut(text, port+"@")
		if number, _, ok := strings.Cut(rest, " "); found && ok {
			number, _, _ = strings.Cut(number, ",")
			all[fmt.Sprintf("n%d", i+1)] = net.JoinHostPort("127.0.0.1", number)
		}
	}
	return all
}

// healthy waits until a cluster of three is whole.
func (c *testCluster) healthy(env ...string) {
	c.t.Helper()
	c.eventually("the cluster is healthy", func() string {
		r := c.run(c.env(env...), "status")
		return r.out + r.err
	}, func(got string) bool { return matches(got, "health     ok", "3 of 3 up") })
}

// A cluster with all that ndctl certs makes: it loses no array with a node, and new certificates and keys disturb no request.
func TestSecureCluster(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	const id = "92bc6c447f52f0270eee816809685500"
	dir := filepath.Join(t.TempDir(), "certs")
	certs := func(args ...string) {
		t.Helper()
		if r := runWith(t, nil, "", append(append([]string{"certs"}, args...), "--out", dir)...); r.code != exitOK {
			t.Fatal(r)
		}
	}
	certs("init", "--cluster-id", id, "--node", "n1", "--node", "n2", "--node", "n3")
	c := startSecure(t, dir, "--replicas", "2")
	if r := c.run(c.env(), "status"); !strings.Contains(r.out, id) {
		t.Errorf("the cluster is not that of the certificates: %s", r.out)
	}
	buses := c.buses()
	if len(buses) != 3 {
		t.Fatalf("%v", buses)
	}

	stop := c.traffic()
	before := map[string]string{}
	for name, address := range buses {
		before[name] = serial(address, dir)
	}
	certs("renew")
	for name, address := range buses {
		c.eventually(name+" uses its new certificate", func() string { return serial(address, dir) }, func(is string) bool { return is != "" && is != before[name] })
	}
	file := filepath.Join(t.TempDir(), "key")
	if r := c.run(c.env(), "gossip-key", "rotate", "--key-file", file, "--yes"); r.code != exitOK || !matches(r.out, "all nodes have the new key\nall nodes encrypt with it\nno node has another key\nn1, n2, n3: gossip is encrypted with the key ") {
		t.Error(r)
	}
	if n := stop(); n < 100 {
		t.Errorf("only %d requests", n)
	}

	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.ports})
	for i := range 50 {
		if err := client.Do(t.Context(), "NP.SET", fmt.Sprint("kept-", i), npyOf(i+1)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	c.nodes[2].Shutdown(protocol.ShutdownNoSave | protocol.ShutdownNow) // it hands nothing over
	c.stop(2)
	client.Close() // it would ask the dead node again and again
	c.eventually("the other copies are served", func() string { return c.run(c.env(), "status").out }, func(got string) bool { return strings.Contains(got, "16 of 16 served") })
	client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.ports[:2]})
	defer client.Close()
	for i := range 50 {
		if got, err := client.Do(t.Context(), "NP.GET", fmt.Sprint("kept-", i)).Text(); err != nil || got != npyOf(i+1) {
			t.Errorf("array %d: %v", i, err)
		}
	}
	c.launch(2) // with its new certificate, and the keys of its folder: its key file has the old one
	c.ready(2)
	c.healthy()
}

// A rotation that was interrupted anywhere goes on, also when a node restarts meanwhile; a node that is down stops it.
func TestRotationGoesOn(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	dir := set(t, "node n1", "node n2", "node n3")
	c := startSecure(t, dir)
	file := filepath.Join(t.TempDir(), "key")
	key := gossipkey.New()
	if err := os.WriteFile(file, []byte(gossipkey.Text(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	name := gossipkey.Fingerprint(key)
	do := func(i int, args ...any) {
		t.Helper()
		client := redis.NewClient(&redis.Options{Addr: c.ports[i]})
		defer client.Close()
		if err := client.Do(t.Context(), append([]any{"CLUSTER", "GOSSIPKEY"}, args...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rotate := func(flags ...string) result {
		t.Helper()
		return c.run(c.env(), append([]string{"gossip-key", "rotate", "--yes", "--key-file", file}, flags...)...)
	}
	only := func(name string, nodes int) {
		t.Helper()
		r := c.run(c.env(), "gossip-key", "show")
		if strings.Count(r.out, name) != nodes || strings.Contains(r.out, ",") || strings.Count(r.out, "\n") < nodes+1 {
			t.Errorf("the keys are\n%s%s", r.out, r.err)
		}
	}
	for i := range 3 { // interrupted within the second step, with a restart
		do(i, "ADD", gossipkey.Text(key))
	}
	do(1, "USE", name)
	c.stop(2)
	if r := rotate(); r.code != exitFailure || !strings.Contains(r.err, "down: n3") {
		c.eventually("the rotation notices that a node is down", func() string { return rotate().err }, func(got string) bool { return strings.Contains(got, "down: n3") })
	}
	c.launch(2)
	c.ready(2)
	c.healthy()
	if r := rotate(); r.code != exitOK {
		t.Fatal(r)
	}
	only(name, 3)
	if r := rotate(); r.code != exitOK { // again changes nothing
		t.Error(r)
	}
	if r := c.run(c.env(), "gossip-key", "rotate", "--yes", "--json"); r.code != exitOK || !matches(r.out, `"n3"`, "!"+name) { // a key that only the nodes have
		t.Error(r)
	}
	do(0, "ADD", gossipkey.Text(key)) // interrupted within the first step, and started over with another key
	if r := rotate(); r.code != exitOK {
		t.Error(r)
	}
	only(name, 3)

	c.stop(2)
	c.eventually("it is down", func() string { return rotate().err }, func(got string) bool { return strings.Contains(got, "down: n3") })
	os.Remove(file)
	if r := rotate("--skip-down"); r.code != exitOK || !matches(r.out, "before you start them: n3") {
		t.Fatal(r)
	}
	if err := os.WriteFile(filepath.Join(dir, "n3", "gossip.key"), []byte(readFile(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.launch(2) // the key file has changed, so it counts
	c.ready(2)
	c.healthy()
	fresh, err := gossipkey.ParseFile([]byte(readFile(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	only(gossipkey.Fingerprint(fresh[0]), 3)
}
