package shard

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// segmentOf returns the name and the bytes of the only segment of a shard, and the offsets of its
// records.
func segmentOf(t *testing.T, mem *vfs.Mem, sh *Shard) (name string, b []byte, at []int) {
	t.Helper()
	d := &damagedDisk{Mem: mem}
	d.walk(fmt.Sprintf("data/shards/%05d", sh.id))
	for _, file := range d.files {
		if bytes.HasPrefix(d.read(file), []byte("NDRLOG")) {
			if name != "" {
				t.Fatalf("there are two segments: %s and %s", name, file)
			}
			name = file
		}
	}
	b = d.read(name)
	for i := range b {
		if bytes.HasPrefix(b[i:], []byte("ndR\x02")) {
			at = append(at, i)
		}
	}
	return name, b, at
}

// rewrite replaces the bytes of a file.
func rewrite(t *testing.T, mem *vfs.Mem, name string, b []byte) {
	t.Helper()
	must(t, 0, vfs.Discard(mem, name))
	f, err := mem.Create(name)
	must(t, 0, must(t, f, err).WriteAt([][]byte{b}, 0))
}

// An Expire changes the deadline of one value. If damage has lost that value, the Expire must not
// change the deadline of the value before it, which is not the key's value any longer.
func TestExpireChangesOnlyItsValue(t *testing.T) {
	t.Parallel()
	for _, before := range []int{10, persistence.BlobBytes} {
		for _, lost := range []int{20, persistence.BlobBytes + 1} {
			for _, at := range []int64{0, 1_005_000} {
				t.Run(fmt.Sprintf("%d bytes after %d, until %d", lost, before, at), func(t *testing.T) {
					t.Parallel()
					mem := vfs.NewMem()
					l := mustLab(t, mem, FsyncEverysec)
					sh := l.of(asked)
					l.put(asked, before, 1_001_000)
					l.put(asked, lost, 1_002_000)
					done, err := settled(sh.Expire([]byte(asked), max(at, 1_003_000), ExpireCondition{}))
					if at == 0 {
						done, err = settled(sh.Persist([]byte(asked)))
					}
					if must(t, done, err); !done {
						t.Fatal("the deadline was not changed")
					}
					l.kill()
					name, b, records := segmentOf(t, mem, sh)
					b[records[2]+40]++ // its seq: the recovery cannot trust anything in the head, not even the key
					rewrite(t, mem, name, b)
					d, err := persistence.Inspect(mem.Clone(), "data", "a")
					must(t, d, err)
					x := NewInspection(1_000_000)
					report, err := d.Reader(sh.id).Read(x)
					must(t, report, err)
					if keys, _, expired := x.Count(); keys+expired != 0 || len(report.Damage) != 1 {
						t.Errorf("check finds %d keys, %d expired, damage %v", keys, expired, report.Damage)
					}
					if npy, _, err := ReadNPY(d, []byte(asked), 1_000_000); npy != nil || err != nil {
						t.Errorf("dump finds %.20q, %v", npy, err)
					}
					must(t, 0, d.Close(false))
					l = mustLab(t, mem, FsyncEverysec)
					if l.of(asked).Keys() != 0 || l.disk.counters.damageFound.Load() != 1 {
						t.Errorf("%d keys are back, %d places are reported as damaged", l.of(asked).Keys(), l.disk.counters.damageFound.Load())
					}
					l.kill()
				})
			}
		}
	}
}

// Earlier programs removed the blob of a value that expired while no program ran, and left its
// record: that is not damage, with or without a loss of power, once the deadline has passed.
func TestExpiredValueWithoutItsBlob(t *testing.T) {
	t.Parallel()
	for _, boot := range []string{"a", "b"} {
		for now, gone := range map[int64]bool{1_000_500: false, 1_002_000: true} {
			mem := vfs.NewMem()
			l := mustLab(t, mem, FsyncAlways)
			l.put("{0}large", persistence.BlobBytes, 1_001_000)
			l.put("{0}behind", 10, 0)
			dir := blobDirOf(l.of(asked))
			l.kill()
			blobs, err := mem.List(dir)
			if must(t, blobs, err); len(blobs) != 1 {
				t.Fatal(blobs)
			}
			must(t, 0, mem.Remove(dir+"/"+blobs[0].Name))
			d, err := persistence.Inspect(mem.Clone(), "data", boot)
			must(t, d, err)
			npy, report, err := ReadNPY(d, []byte("{0}behind"), now)
			must(t, report, err)
			must(t, 0, d.Close(false))
			l, err = openLabAt(t, mem, boot, FsyncEverysec, true, now)
			must(t, l, err)
			damage, cut := l.disk.counters.damageFound.Load() > 0, !l.has("{0}behind")
			if l.has("{0}large") || damage != (!gone && boot == "a") || cut != (!gone && boot == "b") {
				t.Errorf("boot %s, at %d: damage %v, the log ends there: %v", boot, now, damage, cut)
			}
			if cut != (npy == nil) {
				t.Errorf("boot %s, at %d: dump finds %q, the recovery finds it: %v", boot, now, npy, !cut)
			}
			l.kill()
		}
	}
}

// The manifest may count more records than a log that has lost its end: no seq is used twice.
func TestNoSeqIsUsedTwice(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	l := mustLab(t, mem, FsyncEverysec)
	sh := l.of(asked)
	for range 5 {
		l.put(asked, 10, 0)
	}
	must(t, 0, l.Close(t.Context(), false))
	l.Release()
	name, b, records := segmentOf(t, mem, sh)
	rewrite(t, mem, name, b[:records[3]])
	for _, want := range []uint64{8, 10} { // behind a no-op
		l = mustLab(t, mem, FsyncEverysec)
		if want == 8 && l.disk.counters.damageFound.Load() == 0 {
			t.Error("two records are lost, and no damage is reported")
		}
		if v := l.put(asked, 10, 0); v.Seq != want {
			t.Errorf("the next record has the seq %d, want %d", v.Seq, want)
		}
		l.kill()
	}
}

// Deadlines give as many expired entries as asked for, each once, and no others.
func TestExpiredEntriesOfTheHeap(t *testing.T) {
	f := newFixture(t)
	const n, now = 200, 1000
	var d deadlines
	due := 0
	for i := range n {
		v := f.value("v")
		e := newEntry(&f.pool, fmt.Append(nil, i), &v, 0, 0)
		defer e.Release()
		at := int64(rand.IntN(2*now) + 1)
		if at <= now {
			due++
		}
		e.head().expireAt = at
		d.add(e)
	}
	for _, limit := range []int{0, 1, 7, due, n} {
		found := d.expired(now, limit, func(*Entry) bool { return false })
		seen := map[*Entry]bool{}
		for _, e := range found {
			seen[e] = true
			if e.ExpireAt() > now {
				t.Errorf("an entry that expires at %d is expired at %d", e.ExpireAt(), now)
			}
		}
		if want := min(limit, due); len(found) != want || len(seen) != want {
			t.Errorf("%d entries, %d of them distinct, want %d of %d", len(found), len(seen), want, due)
		}
	}
}
