package cluster

import (
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/uuid"
)

// A node whose certificate names a cluster bootstraps that one, alone or with others, and belongs to no other.
func TestOnlyCluster(t *testing.T) {
	t.Parallel()
	ours, theirs := uuid.New().String(), uuid.New().String()
	of := func(cluster string) func(testing.TB, Config) Config {
		return func(t testing.TB, c Config) Config {
			c = onDisk(t, c)
			c.OnlyCluster = cluster
			return c
		}
	}
	nw := newNetwork()
	alone := nw.start(t, of(ours)(t, testConfig(t, "x", 0)))
	ready(t, alone)
	nodes, configs := bootstrap(t, newNetwork(), 2, of(ours))
	for _, n := range append(nodes, alone) {
		if n.ID() != ours {
			t.Errorf("%s belongs to %s, not to %s", n.self.Name, n.ID(), ours)
		}
	}

	other := nw.start(t, of(theirs)(t, testConfig(t, "y", 0, alone.seed())))
	if err := other.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "is for cluster "+theirs+", not for cluster "+ours) {
		t.Errorf("a node with the certificate of another cluster: %v", err)
	}

	moved := configs[0]
	moved.OnlyCluster = theirs
	n := &testNode{t: t, network: nw}
	n.Cluster = New(moved, n, n)
	if err := n.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "the data folder belongs to another cluster") {
		t.Errorf("a folder of another cluster: %v", err)
	}
}

func TestBootstrapOfDifferentCertificates(t *testing.T) {
	t.Parallel()
	nw := newNetwork()
	var nodes []*testNode
	var seeds []string
	for _, name := range []string{"a", "b"} {
		config := onDisk(t, testConfig(t, name, 2, seeds...))
		config.OnlyCluster = uuid.New().String()
		nodes = append(nodes, nw.start(t, config))
		seeds = append(seeds, nodes[len(nodes)-1].seed())
	}
	eventually(t, "one of them says why they do not form a cluster", func() bool {
		return strings.Contains(nodes[0].Waiting()+nodes[1].Waiting(), "has a certificate for cluster ")
	})
	if nodes[0].ID() != "" || nodes[1].ID() != "" {
		t.Error("they have formed a cluster")
	}
}

// All claims are for the same cluster id then, so that a node must ask whether the cluster was formed by its claim, and not by a later one.
func TestAClaimThatFormedNothing(t *testing.T) {
	t.Parallel()
	id := uuid.New().String()
	b := &bootstrapper{identity: &identityStore{files: &memoryFiles{}}, membership: &membership{only: id}}
	is, was := claim{Coordinator: testID(1), Round: 2, Cluster: id, Members: []string{"a", "b"}}, claim{Coordinator: testID(1), Round: 1, Cluster: id, Members: []string{"a", "c"}}
	b.identity.load(identity{Cluster: id, Claim: &is})
	if r := b.answerQuestion(is); r.Cluster != id || !r.Holds {
		t.Errorf("about the claim that formed the cluster: %+v", r)
	}
	if r := b.answerQuestion(was); r.Holds {
		t.Errorf("about an earlier claim: %+v", r)
	}
}
