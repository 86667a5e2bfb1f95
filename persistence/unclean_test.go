package persistence

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// startAs opens a folder on a machine that was booted as boot.
func startAs(t testing.TB, fs vfs.FS, boot string) *Disk {
	t.Helper()
	o := fixedOptions()
	o.BootID = boot
	return open(t, fs, o)
}

// usedOnce returns a folder that a node has used in boot "a", and stopped cleanly or was killed in.
func usedOnce(t *testing.T, clean bool) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	d := startAs(t, mem, "a")
	if len(d.Identity().Starts()) > 0 || d.Identity().SameLock() || d.Identity().Unclean() {
		t.Fatalf("a new folder: starts %v, same lock %v, unclean %v", d.Identity().Starts(), d.Identity().SameLock(), d.Identity().Unclean())
	}
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(1, "k", "v"))
	if err := d.Close(clean); err != nil {
		t.Fatal(err)
	}
	return mem
}

// A start is unclean after a loss of power, without a log, and with the lock of another folder; it
// knows its last process only by the same boot and the same lock.
func TestWhichStartsAreUnclean(t *testing.T) {
	for name, tc := range map[string]struct {
		clean                    bool // the last stop
		boot                     string
		device                   uint64
		noLog, unclean, sameLock bool
		damaged                  bool
	}{
		"a clean stop":                          {clean: true, boot: "a", sameLock: true},
		"a kill":                                {boot: "a", sameLock: true},
		"a clean stop, then a boot":             {clean: true, boot: "b"},
		"a loss of power":                       {boot: "b", unclean: true},
		"a copied folder":                       {clean: true, boot: "a", device: 9, unclean: true, damaged: true},
		"a copied folder, on another machine":   {clean: true, boot: "b", device: 9, unclean: true, damaged: true},
		"a folder without a log":                {clean: true, boot: "a", noLog: true, damaged: true, unclean: true, sameLock: true},
		"a folder without a log, after a crash": {boot: "b", noLog: true, damaged: true, unclean: true},
	} {
		mem := usedOnce(t, tc.clean)
		mem.SetDevice(tc.device)
		o := fixedOptions()
		o.BootID, o.NoLog = tc.boot, tc.noLog
		d := open(t, mem, o)
		if got := d.Identity(); got.Unclean() != tc.unclean || got.Damaged() != tc.damaged || got.SameLock() != tc.sameLock || !slices.Equal(got.Starts(), []uint64{7}) || got.Incarnation() != 8 {
			t.Errorf("%s: unclean %v, same lock %v, starts %v, incarnation %d", name, got.Unclean(), got.SameLock(), got.Starts(), got.Incarnation())
		}
	}
}

// A start after a run without a log is unclean, though it keeps one itself: the writes of that run are gone.
func TestAStartAfterARunWithoutALog(t *testing.T) {
	mem := vfs.NewMem()
	start := func(noLog, unclean bool) *Disk {
		t.Helper()
		o := fixedOptions()
		o.BootID, o.NoLog = "a", noLog
		d := open(t, mem, o)
		if d.Identity().Unclean() != unclean || d.Identity().Damaged() != unclean {
			t.Fatalf("no log %v: unclean %v, damaged %v, want %v", noLog, d.Identity().Unclean(), d.Identity().Damaged(), unclean)
		}
		return d
	}
	stop := func(d *Disk, clean bool) {
		t.Helper()
		if err := d.Close(clean); err != nil {
			t.Fatal(err)
		}
		mem = mem.Clone()
	}
	learn := func(d *Disk) *Disk {
		t.Helper()
		if err := d.Identity().ClearUnclean(); err != nil || d.Identity().Unclean() {
			t.Fatalf("unclean %v, %v", d.Identity().Unclean(), err)
		}
		return d
	}
	stop(learn(start(true, false)), false) // a new folder lacks nothing
	stop(start(false, true), true)         // killed before the cluster knew
	stop(learn(start(false, true)), true)
	stop(learn(start(false, false)), true)
	stop(learn(start(true, true)), true)
	stop(learn(start(false, true)), false)
	stop(start(false, false), false)
}

// An unclean start stays known until the cluster knows it: over kills, clean stops, and a loss of
// power, until ClearUnclean has returned.
func TestUncleanSurvivesRestarts(t *testing.T) {
	mem := usedOnce(t, false)
	mem = mem.Crash(rand.New(rand.NewPCG(1, 2)))
	for _, clean := range []bool{false, true, false} {
		d := startAs(t, mem, "b")
		if !d.Identity().Unclean() || d.Identity().Damaged() {
			t.Fatal("a restart has forgotten that the copies are unclean")
		}
		if err := d.Close(clean); err != nil {
			t.Fatal(err)
		}
		mem = mem.Clone()
	}
	d := startAs(t, mem, "b")
	if err := d.Identity().ClearUnclean(); err != nil || d.Identity().Unclean() {
		t.Fatal(err)
	}
	recoverShard(t, d, 3)
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	if d = startAs(t, mem.Crash(rand.New(rand.NewPCG(3, 4))), "c"); d.Identity().Unclean() {
		t.Error("the cleared mark came back")
	}
}

