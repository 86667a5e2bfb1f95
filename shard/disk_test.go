package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

func mustLab(t *testing.T, fs vfs.FS, fsync FsyncPolicy) *lab {
	t.Helper()
	l, err := openLab(t, fs, "a", fsync)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) put(key string, n int, at int64) Version {
	l.t.Helper()
	v, _ := l.value(key, n, false)
	o, err := settled(l.of(key).Set(Write{Key: []byte(key), Value: v, Expiry: Expiry{At: at}}))
	return must(l.t, o, err).Version
}

func (l *lab) has(key string) bool {
	e := l.of(key).Peek([]byte(key))
	if e == nil {
		return false
	}
	e.Release()
	return true
}

// Deadlines pass while the process is down. Expired keys stay gone even if the clock is set back.
func TestDeadlinesOverARestart(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	l.put("stays", 10, 0)
	l.put("soon", 10, l.now+1000)
	l.put("soonlarge", persistence.BlobBytes, l.now+1000)
	l.put("later", 10, l.now+5000)
	l.put("freed", 10, l.now+10)
	must(t, true, func() error {
		_, err := settled(l.of("later").Expire([]byte("later"), l.now+9000, ExpireCondition{}))
		return err
	}())
	l.now += 20
	RemoveExpired(l.of("freed"), 10)
	l.kill()
	for restart := range 3 { // the second and third find the files of the first
		l = mustLab(t, mem, FsyncEverysec)
		l.now += 2000
		for key, want := range map[string]bool{"stays": true, "soon": false, "soonlarge": false, "later": true} {
			if l.has(key) != want {
				t.Errorf("restart %d: %s is there: %v", restart, key, !want)
			}
		}
		if at, _ := l.of("later").Deadline([]byte("later")); at != 1_009_000 {
			t.Errorf("the deadline is %d", at)
		}
		l.now -= 2000 + 5 // before the deadline of "freed"
		if l.has("freed") {
			t.Error("an expired key is back")
		}
		if n := l.disk.counters.damageFound.Load(); n > 0 {
			t.Errorf("restart %d: %d places are reported as damaged", restart, n)
		}
		l.kill()
	}
}

// The blob of a value that expired while the process was down is deleted, and its record does not
// count as damage afterwards.
func TestExpiredBlobs(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	l.put("large", persistence.BlobBytes, l.now-1+2)
	l.kill()
	// The lab's clock starts from the same time at each start: make the record older.
	l = mustLab(t, mem, FsyncEverysec)
	if !l.has("large") {
		t.Fatal("the deadline has not passed")
	}
	l.now += 10
	RemoveExpired(l.of("large"), 1)
	must(t, 0, l.of("large").writer.log.Sync(l.of("large").writer.log.Position()))
	if blobs, err := mem.List(blobDirOf(l.of("large"))); err != nil || len(blobs) != 0 {
		t.Errorf("%v %v", blobs, err)
	}
	l.kill()
	l = mustLab(t, mem, FsyncEverysec)
	if n := l.disk.counters.damageFound.Load(); n > 0 || l.has("large") {
		t.Errorf("%d places are reported as damaged", n)
	}
	l.kill()
}

func blobDirOf(s *Shard) string {
	return fmt.Sprintf("data/shards/%05d/blobs", s.id)
}

// After a restart versions continue to rise, and a repeated request is recognized.
func TestVersionsAndRequestsOverARestart(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var last Version
	for i := range 5 {
		l := mustLab(t, mem, FsyncEverysec)
		for range 3 {
			v := l.put("k", 10, 0)
			if !v.After(last) {
				t.Fatalf("start %d: version %v after %v", i, v, last)
			}
			last = v
		}
		if i == 2 {
			must(t, 0, l.of("k").snapshots.write(true))
		}
		v, _ := l.value("n", 10, false)
		o, err := settled(l.of("new").Set(Write{Key: []byte("new"), Value: v, Condition: IfMissing, RequestID: "once"}))
		if must(t, o, err); !o.Done {
			t.Errorf("start %d: a repeat was not recognized", i)
		}
		l.kill()
	}
}

