package persistence

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// shardFiles returns the segments of shard 3.
func shardFiles(t *testing.T, mem *vfs.Mem) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	l, err := scanDir(mem, "data/shards/00003")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range l.segments {
		b, err := vfs.ReadFile(mem, "data/shards/00003/"+s.name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		found[s.name] = b
	}
	return found
}

// After a loss of power, a tail that was truncated may be back beside what has replaced it: a whole
// segment, or the last records of one. What replaced it counts.
func TestTruncatedTailsAreDropped(t *testing.T) {
	t.Parallel()
	later := func(r Record) Record { r.Epoch = 9; return r }
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(1, "a", "one"))
	appendAll(t, d.Log(3), put(2, "b", "two"))
	other := mem.Clone()

	// One history: the first segment goes on, then another one.
	appendLagging(t, d.Log(3), upTo(2, put(3, "a", "undone"), put(4, "b", "undone")))
	if err := d.Log(3).Rotate(); err != nil {
		t.Fatal(err)
	}
	appendLagging(t, d.Log(3), upTo(2, put(5, "c", "undone")))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	old := shardFiles(t, mem)

	// The other one: both are truncated behind 2, and a later epoch follows.
	d = open(t, other, fixedOptions())
	recoverShard(t, d, 3)
	appendLagging(t, d.Log(3), upTo(2, later(put(3, "c", "three"))), upTo(2, later(put(4, "d", "four"))), upTo(4, later(put(5, "e", "five"))), upTo(4, later(put(6, "f", "six"))))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	ours := shardFiles(t, other)

	at := func(payload string, seq uint64) string { return fmt.Sprintf("m|%s|9-%d|0", payload, seq) }
	want := keeper{
		"a": visible("one", 1), "b": visible("two", 2), "c": at("three", 3), "d": at("four", 4),
		"suffix 5": "1|e|m|" + strings.TrimPrefix(at("five", 5), "m|"), "suffix 6": "1|f|m|" + strings.TrimPrefix(at("six", 6), "m|"),
	}
	first, second, stale := segmentName(1), segmentName(3), segmentName(5)
	for name, files := range map[string]map[string][]byte{
		"nothing is back":   {first: ours[first], second: ours[second]},
		"a segment is back": {first: ours[first], second: ours[second], stale: old[stale]},
		"records are back":  {first: old[first], second: ours[second]},
		"both are back":     {first: old[first], second: ours[second], stale: old[stale]},
		"one is back after a write that did not finish": {
			first: ours[first], second: append(slices.Clone(ours[second]), ours[second][len(ours[second])-80:][:50]...), stale: old[stale],
		},
		"a damaged one is back": {first: ours[first], second: ours[second], stale: old[stale][:len(old[stale])-3]},
	} {
		for _, boot := range []string{"boot", "another-boot"} {
			mem := other.Clone()
			for name := range ours {
				if err := mem.Remove("data/shards/00003/" + name); err != nil {
					t.Fatal(err)
				}
			}
			for name, b := range files {
				replaceFile(t, mem, "data/shards/00003/"+name, slices.Clone(b))
			}
			options := fixedOptions()
			options.BootID = boot
			for range 2 { // the first start cleans up
				d := open(t, mem, options)
				k, report := recoverShard(t, d, 3)
				if !maps.Equal(k, want) || len(report.Damage) > 0 || report.Has != (Point{9, 6}) || report.Given != 6 {
					t.Errorf("%s, %s: %v, %+v", name, boot, k, report)
				}
				if table := d.Log(3).Epochs(); !slices.Equal(table, []EpochStart{{7, 1}, {9, 3}}) {
					t.Errorf("%s, %s: epochs %v", name, boot, table)
				}
				if err := d.Close(false); err != nil {
					t.Fatal(err)
				}
			}
			left := shardFiles(t, mem)
			if len(left) != 2 || !bytes.Equal(left[first], ours[first]) || !bytes.Equal(left[second], ours[second]) {
				t.Errorf("%s, %s: %d segments are left", name, boot, len(left))
			}
		}
	}
}

