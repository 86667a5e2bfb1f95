package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/ndring/ndring/cluster"
	"github.com/ndring/ndring/internal/datafolder"
	"github.com/ndring/ndring/internal/slowtest"
)

// recoverOn does what ndctl raft recover does with the folder of a member that does not run.
func recoverOn(t *testing.T, m *member) *datafolder.Recovery {
	t.Helper()
	r, err := datafolder.OpenRecovery(m.folder)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := r.Backup()
	if err == nil {
		err = r.Recover()
	}
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, r.Store(), "raft.db")); err != nil {
		t.Error(err)
	}
	return r
}

// toldOf returns the parts of CLUSTER TOPOLOGY that must be the same on all members.
func (m *member) toldOf() (told struct {
	Cluster, Leader string
	Shards          []map[string]any
}) {
	json.Unmarshal([]byte(m.says("CLUSTER", "TOPOLOGY")), &told) // zero if it does not answer
	return told
}

// Two of three voters are lost for good. The third continues alone with all its arrays; the lost ones are forgotten,
// and new nodes join.
func TestRecoveryOfOneOfThree(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	id := whole(t, all...)
	haveCopies(t, all...)
	kept := someArrays(100)
	kept.store(t, clusterClient(t, all...))
	left, lost := all[0], all[1:]
	if _, err := datafolder.OpenRecovery(left.folder); err == nil || lacks(err.Error(), "another process uses") != "" {
		t.Errorf("the folder of a running node: %v", err)
	}
	for _, m := range lost {
		m.kill()
		m.wipe()
	}
	left.stop()
	r := recoverOn(t, left)
	if r.Cluster != id || len(r.Voters) != 3 || len(r.Topology.Nodes) != 3 || r.Index == 0 || r.Term == 0 {
		t.Errorf("before the recovery it knows cluster %s, %d voters, %d nodes, entry %d of term %d", r.Cluster, len(r.Voters), len(r.Topology.Nodes), r.Index, r.Term)
	}
	if _, err := datafolder.OpenRecovery(left.folder); !errors.Is(err, cluster.ErrOnlyVoter) {
		t.Errorf("a second recovery: %v", err)
	}
	left.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	eventually(t, "it leads", all, func() string {
		return lacks(left.says("CLUSTER", "INFO"), "cluster_quorum:1", "cluster_voters:1\r", "cluster_id:"+id)
	})
	if told := left.toldOf(); told.Leader != left.says("CLUSTER", "MYID") {
		t.Errorf("the leader is %s", told.Leader)
	}
	// A shard whose other copy was on a lost node waits for it: after a recovery no copy is known to have every write.
	if here := kept.ofSlots(t, left); len(here) == len(kept) {
		t.Errorf("all %d arrays are served before the lost nodes are forgotten", len(here))
	}
	for _, m := range lost {
		if reply := left.says("CLUSTER", "FORGET", string(datafolder.NodeID(m.name))); reply != "OK" {
			t.Errorf("FORGET %s: %s", m.name, reply)
		}
	}
	whole(t, left)
	here := kept.ofSlots(t, left)
	if len(here) < len(kept)/2 || len(here) == len(kept) { // of two copies on three nodes, two thirds
		t.Errorf("%d of %d arrays are left", len(here), len(kept))
	}
	here.readable(t, left)
	serves(t, left)
	more := newMember(t, "n4")
	more.start("--join", left.seed())
	if again := whole(t, left, more); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	serves(t, left, more)
	here.readable(t, left, more)
}

// ofSlots returns the arrays that a member serves itself.
func (a arrays) ofSlots(t *testing.T, m *member) arrays {
	t.Helper()
	here := arrays{}
	for key, npy := range a {
		reply, err := m.do("NP.GET", key)
		switch {
		case err == nil && reply != npy:
			t.Errorf("%s has other bytes", key)
		case err == nil:
			here[key] = npy
		case errors.Is(err, redis.Nil): // its shard has begun empty
		case !strings.HasPrefix(err.Error(), "MOVED ") && !strings.HasPrefix(err.Error(), "CLUSTERDOWN "):
			t.Errorf("%s: %v", key, err)
		}
	}
	return here
}

