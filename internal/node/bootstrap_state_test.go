package node

import (
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/slowtest"
)

// inParallel stops members concurrently.
func inParallel(end func(*member), all ...*member) {
	done := make(chan struct{})
	for _, m := range all {
		go func() {
			defer func() { done <- struct{}{} }()
			end(m)
		}()
	}
	for range all {
		<-done
	}
}

// A cluster restarted with the flags of its bootstrap is the same cluster. When one of the folders is gone, a shard with a second copy has
// all of its arrays.
func TestBootstrapOverAFinishedCluster(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	id := whole(t, all...)
	atHome(t, all...)
	kept := someArrays(100)
	kept.store(t, clusterClient(t, all...))
	inParallel((*member).stop, all...)
	startAll(all)
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	atHome(t, all...)
	kept.readable(t, all...)

	inParallel((*member).kill, all...) // one that stops later than the others may be left with the only copy in the ISR
	all[1].wipe()
	startAll(all)
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	atHome(t, all...)
	if left := kept.leftOf(t, all...); len(left) < len(kept) {
		t.Errorf("with two of three folders, %d of %d arrays are lost", len(kept)-len(left), len(kept))
	}
	serves(t, all...)
}

// Without a majority of the voters' folders there is no cluster, and never a second one.
func TestBootstrapOverOneFolderOfThree(t *testing.T) {
	slowtest.Skip(t)
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	startAll(all)
	id := whole(t, all...)
	inParallel((*member).stop, all...)
	all[0].wipe()
	all[2].wipe()
	startAll(all)
	eventually(t, "the node with the folder says what it misses", all, func() string {
		return lacks(all[1].info()["cluster_waiting_for"], "1 more of the 3 voters to have a majority; missing: ", "n1 (", "n3 (", "with its previous data folder")
	})
	for _, m := range []*member{all[0], all[2]} {
		eventually(t, "the others wait for it", all, func() string {
			return lacks(m.info()["cluster_waiting_for"], "cluster "+id+" to admit it: n2 (", "no leader")
		})
	}
	for _, m := range all {
		t.Logf("%s: %s", m.name, m.readyz())
		if made := strings.Count(m.logged(), "bootstrapping a cluster"); made != 0 {
			t.Errorf("%s has made a cluster:\n%s", m.name, m.logged())
		}
	}
}

func TestBootstrapOverArraysOfAClusterOfOne(t *testing.T) {
	t.Parallel()
	all := gather(t, "n1", "n2", "n3")
	alone, others := all[0], all[1:]
	alone.start()
	id := whole(t, alone)
	kept := someArrays(20)
	kept.store(t, clusterClient(t, alone))
	alone.stop()

	// It joins no other cluster.
	for _, m := range others {
		m.start("--join", seedsOf(others...), "--bootstrap-expect", "2")
	}
	other := whole(t, others...)
	alone.start("--join", seedsOf(others...))
	alone.fails("ndring cannot start", "the data folder belongs to cluster "+id, others[0].seed(), "start this node with an empty folder to join that")
	if again := whole(t, others...); again != other {
		t.Errorf("cluster %s has become %s", other, again)
	}
	alone.start()
	if again := whole(t, alone); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	kept.readable(t, alone)
	alone.stop()

	// It bootstraps no other cluster either: with seeds that do not answer yet it stays what it is, and others may
	// join it.
	inParallel((*member).stop, others...)
	for _, m := range others {
		m.wipe()
	}
	alone.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	if again := whole(t, alone); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	for _, m := range others {
		m.start("--join", seedsOf(all...), "--bootstrap-expect", "3")
	}
	if again := whole(t, all...); again != id {
		t.Errorf("cluster %s has become %s", id, again)
	}
	kept.readable(t, all...)
}
