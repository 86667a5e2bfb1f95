package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/slowtest"
)

// rejoinOn does what ndctl raft rejoin does to the folder of a stopped member.
func rejoinOn(t *testing.T, m *member) *datafolder.Rejoin {
	t.Helper()
	r, err := datafolder.OpenRejoin(m.folder)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := r.Apply(r.Alone)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	return r
}

func (m *member) raftFile() string {
	m.t.Helper()
	found, err := filepath.Glob(filepath.Join(m.folder, datafolder.Raft, "*", "raft.db"))
	if err != nil || len(found) != 1 {
		m.t.Fatal(found, err)
	}
	return found[0]
}

// saysLost starts a member that has lost raft's files, and checks its error.
func (m *member) saysLost(what string, args ...string) {
	m.t.Helper()
	m.start(args...)
	m.fails("ndring cannot start", what, "this node has lost its raft votes", "ndctl raft rejoin --dir "+m.folder)
}

// A voter that loses its log does not start. As another server it comes back with its arrays.
func TestMemberWithoutItsLogRejoins(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	id := whole(t, all...)
	kept := someArrays(60)
	kept.store(t, clusterClient(t, all...))
	all[0].decides("CLUSTER", "CONFIG", "SET", "timeout", "77")
	sameSetting(t, all, "timeout", "77")
	loser := all[1]
	if r, err := datafolder.OpenRejoin(loser.folder); err == nil {
		t.Errorf("the folder of a running node: %v", r)
	}
	loser.kill()
	if _, err := datafolder.OpenRejoin(loser.folder); !errors.Is(err, cluster.ErrRaftIntact) {
		t.Errorf("an intact folder: %v", err)
	}
	file := loser.raftFile()
	if err := os.Truncate(file, 2*int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	loser.saysLost(file, "--join", seedsOf(all...))
	if r := rejoinOn(t, loser); r.Cluster != id || r.Alone || r.Unknown {
		t.Errorf("it rejoins cluster %s: alone %v, unknown %v", r.Cluster, r.Alone, r.Unknown)
	}
	loser.start("--join", seedsOf(all...))
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	kept.readable(t, all...)
	sameSetting(t, all, "timeout", "77")
	eventually(t, "it votes again", all, func() string { return lacks(all[0].says("CLUSTER", "INFO"), "cluster_voters:3") })
	serves(t, all...)

	// Only the shards and their manifest are left: the node does not pass for a cluster of one.
	loser.kill()
	for _, gone := range []string{datafolder.Raft, "cluster"} {
		if err := os.RemoveAll(filepath.Join(loser.folder, gone)); err != nil {
			t.Fatal(err)
		}
	}
	loser.saysLost("is missing")
}

// A lone node that loses its log has lost the settings of its cluster, and says so. It makes the cluster again around
// its arrays.
func TestLoneNodeWithoutItsLogRejoins(t *testing.T) {
	t.Parallel()
	m := newMember(t, "single")
	m.start()
	id := whole(t, m)
	kept := someArrays(20)
	kept.store(t, clusterClient(t, m))
	m.decides("CLUSTER", "CONFIG", "SET", "timeout", "77")
	m.stop()
	file := m.raftFile()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	m.saysLost(file + " is missing")
	if r := rejoinOn(t, m); !r.Alone {
		t.Error("a cluster of one counts as one of several")
	}
	m.start()
	if again := whole(t, m); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	kept.readable(t, m)
	if logged := m.logged(); lacks(logged, "without its settings") != "" {
		t.Errorf("it does not say that its settings are lost:\n%s", logged)
	}
	m.stop()
	m.start() // now it continues as a cluster of one
	whole(t, m)
	kept.readable(t, m)
	if logged := m.logged(); lacks(logged, "without its settings") == "" {
		t.Errorf("it makes its cluster again each time:\n%s", logged)
	}
}

// The node's id and its place in the cluster are known although their files are lost.
func TestMemberWithoutItsIdentityFiles(t *testing.T) {
	t.Parallel()
	m := newMember(t, "single")
	m.start()
	id := whole(t, m)
	node := m.says("CLUSTER", "MYID")
	kept := someArrays(20)
	kept.store(t, clusterClient(t, m))
	for _, name := range []string{"identity.json", "node-id"} {
		m.stop()
		if err := os.Truncate(filepath.Join(m.folder, "cluster", name), 0); err != nil {
			t.Fatal(err)
		}
		m.start("--join", "127.0.0.1:9") // otherwise it would look for a cluster
		if again := whole(t, m); again != id || m.says("CLUSTER", "MYID") != node {
			t.Errorf("without %s: cluster %s has become %s, node %s %s", name, id, again, node, m.says("CLUSTER", "MYID"))
		}
	}
	kept.readable(t, m)
}
