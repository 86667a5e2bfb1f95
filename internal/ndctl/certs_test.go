package ndctl

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/certs"
	"github.com/ndring/ndring/internal/datafolder"
)

func TestCertsMakesASet(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "below", "certs")
	run := func(args ...string) result {
		return runWith(t, nil, "", append([]string{"certs"}, append(args, "--out", dir)...)...)
	}
	must := func(args ...string) result {
		t.Helper()
		r := run(args...)
		if r.code != exitOK {
			t.Fatalf("%v: %+v", args, r)
		}
		return r
	}
	const id = "92bc6c447f52f0270eee816809685500"
	made := must("init", "--cluster-id", id, "--node", "n1=10.0.0.1,n1.example", "--node", "n2")
	if !matches(made.out, "--node-id NAME --gossip-key-file F/gossip.key --bus-tls-cert F/bus.crt --bus-tls-key F/bus.key --bus-tls-ca F/ca.crt", id) {
		t.Error(made.out)
	}
	must("node", "n3", "--host", "10.0.0.3,n3.example", "--days", "10")
	must("client", "me")

	for name, hosts := range map[string][]string{"n1": {"10.0.0.1", "n1.example", "localhost", "127.0.0.1", "::1"}, "n2": {"n2"}, "n3": {"n3.example"}} {
		ours, bus := load(t, dir, name, "tls"), load(t, dir, name, "bus")
		for _, host := range hosts {
			verify(t, dir, ours, host)
		}
		verify(t, dir, bus, "")
		if len(ours.URIs) != 0 || len(bus.DNSNames)+len(bus.IPAddresses) != 0 {
			t.Errorf("%s: %v %v", name, ours.URIs, bus.DNSNames)
		}
		if all, err := certs.Names(bus); err != nil || len(all) != 1 || all[0] != (certs.Name{Cluster: id, Node: string(datafolder.NodeID(name))}) {
			t.Errorf("%s: %v %v", name, all, err)
		}
	}
	if me := load(t, dir, "me", "tls"); len(me.URIs) != 0 || me.Subject.CommonName != "me" {
		t.Errorf("a client can be taken for a node: %v", me.URIs)
	}
	secret(t, dir)
	key := readFile(t, filepath.Join(dir, "gossip.key"))
	if readFile(t, filepath.Join(dir, "n3", "gossip.key")) != key || len(strings.TrimSpace(key)) != 64 {
		t.Errorf("the gossip key %q", key)
	}
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"init", exitFailure, "is not empty"}, {"node n1", exitFailure, "exists: ndctl certs renew n1"}, {"client n1", exitFailure, "exists"},
		{"node ca", exitUsage, "cannot be the name"}, {"node ../n9", exitUsage, "cannot be the name"}, {"node n9 --host a/b", exitUsage, "neither a name nor an IP address"},
		{"node n9 --days 0", exitUsage, "--days"}, {"node n9 --days 3650", exitFailure, "the CA of"}, {"renew n9", exitFailure, `has no folder "n9"; there are me, n1, n2, n3`},
		{"node", exitUsage, "certs node takes NAME"}, {"renew --days 0", exitUsage, "--days"},
	} {
		if r := run(strings.Fields(tc.args)...); r.code != tc.code || !strings.Contains(r.err, tc.want) {
			t.Errorf("%s: %+v", tc.args, r)
		}
	}
	if readFile(t, filepath.Join(dir, "gossip.key")) != key {
		t.Error("the gossip key was replaced")
	}
}

func TestCertsRenewAndShow(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "certs")
	run := func(args ...string) result {
		return runWith(t, nil, "", append([]string{"certs"}, append(args, "--out", dir)...)...)
	}
	if r := run("show"); r.code != exitFailure || !strings.Contains(r.err, "ndctl certs init") {
		t.Error(r)
	}
	for _, args := range []string{"init --node n1=10.0.0.1 --days 20", "client me"} {
		if r := run(strings.Fields(args)...); r.code != exitOK {
			t.Fatal(r)
		}
	}
	for _, tc := range []struct {
		warn string
		code int
		want []string
	}{{"5", exitOK, nil}, {"25", exitFailure, []string{"n1/tls.crt", "n1/bus.crt", "!me/tls.crt"}}, {"500", exitFailure, []string{"me/tls.crt"}}} {
		if r := run("show", "--warn", tc.warn); r.code != tc.code || !matches(r.err, tc.want...) {
			t.Errorf("--warn %s: %+v", tc.warn, r)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "n1", "bus.crt"), 0o640); err != nil {
		t.Fatal(err)
	}
	before := map[string]*x509.Certificate{"tls": load(t, dir, "n1", "tls"), "bus": load(t, dir, "n1", "bus")}
	other := load(t, dir, "me", "tls")
	if r := run("renew", "n1"); r.code != exitOK {
		t.Fatal(r)
	}
	for kind, was := range before {
		is := load(t, dir, "n1", kind)
		if is.Equal(was) || strings.Join(hostsOf(is), ",") != strings.Join(hostsOf(was), ",") || len(is.URIs) != len(was.URIs) ||
			is.NotAfter.Sub(is.NotBefore).Round(24*time.Hour) != was.NotAfter.Sub(was.NotBefore).Round(24*time.Hour) {
			t.Errorf("%s: %v became %v", kind, was, is)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "n1", "bus.crt")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the permissions were not kept: %v %v", info, err)
	}
	if !load(t, dir, "me", "tls").Equal(other) {
		t.Error("the client was renewed too")
	}
	if r := run("renew", "--days", "100"); r.code != exitOK || daysLeft(load(t, dir, "me", "tls").NotAfter, time.Now()) != 99 {
		t.Error(r)
	}
	if err := os.Remove(filepath.Join(dir, "ca", "ca.key")); err != nil {
		t.Fatal(err)
	}
	r := run("show", "--json")
	var all certReports
	if err := json.Unmarshal([]byte(r.out), &all); err != nil || len(all) != 4 || all[3].Use != "bus" || len(all[3].Node) != 40 || all[0].Use != "ca" || r.code != exitOK {
		t.Errorf("%v: %+v", err, r)
	}
	if r := run("renew"); r.code != exitFailure || !strings.Contains(r.err, "the key of the CA is needed") {
		t.Error(r)
	}
}

// load reads a certificate of a set, and checks that its key fits.
func load(t *testing.T, dir, name, kind string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name, kind+".crt"), filepath.Join(dir, name, kind+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func verify(t *testing.T, dir string, cert *x509.Certificate, host string) {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(readFile(t, filepath.Join(dir, "n1", "ca.crt")))) {
		t.Fatal("no CA")
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: host}); err != nil {
		t.Errorf("%s for %s: %v", cert.Subject, host, err)
	}
}

// secret checks that only its owner reads a folder.
func secret(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the permissions %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