// A segment of a truncated tail that is back beside a snapshot does not make the segment before it
// obsolete.
func TestTruncatedTailBesideASnapshot(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(1, "a", "one"))
	other := mem.Clone()
	appendLagging(t, d.Log(3), upTo(1, put(2, "b", "undone"), put(3, "b", "undone")))
	if err := d.Log(3).Rotate(); err != nil {
		t.Fatal(err)
	}
	appendLagging(t, d.Log(3), upTo(1, put(4, "c", "undone")))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	stale := segmentName(4)
	back := shardFiles(t, mem)[stale]

	d = open(t, other, fixedOptions())
	recoverShard(t, d, 3)
	want := keeper{}
	for seq := uint64(2); seq <= 5; seq++ {
		r := put(seq, fmt.Sprint("k", seq), "v")
		r.Epoch = 9
		appendAll(t, d.Log(3), r)
		want[string(r.Key)] = fmt.Sprintf("m|v|9-%d|0", seq)
	}
	s, err := d.Log(3).BeginSnapshot(9, 3, nil) // in the middle of the segment
	for _, r := range []Record{put(1, "a", "one"), put(2, "k2", "v"), put(3, "k3", "v")} {
		if r.Seq > 1 {
			r.Epoch = 9
		}
		if err == nil {
			err = s.Write(&r)
		}
	}
	if err == nil {
		err = s.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	want["a"] = visible("one", 1)
	replaceFile(t, other, "data/shards/00003/"+stale, back)
	d = open(t, other, fixedOptions())
	k, report := recoverShard(t, d, 3)
	k.want(t, want)
	if len(report.Damage) > 0 || report.Has != (Point{9, 5}) || report.Lost != int64(len(back)) {
		t.Errorf("%+v", report)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// A loss of power is one until every shard was read: a start that ends before that does not make the
// next one take its holes for damage.
func TestALossOfPowerIsKnownUntilAllIsRead(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(1, "k", "v"))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	options := fixedOptions()
	options.BootID = "next-boot"
	for starts, read := range []int{0, 3, d.Shards(), 0, 0} { // shards that the start reads before it ends
		d = open(t, mem, options)
		if want := starts < 3; d.PowerLoss() != want {
			t.Errorf("start %d: a loss of power: %v, want %v", starts, d.PowerLoss(), want)
		}
		for id := range read {
			recoverShard(t, d, id)
		}
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
	}
	options.BootID = "another-one"
	d = open(t, mem, options)
	for id := range d.Shards() {
		recoverShard(t, d, id)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	options.BootID = "yet-another"
	if d = open(t, mem, options); d.PowerLoss() {
		t.Error("a reboot after a clean stop is taken for a loss of power")
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
}

// A sync makes the blob of a record survive whose value was superseded, as long as no commit index on
// disk says so: without the blob the log would end there.
func TestSupersededBlobIsSyncedWithItsRecord(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		recoverShard(t, d, 3)
		l := d.Log(3)
		first := blobOf(t, l, 1)
		second := put(2, string(first.Key), "small")
		appendLagging(t, l, upTo(0, first))
		appendLagging(t, l, upTo(0, second))
		l.Supersede(first.Blob, 2) // others have acknowledged both
		if err := l.Sync(l.Position()); err != nil {
			t.Fatal(err)
		}
		after := mem.Crash(rand.New(rand.NewPCG(seed, 0)))
		options := fixedOptions()
		options.BootID = "next-boot"
		d = open(t, after, options)
		_, report := recoverShard(t, d, 3)
		if report.Has != (Point{7, 2}) || report.HeldBack != 2 || len(report.Damage) > 0 {
			t.Fatalf("seed %d: %+v", seed, report)
		}
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that a snapshot has made obsolete does not come back after a clean stop: part of it may never
// have been synced, and it would count as damaged.
func TestObsoleteFilesAreGoneAfterACleanStop(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		recoverShard(t, d, 3)
		r := put(1, "k", strings.Repeat("v", 5000))
		appendAll(t, d.Log(3), r)
		snapshotOf(t, d.Log(3), 1, r)
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		after := mem.Crash(rand.New(rand.NewPCG(seed, 0)))
		if left := shardFiles(t, after); len(left) > 0 {
			t.Fatalf("seed %d: %d segments are back", seed, len(left))
		}
	}
}

// A process that is killed while it writes the header of a segment leaves no damage, wherever the
// header ends.
func TestHeadersThatDidNotFinish(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	for epoch := uint64(1); epoch <= 3; epoch++ {
		r := put(epoch, "k", "v")
		r.Epoch = epoch
		appendAll(t, d.Log(3), r)
	}
	if err := d.Log(3).Rotate(); err != nil {
		t.Fatal(err)
	}
	before := mem.Clone()
	appendAll(t, d.Log(3), put(4, "k", "v"))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	name := segmentName(4)
	whole := shardFiles(t, mem)[name]
	header := fixedHeader + 4*epochBytes
	for n := range header {
		mem := before.Clone()
		replaceFile(t, mem, "data/shards/00003/"+name, whole[:n])
		d := open(t, mem, fixedOptions())
		_, report := recoverShard(t, d, 3)
		if len(report.Damage) > 0 || report.Has.Seq != 3 || report.Torn != int64(n) {
			t.Errorf("%d of %d bytes: %+v", n, header, report)
		}
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}