// Without a log, only snapshots are recovered, including large values, and what an earlier run
// logged is not lost.
func TestWithoutALog(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	l.put("logged", 10, 0)
	l.put("loggedlarge", persistence.BlobBytes, 0)
	l.kill()
	start := func() *lab {
		l, err := openLabLogged(t, mem, "a", FsyncEverysec, false)
		return must(t, l, err)
	}
	l = start()
	l.put("lost", 10, 0)
	l.put("large", persistence.BlobBytes+1, 0)
	must(t, 0, l.of("large").snapshots.write(false))
	l.put("large", persistence.BlobBytes+2, 0)
	l.kill()
	for range 2 {
		l = start()
		for key, want := range map[string]bool{"logged": true, "loggedlarge": true, "large": true, "lost": l.of("lost") == l.of("large")} {
			if l.has(key) != want {
				t.Errorf("%s is there: %v", key, !want)
			}
		}
		e := l.of("large").Peek([]byte("large"))
		if e.NPYBytes() != persistence.BlobBytes+1 {
			t.Errorf("large has %d bytes", e.NPYBytes())
		}
		e.Release()
		must(t, 0, l.of("large").snapshots.write(true)) // writes new files and removes the previous ones
		if n := l.disk.counters.damageFound.Load(); n > 0 {
			t.Errorf("%d places are reported as damaged", n)
		}
		l.kill()
	}
}

// The scrubber finds damage while the node runs, reports it and repairs it from memory.
func TestScrub(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var log bytes.Buffer
	l := mustLab(t, mem, FsyncEverysec)
	l.disk.log = slog.New(slog.NewTextHandler(&log, nil))
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec, ScrubRate: 1 << 40})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	s := newScript(l, seed)
	for range 60 {
		s.step()
	}
	l.put("{0}large", persistence.BlobBytes, 0)
	l.put("{0}small", 100, 0)
	l.kill()
	l = mustLab(t, mem, FsyncEverysec) // closes the segments
	l.disk.log = slog.New(slog.NewTextHandler(&log, nil))
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec, ScrubRate: 1 << 40})
	want := l.contents()
	scrubAll := func() {
		for _, sh := range l.shards {
			l.disk.scrubber.scrubShard(t.Context(), sh)
		}
	}
	scrubAll()
	if n := l.disk.counters.damageFound.Load(); n != 0 {
		t.Fatalf("%d places are reported as damaged: %s", n, &log)
	}
	d := &damagedDisk{Mem: mem}
	d.walk("data/shards")
	r := rand.New(rand.NewPCG(seed, 0))
	damaged := 0
	for _, name := range d.files {
		if strings.HasSuffix(name, "MANIFEST") {
			continue
		}
		f, err := mem.Open(name)
		must(t, f, err)
		b := make([]byte, 1)
		size, _ := f.Size()
		at := r.Int64N(size)
		_, err = f.ReadAt(b, at)
		must(t, 0, err)
		b[0] ^= 0x40
		must(t, 0, f.WriteAt([][]byte{b}, at))
		damaged++
	}
	scrubAll()
	if found := l.disk.counters.damageFound.Load(); found == 0 || l.disk.counters.damageRepaired.Load() != found || !strings.Contains(log.String(), "offset=") {
		t.Errorf("%d places found and %d repaired with %d files damaged: %s", found, l.disk.counters.damageRepaired.Load(), damaged, &log)
	}
	found := l.disk.counters.damageFound.Load()
	scrubAll()
	if again := l.disk.counters.damageFound.Load(); again != found {
		t.Errorf("there is more damage after the repair: %s", &log)
	}
	l.kill()
	l = mustLab(t, mem, FsyncEverysec)
	for id, got := range l.contents() {
		if !maps.Equal(got, want[id]) {
			t.Errorf("shard %d has %s, want %s", id, brief(got), brief(want[id]))
		}
	}
	if n := l.disk.counters.damageFound.Load(); n > 0 {
		t.Errorf("a restart finds %d places damaged", n)
	}
	l.kill()
}