// Three of five voters are lost. Of the two that are left, one is recovered that was down and knows less than the
// other, which runs all the time and adopts the topology of the recovered one.
func TestRecoveryOfTwoOfFive(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3", "n4", "n5")
	startAll(all)
	id := whole(t, all...)
	kept := someArrays(100)
	kept.store(t, clusterClient(t, all...))
	behind, left, lost := all[0], all[1], all[2:]
	behind.stop()
	eventually(t, "n1 is known to be down", all, func() string { return lacks(left.says("CLUSTER", "INFO"), "cluster_nodes_down_names:n1") })
	away := lost[0] // its restart is decided without n1
	away.stop()
	away.start("--join", seedsOf(all...), "--bootstrap-expect", "5")
	eventually(t, "n3 is back", all, func() string {
		return lacks(away.says("CLUSTER", "INFO"), "cluster_waiting_for:\r", "cluster_quorum:1")
	})
	for _, m := range lost {
		m.kill()
		m.wipe()
	}
	eventually(t, "there is no quorum", all, func() string { return lacks(left.says("CLUSTER", "INFO"), "cluster_quorum:0") })
	recoverOn(t, behind)
	behind.start("--join", seedsOf(all...), "--bootstrap-expect", "5")
	eventually(t, "n1 leads n2", all, func() string {
		return lacks(left.says("CLUSTER", "INFO"), "cluster_quorum:1", "cluster_leader:"+string(datafolder.NodeID("n1")), "cluster_waiting_for:\r", "cluster_id:"+id)
	})
	for _, m := range lost {
		eventually(t, m.name+" is forgotten", all, func() string {
			if reply := left.says("CLUSTER", "FORGET", string(datafolder.NodeID(m.name))); reply != "OK" && lacks(reply, "Unknown node") != "" {
				return reply
			}
			return ""
		})
	}
	if again := whole(t, behind, left); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	eventually(t, "both know the same", all, func() string {
		if a, b := behind.toldOf(), left.toldOf(); a.Cluster == "" || !reflect.DeepEqual(a, b) {
			return "they differ"
		}
		return ""
	})
	for _, m := range []*member{behind, left} {
		if here := kept.ofSlots(t, m); len(here) == 0 {
			t.Errorf("%s has none of its arrays", m.name)
		}
	}
	kept.leftOf(t, behind, left).readable(t, behind, left)
	serves(t, behind, left)

	// Both survive a stop, now with logs that begin with the recovery.
	for _, m := range []*member{behind, left} {
		m.stop()
	}
	for _, m := range []*member{left, behind} {
		m.start("--join", seedsOf(behind, left))
	}
	whole(t, behind, left)
	serves(t, behind, left)
}

// The two nodes believed lost were only stopped for a while, like a machine that hangs: they are a majority, and come
// back with everything. The recovered node prevails, and no array is lost.
func TestRecoveryWhenTheOthersComeBack(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	id := whole(t, all...)
	haveCopies(t, all...)
	kept := someArrays(100)
	kept.store(t, clusterClient(t, all...))
	left, others := all[0], all[1:]
	left.stop()
	eventually(t, "the others are a majority", all, func() string {
		return lacks(others[0].says("CLUSTER", "INFO"), "cluster_quorum:1", "cluster_nodes_down_names:n1")
	})
	signal := func(s syscall.Signal) {
		for _, m := range others {
			if err := m.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { signal(syscall.SIGCONT) })
	recoverOn(t, left)
	left.start("--join", seedsOf(all...))
	// Its shards wait for the copies on the two others, one of which may have more.
	eventually(t, "the recovered one leads", all, func() string { return lacks(left.says("CLUSTER", "INFO"), "cluster_quorum:1") })
	left.decides("CLUSTER", "CONFIG", "SET", "timeout", "77")
	signal(syscall.SIGCONT)
	sameSetting(t, all, "timeout", "77")
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	eventually(t, "all know the same", all, func() string {
		if a := all[0].toldOf(); a.Cluster == "" || !reflect.DeepEqual(a, all[1].toldOf()) || !reflect.DeepEqual(a, all[2].toldOf()) {
			return "they differ"
		}
		return ""
	})
	kept.readable(t, all...)
	serves(t, all...)
}

func TestRecoveryRefuses(t *testing.T) {
	t.Parallel()
	single := newMember(t, "single")
	single.start()
	whole(t, single)
	single.stop()
	for _, tc := range []struct{ name, dir, want string }{
		{"no folder", filepath.Join(t.TempDir(), "none"), "cannot use the data folder"},
		{"no data folder", t.TempDir(), "cannot use the data folder"},
		{"a cluster of one", single.folder, cluster.ErrOnlyVoter.Error()},
	} {
		if r, err := datafolder.OpenRecovery(tc.dir); err == nil || lacks(err.Error(), tc.want) != "" {
			t.Errorf("%s: %v %v", tc.name, r, err)
		}
	}
	logs, err := filepath.Glob(filepath.Join(single.folder, datafolder.Raft, "*", "raft.db"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	for _, gone := range []string{logs[0], filepath.Join(single.folder, datafolder.Raft)} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		if _, err := datafolder.OpenRecovery(single.folder); !errors.Is(err, cluster.ErrNoRaft) {
			t.Errorf("without %s: %v", gone, err)
		}
		if _, err := os.Stat(gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was created by reading: %v", gone, err)
		}
	}
}

// The user who recovers a node may differ from the user who runs it; only the superuser can do so.
func TestRecoveryKeepsTheOwner(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	whole(t, all...)
	for _, m := range all {
		m.stop()
	}
	owner := os.Geteuid()
	if owner == 0 {
		owner = 65532
	}
	each := func(do func(path string, owner int) error) {
		t.Helper()
		err := filepath.WalkDir(all[0].folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			return do(path, int(info.Sys().(*syscall.Stat_t).Uid))
		})
		if err != nil {
			t.Error(err)
		}
	}
	each(func(path string, _ int) error { return os.Lchown(path, owner, -1) })
	recoverOn(t, all[0])
	each(func(path string, is int) error {
		if is != owner {
			return fmt.Errorf("%s is of %d, want %d", path, is, owner)
		}
		return nil
	})
}
