package persistence

import (
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// found starts on files and returns what it finds, which must not be damaged.
func found(t *testing.T, mem *vfs.Mem, boot, when string) (keeper, *Report) {
	t.Helper()
	d := startAs(t, mem, boot)
	k, report := recoverShard(t, d, 3)
	if len(report.Damage) > 0 {
		t.Errorf("%s: %v", when, report.Damage)
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	return k, report
}

// A truncated record was the only one to say that the change is committed for which a blob went: the
// shard's manifest says it instead.
func TestTruncationKeepsTheCommitIndex(t *testing.T) {
	d, l := logWith(t, 1)
	id, err := l.Stage([][]byte{[]byte(largePayload)})
	if err != nil {
		t.Fatal(err)
	}
	large := put(2, "k", largePayload)
	large.Blob, large.Payload = id, nil
	appendAs(t, l, large)
	replaced := put(3, "k", "small")
	replaced.Commit = 2
	appendAs(t, l, replaced)
	appendAs(t, l, uncommitted(4, 3))
	l.Supersede(id, 3)
	if err := l.Sync(l.Position()); err != nil {
		t.Fatal(err)
	}
	if n := blobsOf(t, d.fs.(*vfs.Mem)); n != 0 {
		t.Fatalf("%d blobs", n)
	}
	if err := l.Truncate(Point{7, 3}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		k, report := found(t, d.fs.(*vfs.Mem).Clone(), "boot", "after the truncation")
		if report.Commit != 3 || k["k"] != "m|small|7-3|0" {
			t.Errorf("committed up to %d, with %q", report.Commit, k["k"])
		}
		if err := l.Sync(l.Position()); err != nil {
			t.Fatal(err)
		}
	}
}

// A clean stop vouches for all records. That is taken back before they are truncated, or replaced.
func TestLowerHistoryAfterACleanStop(t *testing.T) {
	for name, shorten := range map[string]func(*Log) error{
		"truncated": func(l *Log) error { return l.Truncate(Point{7, 4}) },
		"replaced": func(l *Log) error {
			i, err := l.Install(Point{7, 4}, []EpochStart{{7, 1}})
			if err != nil {
				return err
			}
			return i.Commit()
		},
	} {
		d, _ := logWith(t, 6)
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		mem := d.fs.(*vfs.Mem)
		d = startAs(t, mem, "boot")
		recoverShard(t, d, 3)
		if err := shorten(d.Log(3)); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
		if _, report := found(t, mem, "boot", name); report.Has != (Point{7, 4}) {
			t.Errorf("%s: a start finds %+v", name, report)
		}
	}
}

// A truncation of several segments leaves no gap wherever it ends, and its sync leaves none of them.
func TestTruncationOfSegments(t *testing.T) {
	for seed := range uint64(20) {
		mem := vfs.NewMem()
		boots := 0
		var check func()
		d := open(t, vfs.NewFaulty(mem, func(int) error {
			if check != nil {
				check()
			}
			return nil
		}), fixedOptions())
		recoverShard(t, d, 3)
		l := d.Log(3)
		for seq := uint64(1); seq <= 6; seq++ {
			appendAs(t, l, uncommitted(seq, min(seq, 2)))
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Sync(l.Position()); err != nil {
			t.Fatal(err)
		}
		check = func() {
			boots++
			found(t, mem.Clone(), "boot", "killed")
			if _, report := found(t, mem.Crash(seeded(seed)), "another", "power lost"); report.Has.Seq < 2 {
				t.Errorf("seed %d: a start finds %+v", seed, report)
			}
		}
		if err := l.Truncate(Point{7, 2}); err != nil {
			t.Fatal(err)
		}
		if err := l.Sync(l.Position()); err != nil {
			t.Fatal(err)
		}
		check = nil
		if _, report := found(t, mem.Crash(seeded(seed)), "another", "after the sync"); report.Has != (Point{7, 2}) || boots < 4 {
			t.Errorf("seed %d: a start finds %+v; %d changes", seed, report, boots)
		}
	}
}

// The blobs of an installed copy belong to its values, and those of the copy before it go.
func TestBlobsOfAnInstalledCopy(t *testing.T) {
	d, l := logWith(t, 1)
	old, err := l.Stage([][]byte{[]byte(largePayload)})
	if err != nil {
		t.Fatal(err)
	}
	large := put(2, "k", largePayload)
	large.Blob, large.Payload = old, nil
	appendAs(t, l, large)
	i, err := l.Install(Point{9, 8}, []EpochStart{{9, 1}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := i.Stage([][]byte{[]byte(largePayload)})
	if err != nil {
		t.Fatal(err)
	}
	large.Epoch, large.Blob = 9, id
	if err := i.Write(&large); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := blobsOf(t, d.fs.(*vfs.Mem)); n != 1 || d.Staged() != 0 || !l.blobs.isLive(id) {
		t.Errorf("%d blobs, %d bytes staged, live %v", n, d.Staged(), l.blobs.isLive(id))
	}
	if k, report := found(t, d.fs.(*vfs.Mem).Crash(seeded(1)), "another", "after the installation"); report.Has != (Point{9, 8}) || len(k) != 1 {
		t.Errorf("%d values, %+v", len(k), report)
	}
}