// Below disk-reserve values are refused; reads, deletes and new deadlines work.
func TestDiskReserve(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	l.put("k", 10, 0)
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec, Reserve: 1000})
	mem.SetFree(999)
	l.disk.guard.check()
	v, _ := l.value("x", 10, false)
	if _, err := settled(l.of("x").Set(Write{Key: []byte("x"), Value: v})); !errors.Is(err, ErrDiskFull) {
		t.Errorf("a write: %v", err)
	}
	v, _ = l.value("y", 10, true)
	if err := settle(l.of("x").SetAll([]Write{{Key: []byte("x"), Value: v}})); !errors.Is(err, ErrDiskFull) {
		t.Errorf("writes: %v", err)
	}
	if !l.has("k") {
		t.Error("reads fail")
	}
	done, err := settled(l.of("k").Expire([]byte("k"), l.now+1000, ExpireCondition{}))
	n, err2 := settled(l.of("k").Delete(keys("k")))
	if !done || n != 1 || err != nil || err2 != nil {
		t.Errorf("%v %v, %v %v", done, err, n, err2)
	}
	mem.SetFree(1000)
	l.disk.guard.check()
	l.put("k", 10, 0)
	l.kill()
}

// The background work syncs, compacts a folder that has grown, and saves at save points and at the
// end. A stop loses nothing.
func TestBackgroundWorkOnFiles(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	l.disk.guard.testSlack = compactAt.extra - 4<<20
	l.Open(context.Background())
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec, ScrubRate: 1 << 30, Save: []SavePoint{{After: time.Millisecond, Changes: 3}}})
	wait := func(what string, done func(DiskStats) bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			stats, _ := l.Disk().Stats()
			if done(stats) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, stats)
			}
		}
	}
	l.put("a", 10, 0)
	wait("a sync", func(s DiskStats) bool { return s.Syncs > 0 })
	l.put("b", 10, 0)
	l.put("c", 10, 0)
	wait("a save point", func(s DiskStats) bool { return s.Unsaved == 0 && s.Snapshots > 0 && !s.Saving })
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec})
	before, _ := l.Disk().Stats()
	for range 50 { // far more than the folder may hold
		l.put("a", persistence.BlobBytes-100, 0)
	}
	wait("compaction", func(s DiskStats) bool { return s.Snapshots > before.Snapshots && s.Bytes < 3*s.Live+8<<20 })
	// Deleted values are still in the snapshots. These are compacted too, or writes would wait
	// forever.
	for i := range 20 {
		l.put(fmt.Sprint("gone", i), persistence.BlobBytes-100, 0)
	}
	must(t, 0, l.Disk().Save())
	must(t, 0, settleAll(l.Store.Flush()))
	wait("the files of deleted values to be removed", func(s DiskStats) bool { return s.Bytes < 8<<20 })
	l.put("a", 10, 0)
	must(t, 0, l.Disk().SaveInBackground())
	wait("a snapshot in the background", func(s DiskStats) bool { return !s.Saving && s.Unsaved == 0 })
	must(t, 0, l.Disk().Save())
	l.put("d", 10, 0)
	want := l.contents()
	must(t, 0, l.Store.Close(context.Background(), true))
	for _, sh := range l.shards { // no log has a record left
		if log, _, _ := sh.writer.log.Sizes(); log > 200 {
			t.Errorf("shard %d has a log of %d bytes", sh.id, log)
		}
	}
	v, _ := l.value("late", 10, false)
	if _, err := settled(l.of("late").Set(Write{Key: []byte("late"), Value: v})); !errors.Is(err, ErrDisk) {
		t.Errorf("a write after Close: %v", err)
	}
	l.Store.disk.folder = nil
	l2 := mustLab(t, mem, FsyncEverysec)
	for id, got := range l2.contents() {
		if !maps.Equal(got, want[id]) {
			t.Errorf("shard %d has %s, want %s", id, brief(got), brief(want[id]))
		}
	}
	l2.kill()
	l.Release()
}
