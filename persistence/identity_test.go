package persistence

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// A new folder joins a cluster for good; a folder with data refuses another cluster.
func TestAFolderJoinsOneCluster(t *testing.T) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	own, other := d.Identity().Cluster(), uuid.UUID{1, 2, 3}
	if !d.Identity().Fresh() || d.Identity().HasData() || own == (uuid.UUID{}) || d.Identity().Store() == own || d.Dir() != "data" {
		t.Errorf("fresh %v, data %v, cluster %v, store %v, dir %q", d.Identity().Fresh(), d.Identity().HasData(), own, d.Identity().Store(), d.Dir())
	}
	if err := d.Identity().SetCluster(other); err != nil || d.Identity().Cluster() != other {
		t.Fatalf("%v, cluster %v", err, d.Identity().Cluster())
	}
	store := d.Identity().Store()
	d = open(t, mem.Crash(rand.New(rand.NewPCG(1, 1))), fixedOptions()) // it was durable when SetCluster returned
	if d.Identity().Fresh() || d.Identity().Cluster() != other || d.Identity().Store() != store || d.Identity().HasData() {
		t.Errorf("fresh %v, cluster %v, store %v, data %v", d.Identity().Fresh(), d.Identity().Cluster(), d.Identity().Store(), d.Identity().HasData())
	}
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(1, "k", "v"))
	for range 2 { // data of this run, then of the last one
		if err := d.Identity().SetCluster(own); !errors.Is(err, ErrHasData) || d.Identity().Cluster() != other || !d.Identity().HasData() {
			t.Errorf("%v, cluster %v, data %v", err, d.Identity().Cluster(), d.Identity().HasData())
		}
		if err := d.Identity().SetCluster(other); err != nil { // its own cluster
			t.Error(err)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		d = open(t, d.fs, fixedOptions())
	}
	k, report := recoverShard(t, d, 3)
	k.want(t, keeper{"k": "m|v|7-1|0"})
	if len(report.Damage) > 0 {
		t.Error(report.Damage)
	}
}

// Records and membership of a cluster fix the number of shards; a start that came to neither does
// not.
func TestWhatFixesTheNumberOfShards(t *testing.T) {
	for name, tc := range map[string]struct {
		do     func(*Disk) error
		fixed  bool
		member bool // as files outside the manifest say
	}{
		"nothing":         {func(*Disk) error { return nil }, false, false},
		"another cluster": {func(d *Disk) error { return d.Identity().SetCluster(uuid.UUID{1, 2, 3}) }, false, false},
		"an empty folder": {func(d *Disk) error { return d.fs.Mkdir("data/shards/00003") }, false, false},
		"a record":        {func(d *Disk) error { _, err := d.Log(3).Append([]Record{put(1, "k", "v")}); return err }, true, false},
		"a raft state":    {func(d *Disk) error { return d.Identity().SetRaftState(uuid.UUID{4, 5, 6}) }, true, false},
		"a renewed store": {func(d *Disk) error {
			return errors.Join(d.Identity().SetRaftState(uuid.UUID{4, 5, 6}), d.Identity().RenewStore())
		}, false, false},
		"membership": {func(*Disk) error { return nil }, true, true},
	} {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		recoverShard(t, d, 3)
		store := d.Identity().Store()
		if err := errors.Join(tc.do(d), d.Close(false)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		options := fixedOptions()
		options.Shards *= 2
		options.IsMember = func(*Disk) bool { return tc.member }
		again, err := OpenDisk(mem, "data", options)
		switch fixed := err != nil && strings.Contains(err.Error(), "their number is fixed when a cluster is made"); {
		case fixed != tc.fixed || !fixed && err != nil:
			t.Errorf("%s: %v", name, err)
		case !fixed && (again.Shards() != options.Shards || (again.Identity().Store() == store) != (name != "a renewed store")):
			t.Errorf("%s: %d shards, store %v, was %v", name, again.Shards(), again.Identity().Store(), store)
		}
	}
}

// Anything that would put the cluster id into a file counts as data, even before the file exists.
// An empty folder of a shard does not.
func TestWhatCountsAsData(t *testing.T) {
	for name, do := range map[string]func(*Log) error{
		"record":   func(l *Log) error { _, err := l.Append([]Record{put(1, "k", "v")}); return err },
		"blob":     func(l *Log) error { _, err := l.Stage([][]byte{[]byte("large")}); return err },
		"snapshot": func(l *Log) error { _, err := l.BeginSnapshot(7, 0, nil); return err },
	} {
		mem := vfs.NewMem()
		if err := mem.Mkdir("data/shards/00003"); err != nil {
			t.Fatal(err)
		}
		d := open(t, mem, usedFolder(t, mem))
		recoverShard(t, d, 3)
		if d.Identity().HasData() {
			t.Fatal("an empty folder counts as data")
		}
		if err := do(d.Log(3)); err != nil {
			t.Fatal(err)
		}
		if err := d.Identity().SetCluster(uuid.UUID{9}); !errors.Is(err, ErrHasData) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// usedFolder writes the manifest of a folder that has been used, and returns the options to open it.
func usedFolder(t *testing.T, fs vfs.FS) Options {
	m := nodeManifest{cluster: uuid.UUID{1}, store: uuid.UUID{2}, shards: 16, incarnation: 5, bootID: "boot", clean: true}
	if err := m.write(fs, "data"); err != nil {
		t.Fatal(err)
	}
	return fixedOptions()
}

// A disk error leaves the cluster in memory unchanged.
func TestSetClusterFails(t *testing.T) {
	mem := vfs.NewMem()
	broken := false
	d := open(t, vfs.NewFaulty(mem, func(int) error {
		if broken {
			return errors.New("broken")
		}
		return nil
	}), fixedOptions())
	own := d.Identity().Cluster()
	broken = true
	if err := d.Identity().SetCluster(uuid.UUID{1}); err == nil || d.Identity().Cluster() != own {
		t.Errorf("%v, cluster %v", err, d.Identity().Cluster())
	}
	broken = false
	if err := d.Identity().SetCluster(uuid.UUID{1}); err != nil || d.Identity().Cluster() != (uuid.UUID{1}) {
		t.Errorf("%v, cluster %v", err, d.Identity().Cluster())
	}
}

// Recovery and RebuildManifest leave the folders beside the shards alone.
func TestOtherFoldersAreLeftAlone(t *testing.T) {
	mem, want := goldenDisk(t)
	d := open(t, mem, fixedOptions())
	if err := d.Files().Save("identity", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := mem.Mkdir("data/raft/snapshots"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(mem, "data/raft/raft.db", []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	if err := mem.Remove("data/MANIFEST"); err != nil {
		t.Fatal(err)
	}
	if err := RebuildManifest(mem, "data", 16, "boot"); err != nil {
		t.Fatal(err)
	}
	inspected, err := Inspect(mem, "data", "boot")
	if err != nil {
		t.Fatal(err)
	}
	k := keeper{}
	report, err := inspected.Reader(3).Read(k)
	if err != nil || len(report.Damage) > 0 {
		t.Fatal(err, report)
	}
	k.want(t, want)
	if err := inspected.Close(false); err != nil {
		t.Fatal(err)
	}
	options := fixedOptions()
	options.KeepAll = true
	d = open(t, mem, options)
	recoverShard(t, d, 3)
	for name, want := range map[string]string{"data/cluster/identity": "x", "data/raft/raft.db": "not ours"} {
		if b, err := vfs.ReadFile(mem, name, 100); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
