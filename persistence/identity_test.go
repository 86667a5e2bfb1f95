package persistence

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/uuid"
	"github.com/ndring/ndring/persistence/vfs"
)

// A new folder becomes one of a cluster, for good; one that has data stays what it is.
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
	for range 2 { // written now, then found
		if err := d.Identity().SetCluster(own); !errors.Is(err, ErrHasData) || d.Identity().Cluster() != other || !d.Identity().HasData() {
			t.Errorf("%v, cluster %v, data %v", err, d.Identity().Cluster(), d.Identity().HasData())
		}
		if err := d.Identity().SetCluster(other); err != nil { // which it has
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

// A start that came to nothing does not fix the number of shards; arrays do, and so does having been a member.
func TestWhatFixesTheNumberOfShards(t *testing.T) {
	for name, tc := range map[string]struct {
		do     func(*Disk) error
		fixed  bool
		member bool // as other files tell
	}{
		"nothing":         {func(*Disk) error { return nil }, false, false},
		"another cluster": {func(d *Disk) error { return d.Identity().SetCluster(uuid.UUID{1, 2, 3}) }, false, false},
		"an empty folder": {func(d *Disk) error { return d.fs.Mkdir("data/shards/00003") }, false, false},
		"a record":        {func(d *Disk) error { _, err := d.Log(3).Append([]Record{put(1, "k", "v")}); return err }, true, false},
		"a raft state":    {func(d *Disk) error { return d.Identity().SetRaft(uuid.UUID{4, 5, 6}) }, true, false},
		"one that it has not": {func(d *Disk) error {
			return errors.Join(d.Identity().SetRaft(uuid.UUID{4, 5, 6}), d.Identity().RenewStore())
		}, false, false},
		"a part in a cluster": {func(*Disk) error { return nil }, true, true},
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
		case !fixed && (again.Shards() != options.Shards || (again.Identity().Store() == store) != (name != "one that it has not")):
			t.Errorf("%s: %d shards, store %v, was %v", name, again.Shards(), again.Identity().Store(), store)
		}
	}
}

// Whatever would name the cluster in a file settles the question, even before there is the file; and the folder of a shard without one does not.
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
		d := open(t, mem, fixedOptions2(t, mem))
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

// fixedOptions2 are those of a folder that has been used.
func fixedOptions2(t *testing.T, fs vfs.FS) Options {
	m := nodeManifest{cluster: uuid.UUID{1}, store: uuid.UUID{2}, shards: 16, incarnation: 5, bootID: "boot", clean: true}
	if err := m.write(fs, "data"); err != nil {
		t.Fatal(err)
	}
	return fixedOptions()
}

// An error of the disk changes nothing in memory.
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

// At any loss of power, a file is what it was or what it is to be.
func TestFilesOfOthers(t *testing.T) {
	old, new := []byte("old"), bytes.Repeat([]byte("new "), 1000)
	for moment := range 30 {
		mem := vfs.NewMem()
		var image *vfs.Mem
		saving := -1
		d := open(t, vfs.NewFaulty(mem, func(n int) error {
			if saving >= 0 {
				if saving == moment {
					image = mem.Crash(rand.New(rand.NewPCG(uint64(moment), 1)))
				}
				saving++
			}
			return nil
		}), fixedOptions())
		if _, err := d.Files().Load("claim"); !errors.Is(err, iofs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := d.Files().Save("claim", old); err != nil {
			t.Fatal(err)
		}
		saving = 0
		if err := d.Files().Save("claim", new); err != nil {
			t.Fatal(err)
		}
		if image == nil {
			if moment < 3 {
				t.Fatalf("there were only %d changes", moment)
			}
			again := open(t, mem.Crash(rand.New(rand.NewPCG(1, 1))), fixedOptions())
			if b, err := again.Files().Load("claim"); err != nil || !bytes.Equal(b, new) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			return
		}
		b, err := open(t, image, fixedOptions()).Files().Load("claim")
		if err != nil || !bytes.Equal(b, old) && !bytes.Equal(b, new) {
			t.Fatalf("moment %d: %.20q, %v", moment, b, err)
		}
	}
	t.Fatal("it never ended")
}

func TestNamesAndSizesOfFilesOfOthers(t *testing.T) {
	d := open(t, vfs.NewMem(), fixedOptions())
	for _, name := range []string{"", ".", "..", ".x", "a/b", "../MANIFEST", "x.tmp", "A", "a b", "\x00"} {
		if err := d.Files().Save(name, nil); err == nil {
			t.Errorf("%q is a name", name)
		}
		if _, err := d.Files().Load(name); err == nil || errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	large := make([]byte, MaxFile)
	if err := d.Files().Save("addresses.json", large); err != nil {
		t.Error(err)
	}
	if b, err := d.Files().Load("addresses.json"); err != nil || len(b) != len(large) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if err := d.Files().Save("addresses.json", append(large, 0)); err == nil {
		t.Error("it is too large")
	}
}

// The folders that others have beside the shards are none of this package's business.
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

// Epochs rise within a segment; the headers that follow, and what is read back, know where each began.
func TestEpochsRiseWithinALog(t *testing.T) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	in := func(epoch uint64, r Record) Record {
		r.Epoch = epoch
		return r
	}
	table := func(l *Log, want ...EpochStart) {
		t.Helper()
		if fmt.Sprint(l.epochs) != fmt.Sprint(want) {
			t.Errorf("the table is %v, want %v", l.epochs, want)
		}
	}
	again := func(seq, epoch uint64, want keeper, rows ...EpochStart) {
		t.Helper()
		if damage, err := l.Scrub(func(int64) bool { return true }); err != nil || len(damage) > 0 {
			t.Errorf("scrub: %v, %v", damage, err)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		inspected, err := Inspect(mem, "data", "boot")
		if err != nil {
			t.Fatal(err)
		}
		if report, err := inspected.Reader(3).Read(keeper{}); err != nil || len(report.Damage) > 0 || report.Torn > 0 {
			t.Errorf("check: %v, %+v", err, report)
		}
		if err := inspected.Close(false); err != nil {
			t.Fatal(err)
		}
		d = open(t, mem, fixedOptions())
		l = d.Log(3)
		k, report := recoverShard(t, d, 3)
		k.want(t, want)
		if report.Seq != seq || report.Epoch != epoch || len(report.Damage) > 0 || report.Torn > 0 {
			t.Errorf("%+v, want seq %d of epoch %d", report, seq, epoch)
		}
		table(l, rows...)
	}
	appendAll(t, l, put(1, "a", "seven"))
	appendAll(t, l, in(9, put(2, "b", "nine")), in(9, put(3, "c", "nine")))
	appendAll(t, l, in(12, Record{Type: Flush, Seq: 4}))
	appendAll(t, l, in(12, put(5, "d", "twelve")))
	rows := []EpochStart{{7, 1}, {9, 2}, {12, 4}}
	table(l, rows...)
	want := keeper{"d": "m|twelve|12-5|0"}
	again(5, 12, want, rows...)
	again(5, 12, want, rows...)

	appendAll(t, l, in(13, put(6, "e", "thirteen"))) // in another segment, whose header has the rows before
	rows = append(rows, EpochStart{13, 6})
	want["e"] = "m|thirteen|13-6|0"
	again(6, 13, want, rows...)

	// A snapshot in an epoch that has no record yet.
	snapshot, err := l.BeginSnapshot(15, 6, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{in(12, put(5, "d", "twelve")), in(13, put(6, "e", "thirteen"))} {
		if err := snapshot.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := snapshot.Commit(); err != nil {
		t.Fatal(err)
	}
	rows = append(rows, EpochStart{15, 7})
	again(6, 15, want, rows...)
	appendAll(t, l, in(15, put(7, "f", "fifteen")))
	want["f"] = "m|fifteen|15-7|0"
	again(7, 15, want, rows...)
}

// After a loss of power, the table says nothing of what was cut off.
func TestNoEpochOfWhatWasCutOff(t *testing.T) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	appendAll(t, l, put(1, "a", "kept"))
	if err := l.Sync(l.Position()); err != nil {
		t.Fatal(err)
	}
	lost := put(2, "b", "lost")
	lost.Epoch = 9
	appendAll(t, l, lost)
	for seed := range uint64(20) {
		options := fixedOptions()
		options.BootID = "another"
		again := open(t, mem.Crash(rand.New(rand.NewPCG(seed, 1))), options)
		k, report := recoverShard(t, again, 3)
		if len(again.Log(3).epochs) != len(k) || report.Epoch != []uint64{0, 7, 9}[len(k)] {
			t.Errorf("%v is left, in epoch %d, with the table %v", k, report.Epoch, again.Log(3).epochs)
		}
	}
}
