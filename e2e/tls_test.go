//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/internal/loadtest"
)

// secured is a cluster that `make up-tls` has made.
type secured struct {
	*cluster
	ca, password string
	config       *tls.Config
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	c := &cluster{project: project + "-tls", files: "docker-compose.yml:docker-compose.tls.yml", certs: filepath.Join(t.TempDir(), "certs")}
	t.Cleanup(func() {
		if t.Failed() {
			c.saveLogs(t)
		}
		plain := *c
		plain.files = "docker-compose.yml" // as make down, which does not know that there was TLS
		plain.run(t, "scripts/down")
		if left := c.docker(t, "ps", "-aq", "--filter", "label=com.docker.compose.project="+c.project); left != "" {
			t.Errorf("scripts/down has left %s", left)
		}
		c.run(t, "scripts/e2e-clean", c.project)
	})
	if err := c.start("scripts/up-tls"); err != nil {
		t.Fatal(err)
	}
	s := &secured{cluster: c, ca: filepath.Join(c.certs, "ca", "ca.crt")}
	s.password = strings.TrimSpace(read(t, filepath.Join(c.certs, "password")))
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(read(t, s.ca))) {
		t.Fatal("no CA")
	}
	s.config = &tls.Config{RootCAs: roots}
	return s
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// python runs a program with a client c, and arguments, on the host.
func (s *secured) python(t *testing.T, program string, args ...string) string {
	t.Helper()
	program = fmt.Sprintf("import sys, numpy as np\nfrom ndring import NumPyRedis\nc = NumPyRedis.from_url('rediss://:%s@%s?ssl_ca_certs=%s')\n%s", s.password, s.address(1), s.ca, program)
	return s.run(t, "env", append([]string{"PYTHONPATH=python", "PYTHONDONTWRITEBYTECODE=1", ".venv/bin/python", "-W", "error", "-c", program}, args...)...)
}

// serials returns the serial numbers of the certificates that clients see at the nodes.
func (s *secured) serials(t *testing.T) (all [nodes + 1]string) {
	t.Helper()
	for i := 1; i <= nodes; i++ {
		eventually(t, name(i)+" shows its certificate", func() error {
			conn, err := tls.Dial("tcp", s.address(i), s.config)
			if err != nil {
				return err
			}
			all[i] = conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
			return conn.Close()
		})
	}
	return all
}

// Clients and nodes speak TLS; a node dies, and certificates are renewed, while clients write and read.
func TestTLS(t *testing.T) {
	s, r := newSecured(t), chance(t)
	cli := []string{"REDISCLI_AUTH=" + s.password, "redis-cli", "--tls", "--cacert", s.ca, "-c", "-h", "127.0.0.1", "-p", fmt.Sprint(s.ports[1+r.IntN(nodes)])}
	if got := s.run(t, "env", append(cli, "PING")...); got != "PONG" {
		t.Errorf("redis-cli: %q", got)
	}
	s.python(t, "for i in range(100):\n assert c.set(f'py{i}', np.full(1000, i)) and c.get(f'py{i}')[0] == i\nassert len(c.nodes()) == 5\nassert c.set('big', np.arange(4 << 20)) and c.verify('big')")
	if got := s.run(t, "env", append(cli, "NP.SHAPE", "py7")...); !strings.HasSuffix(got, "1000") {
		t.Errorf("redis-cli: %q", got)
	}
	// A client without TLS gets no data, only a reason.
	conn, err := net.Dial("tcp", s.address(2))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n", len(s.password), s.password)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, 1000)
	if n, err := conn.Read(reply); err != nil || !strings.HasPrefix(string(reply[:n]), "-ERR this port speaks TLS") {
		t.Errorf("a client without TLS got %q, %v", reply[:n], err)
	}
	s.filesAreTheNodesOwn(t)
	s.failoverAndRenewal(t, 1+r.IntN(nodes), r.Uint64())
	s.python(t, "assert all(c.get(f'py{i}')[0] == i for i in range(100)) and c.get('big')[-1] == (4 << 20) - 1")
}

// filesAreTheNodesOwn checks who may read the files that the nodes have.
func (s *secured) filesAreTheNodesOwn(t *testing.T) {
	t.Helper()
	for i := 1; i <= nodes; i++ {
		mount := s.docker(t, "inspect", "-f", `{{range .Mounts}}{{if eq .Destination "/certs"}}{{.RW}} {{.Name}}{{end}}{{end}}`, s.container(t, i))
		if want := fmt.Sprintf("false %s_certs%d", s.project, i); mount != want {
			t.Errorf("%s has the certificates in %q, want %q", name(i), mount, want)
		}
	}
	listing := s.docker(t, "run", "--rm", "-v", s.project+"_certs1:/certs:ro", clientImage, "sh", "-c", "ls -ln /certs | tail -n +2")
	for _, line := range strings.Split(listing, "\n") {
		if f := strings.Fields(line); len(f) < 4 || f[0] != "-r--------" || f[2] != "65532" || f[3] != "65532" {
			t.Errorf("in the volume of node1: %s", line)
		}
	}
	if strings.Contains(listing, "ca.key") || !strings.Contains(listing, "bus.key") {
		t.Errorf("the volume of node1 has %s", listing)
	}
}

func (s *secured) failoverAndRenewal(t *testing.T, victim int, seed uint64) {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.addresses(), Password: s.password, TLSConfig: s.config, MaxRedirects: 8, PoolSize: 4, ConnMaxLifetime: 300 * time.Millisecond})
	defer client.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, failed := 0, error(nil) // guarded by mu
	for worker := range 3 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key, want := fmt.Sprintf("traffic%d-%d", worker, n%100), loadtest.Array(seed+uint64(n), 2000)
				err := retry(ctx, func() error { return client.Do(ctx, "NP.SET", key, want).Err() })
				if err == nil {
					err = retry(ctx, func() error {
						if got, err := client.Do(ctx, "NP.GET", key).Text(); err != nil || got != string(want) {
							return errors.Join(err, fmt.Errorf("%s: %d bytes, want %d", key, len(got), len(want)))
						}
						return nil
					})
				}
				mu.Lock()
				if err != nil && ctx.Err() == nil {
					failed = err
				}
				done++
				mu.Unlock()
			}
		})
	}
	progress := func(what string) {
		mu.Lock()
		before := done
		mu.Unlock()
		eventually(t, "clients go on "+what, func() error {
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				t.Error(what, failed)
				return nil
			}
			if done < before+100 {
				return fmt.Errorf("%d calls", done-before)
			}
			return nil
		})
	}
	progress("at first")
	before := s.serials(t)
	s.run(t, "scripts/renew-tls")
	eventually(t, "all nodes have their new certificates", func() error {
		for i, serial := range s.serials(t) {
			if i > 0 && serial == before[i] {
				return errors.New(name(i) + " has the old one")
			}
		}
		return nil
	})
	progress("with new certificates")
	s.docker(t, "kill", "-s", "KILL", s.container(t, victim))
	progress("without " + name(victim))
	s.docker(t, "start", s.container(t, victim))
	eventually(t, name(victim)+" is healthy", func() error {
		_, err := s.try("docker", "exec", s.container(t, victim), "/ndring", "healthcheck")
		return err
	})
	progress("with all nodes")
	stop()
	wg.Wait()
}

// retry repeats a call for as long as a failover may take.
func retry(ctx context.Context, call func() error) (err error) {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if err = call(); err == nil {
			return nil
		}
	}
	return err
}