// A tool that changes the files of a node that does not run marks them. After an error the mark is
// what it was.
func TestSetUnclean(t *testing.T) {
	mem := usedOnce(t, true)
	broken := true
	d, err := Inspect(vfs.NewFaulty(mem, func(int) error {
		if broken {
			return errors.New("broken")
		}
		return nil
	}), "data", "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Identity().SetUnclean(); err == nil || d.Identity().Unclean() {
		t.Errorf("%v, unclean %v", err, d.Identity().Unclean())
	}
	broken = false
	if err := errors.Join(d.Identity().SetUnclean(), d.Close(false)); err != nil {
		t.Fatal(err)
	}
	if d := startAs(t, mem.Crash(rand.New(rand.NewPCG(5, 6))), "a"); !d.Identity().Unclean() || !d.Identity().Damaged() {
		t.Error("the mark is lost")
	}
}

// A renewed store and a rebuilt manifest do not tell what the copies lack.
func TestRepairedFoldersAreUnclean(t *testing.T) {
	for name, repair := range map[string]func(*vfs.Mem) error{
		"a renewed store": func(mem *vfs.Mem) error {
			d, err := Inspect(mem, "data", "a")
			if err != nil {
				return err
			}
			return errors.Join(d.Identity().RenewStore(), d.Close(false))
		},
		"a rebuilt manifest": func(mem *vfs.Mem) error { return RebuildManifest(mem, "data", 16, "a") },
	} {
		mem := usedOnce(t, true)
		if err := repair(mem); err != nil {
			t.Fatal(err)
		}
		if d := startAs(t, mem, "a"); !d.Identity().Damaged() {
			t.Errorf("%s: not damaged", name)
		}
	}
}

// The manifest of an earlier program names no lock: its last process is not known to have ended, and
// the copies are unclean for other reasons alone.
func TestManifestWithoutLock(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.Mkdir("data/shards"); err != nil {
		t.Fatal(err)
	}
	d := startAs(t, mem, usedFolder(t, mem).BootID)
	if d.Identity().SameLock() || d.Identity().Unclean() || !slices.Equal(d.Identity().Starts(), []uint64{5}) {
		t.Errorf("same lock %v, unclean %v, starts %v", d.Identity().SameLock(), d.Identity().Unclean(), d.Identity().Starts())
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	if d = startAs(t, mem, "boot"); !d.Identity().SameLock() || d.Identity().Unclean() {
		t.Errorf("at the next start: same lock %v, unclean %v", d.Identity().SameLock(), d.Identity().Unclean())
	}
}

// A loss of power after someone has changed the files does not make the change forgotten.
func TestDamageOutlivesALossOfPower(t *testing.T) {
	mem := usedOnce(t, true)
	mem.SetDevice(9)
	if err := startAs(t, mem, "a").Close(false); err != nil {
		t.Fatal(err)
	}
	if d := startAs(t, mem.Crash(rand.New(rand.NewPCG(7, 8))), "b"); !d.Identity().Damaged() {
		t.Error("forgotten")
	}
}

// A folder remembers its starts from the last one on that the cluster is known to have noticed, over
// kills and losses of power. Of more than 16 it forgets those after the first.
func TestStarts(t *testing.T) {
	mem := vfs.NewMem()
	boot := 0
	want := func(starts ...uint64) *Identity {
		t.Helper()
		boot++
		d := startAs(t, mem, fmt.Sprint(boot))
		if got := d.Identity().Starts(); !slices.Equal(got, starts) {
			t.Fatalf("start %d follows the starts %v, want %v", d.Identity().Incarnation(), got, starts)
		}
		if err := d.Close(boot%2 == 0); err != nil {
			t.Fatal(err)
		}
		mem = mem.Crash(rand.New(rand.NewPCG(uint64(boot), 1)))
		return d.Identity()
	}
	want() // 7
	want(7)
	want(7, 8)
	noticed := startAs(t, mem, "noticed") // 10
	if err := errors.Join(noticed.Identity().ClearUnclean(), noticed.Close(false)); err != nil {
		t.Fatal(err)
	}
	if got := noticed.Identity().Starts(); !slices.Equal(got, []uint64{7, 8, 9}) {
		t.Errorf("the starts before this one are %v", got)
	}
	want(10)
	all := []uint64{10, 11}
	for range 14 {
		want(all...)
		all = append(all, all[len(all)-1]+1)
	}
	want(all...) // 16 of them
	want(append([]uint64{10}, append(all[2:], 26)...)...)
}

// However many shards are damaged, the next start can read that.
func TestAllShardsMayBeDamaged(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	const shards = 16384 // the most that a cluster may have
	m := d.identity.m
	m.shards, m.damaged = shards, nil
	for id := range uint64(shards) {
		m.damaged = append(m.damaged, id)
	}
	m.raft, m.unclean, m.starts = m.store, anyDoubt, slices.Repeat([]uint64{1<<63 - 1}, maxStarts)
	if err := m.write(mem, "data"); err != nil {
		t.Fatal(err)
	}
	read, err := readNodeManifest(mem, "data")
	if err != nil || !slices.Equal(read.damaged, m.damaged) {
		t.Fatalf("%d damaged shards, %v", len(read.damaged), err)
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
}
