package node

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/certs"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/protocol"
)

// busSet issues certificates for the bus of nodes.
type busSet struct {
	t       *testing.T
	dir     string
	ca      *certs.Authority
	cluster string
}

func newBusSet(t *testing.T) *busSet {
	t.Helper()
	ca, err := certs.NewAuthority("test", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return &busSet{t, t.TempDir(), ca, uuid.New().String()}
}

// flags issues a certificate, and returns the flags with which a node has it.
func (s *busSet) flags(file string, subject string, uris ...string) []string {
	s.t.Helper()
	r := certs.Request{Name: subject, From: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
	for _, text := range uris {
		uri, err := url.Parse(text)
		if err != nil {
			s.t.Fatal(err)
		}
		r.URIs = append(r.URIs, uri)
	}
	pair, err := s.ca.Issue(r)
	if err != nil {
		s.t.Fatal(err)
	}
	own, err := s.ca.PEM()
	if err != nil {
		s.t.Fatal(err)
	}
	at := func(end string) string { return filepath.Join(s.dir, file+end) }
	for name, content := range map[string][]byte{at(".crt"): pair.Cert, at(".key"): pair.Key, at(".ca"): own.Cert} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return []string{"--bus-tls-cert", at(".crt"), "--bus-tls-key", at(".key"), "--bus-tls-ca", at(".ca")}
}

// node returns the flags of a node of the set's cluster.
func (s *busSet) node(name string) []string {
	return s.flags(name, name, certs.Name{Cluster: s.cluster, Node: string(datafolder.NodeID(name))}.URI().String())
}

// begin starts a node that logs into a buffer, and waits for nothing.
func begin(t *testing.T, args ...string) (n *Node, logged *locked, err error) {
	t.Helper()
	config, err := ParseConfig(append([]string{"--port", "0", "--http-port", "0", "--shards", "16"}, args...), environment(), "test")
	if err != nil {
		t.Fatal(err)
	}
	config.Cluster.timing = calm
	logged = &locked{w: new(bytes.Buffer)}
	n = New(*config, slog.New(slog.NewTextHandler(logged, nil)), new(slog.LevelVar))
	if err := n.Start(t.Context()); err != nil {
		return nil, logged, err
	}
	t.Cleanup(func() { closeWithin(t, n) })
	return n, logged, nil
}

// readyAll waits until nodes are members.
func readyAll(t *testing.T, nodes ...*Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clusterTime)
	defer cancel()
	for _, n := range nodes {
		if err := n.Ready(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// soon waits for a condition.
func soon(t *testing.T, what string, is func() bool, logs ...*locked) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, l := range logs {
				t.Log(l.String())
			}
			t.Fatalf("never: %s", what)
		}
	}
}

func TestBusTLSRefusesAtTheStart(t *testing.T) {
	t.Parallel()
	s := newBusSet(t)
	id, other := string(datafolder.NodeID("a")), string(datafolder.NodeID("b"))
	dir := filepath.Join(t.TempDir(), "d")
	n, _, err := begin(t, append(s.node("a"), "--dir", dir)...) // --node-id and cluster id are those of the certificate
	if err != nil {
		t.Fatal(err)
	}
	readyAll(t, n)
	if n.config.NodeID != "a" || string(n.id) != id || n.cluster.ID() != s.cluster {
		t.Errorf("%s %s of %s", n.config.NodeID, n.id, n.cluster.ID())
	}
	closeWithin(t, n)
	foreign := certs.Name{Cluster: uuid.New().String(), Node: id}.URI().String()
	for _, tc := range []struct {
		what  string
		flags []string
		want  []string
	}{
		{"of another node", append(s.node("b"), "--node-id", "a"), []string{"this node is a (" + id[:8], "is for node b (" + other[:8]}},
		{"of another node than the folder's", s.node("b"), []string{"this node is " + id, "is for node b (" + other[:8]}},
		{"of another cluster than the folder's", s.flags("c", "a", foreign), []string{"the data folder belongs to cluster " + s.cluster, "is for cluster " + foreign[len("ndring://cluster/"):][:32]}},
		{"without a name", s.flags("d", "a"), []string{"names no node", "ndctl certs node"}},
		{"without a cluster", s.flags("e", "a", "ndring://node/"+id), []string{"does not have the form"}},
		{"of several clusters", append(s.flags("f", "a", foreign, certs.Name{Cluster: s.cluster, Node: id}.URI().String()), "--node-id", "a"), []string{"in several clusters"}},
		{"missing", []string{"--bus-tls-cert", "no.crt", "--bus-tls-key", "no.key", "--bus-tls-ca", "no.ca"}, []string{"no.crt", "--bus-tls-cert"}},
	} {
		_, _, err := begin(t, append(tc.flags, "--dir", dir)...)
		if err == nil || lacks(err.Error(), tc.want...) != "" {
			t.Errorf("a certificate %s: %v", tc.what, err)
		}
	}
}

// Nodes bootstrap the cluster that their certificates name. A process that cannot prove that it is a node of that cluster stays outside, and both sides log why.
func TestBusTLSStrangers(t *testing.T) {
	t.Parallel()
	s := newBusSet(t)
	first, log1, err := begin(t, append(s.node("a"), "--dir=", "--node-id", "a", "--bootstrap-expect", "2", "--join", "127.0.0.1:9")...)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := begin(t, append(s.node("b"), "--dir=", "--node-id", "b", "--bootstrap-expect", "2", "--join", first.GossipAddr())...)
	if err != nil {
		t.Fatal(err)
	}
	readyAll(t, first, second)
	if first.cluster.ID() != s.cluster || second.cluster.ID() != s.cluster {
		t.Errorf("the cluster is %s, the certificates name %s", first.cluster.ID(), s.cluster)
	}
	stranger := newBusSet(t)
	stranger.cluster = s.cluster
	elsewhere := *s
	elsewhere.cluster = uuid.New().String()
	for _, tc := range []struct {
		what       string
		flags      []string
		says, said string
	}{
		{"plain", []string{"--node-id", "plain"}, "only one side speaks TLS", "only one side speaks TLS"},
		{"another CA", append(stranger.node("c"), "--node-id", "c"), "unknown authority", "TLS with"},
		{"another cluster", append(elsewhere.node("d"), "--node-id", "d"), "is for cluster " + elsewhere.cluster + ", not for cluster " + s.cluster, ""},
	} {
		n, logged, err := begin(t, append(tc.flags, "--dir=", "--join", first.GossipAddr())...)
		if err != nil {
			t.Errorf("%s: %v", tc.what, err)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err = n.Ready(ctx)
		cancel()
		if err == nil || !strings.Contains(logged.String()+err.Error(), tc.says) || !strings.Contains(log1.String(), tc.said) {
			t.Errorf("%s: %v\n%s\nthe member says\n%s", tc.what, err, logged.String(), log1.String())
		}
		if len(first.Topology().Nodes) != 2 {
			t.Errorf("%s became a member", tc.what)
		}
	}
}

// Removal revokes a certificate, until an operator lets the node come back.
func TestBusTLSRemovedNode(t *testing.T) {
	t.Parallel()
	s := newBusSet(t)
	dir := filepath.Join(t.TempDir(), "b")
	first, log1, err := begin(t, append(s.node("a"), "--dir=", "--node-id", "a")...)
	if err != nil {
		t.Fatal(err)
	}
	readyAll(t, first)
	join := append(s.node("b"), "--dir", dir, "--node-id", "b", "--join", first.GossipAddr())
	second, _, err := begin(t, join...)
	if err != nil {
		t.Fatal(err)
	}
	readyAll(t, second)
	if err := second.cluster.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, "the node has left", func() bool { return len(first.Topology().Nodes) == 1 })
	soon(t, "it knows", func() bool { return strings.Contains(second.view.Status().Waiting, "its certificate counts no more") })
	soon(t, "its connections are closed", func() bool { return len(first.bus.Links()) == 0 }, log1)
	closeWithin(t, second)

	for _, folder := range []string{dir, filepath.Join(t.TempDir(), "new")} {
		again, logged, err := begin(t, append(slices.Clone(join), "--dir", folder)...)
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "it is refused, and says so", func() bool {
			return strings.Contains(logged.String()+again.view.Status().Waiting, "the node was removed from the cluster")
		}, logged)
		soon(t, "the other says so too", func() bool { return strings.Contains(log1.String(), "the node was removed from the cluster") })
		if topo := again.cluster.Topology(); folder != dir && topo.Cluster != "" || len(first.Topology().Nodes) != 1 {
			t.Errorf("it got the topology %+v", topo)
		}
		if folder == dir {
			closeWithin(t, again)
			continue
		}
		if err := (&clientHost{effective: first.effective}).ChangeSettings([]protocol.Setting{{Name: "readmit", Value: "c,b"}}); err != nil {
			t.Fatal(err)
		}
		readyAll(t, again)
	}
}
