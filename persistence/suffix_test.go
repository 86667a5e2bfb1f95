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

// upTo gives the records of a batch a commit index.
func upTo(commit uint64, batch ...Record) []Record {
	for i := range batch {
		batch[i].Commit = commit
	}
	return batch
}

// appendLagging appends batches whose commit index stays as it is.
func appendLagging(t testing.TB, l *Log, batches ...[]Record) {
	t.Helper()
	if _, err := l.Append(batches...); err != nil {
		t.Fatal(err)
	}
}

// reopened stops a node, clean or not, and recovers shard 3 of its folder once more.
func reopened(t testing.TB, d *Disk, mem *vfs.Mem, clean bool) (*Disk, keeper, *Report) {
	t.Helper()
	if err := d.Close(clean); err != nil {
		t.Fatal(err)
	}
	d = open(t, mem, fixedOptions())
	k, report := recoverShard(t, d, 3)
	return d, k, report
}

func visible(payload string, seq uint64) string { return fmt.Sprintf("m|%s|7-%d|0", payload, seq) }

// held is what keeper keeps of a Put that is held back.
func held(key, payload string, seq uint64) string {
	return fmt.Sprintf("1|%s|m|%s|7-%d|0", key, payload, seq)
}

// What no commit index covers has no effect and is handed over in order; a later commit index, in a
// record of the log or as that of a snapshot, makes it count.
func TestRecoveryHoldsBack(t *testing.T) {
	t.Parallel()
	for _, clean := range []bool{true, false} {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		recoverShard(t, d, 3)
		l := d.Log(3)
		appendLagging(t, l, upTo(1, put(1, "a", "first")))
		appendLagging(t, l,
			upTo(1, put(2, "a", "second"), put(3, "b", "of a batch")),
			upTo(1, Record{Type: Expire, Epoch: 7, Seq: 4, Key: []byte("a"), Meta: VersionMeta(7, 2), Expiry: 5}),
			upTo(1, Record{Type: Delete, Epoch: 7, Seq: 5, Key: []byte("b")}),
			upTo(1, NewNoOp(7, 6, 66)),
			upTo(1, Record{Type: Flush, Epoch: 7, Seq: 7}))
		d, k, report := reopened(t, d, mem, clean)
		k.want(t, keeper{
			"a": visible("first", 1), "suffix 2": held("a", "second", 2), "suffix 3": held("b", "of a batch", 3), "suffix 4": fmt.Sprintf("3|a|%s||7-4|5", VersionMeta(7, 2)),
			"suffix 5": "2|b|||7-5|0", "suffix 6": fmt.Sprintf("6||%s||7-6|0", AppendTime(nil, 66)), "suffix 7": "4||||7-7|0",
		})
		if report.Has != (Point{7, 7}) || report.Given != 7 || report.Commit != 1 || report.HeldBack != 6 || report.Time != 66 || len(report.Damage) > 0 {
			t.Errorf("%+v", report)
		}

		l = d.Log(3) // the next record vouches for some
		appendLagging(t, l, upTo(4, put(8, "c", "last")))
		d, k, report = reopened(t, d, mem, clean)
		k.want(t, keeper{
			"a": "m|second|7-2|5", "b": visible("of a batch", 3),
			"suffix 5": "2|b|||7-5|0", "suffix 6": fmt.Sprintf("6||%s||7-6|0", AppendTime(nil, 66)), "suffix 7": "4||||7-7|0", "suffix 8": held("c", "last", 8),
		})
		if report.Commit != 4 || report.Has.Seq != 8 {
			t.Errorf("%+v", report)
		}

		if err := d.Log(3).Rotate(); err != nil { // a snapshot vouches, too
			t.Fatal(err)
		}
		snapshotOf(t, d.Log(3), 7)
		d, k, report = reopened(t, d, mem, clean)
		k.want(t, keeper{"suffix 8": held("c", "last", 8)})
		if report.Commit != 7 || report.Has.Seq != 8 || report.Time != 66 || len(report.Damage) > 0 {
			t.Errorf("%+v", report)
		}
		d, k, report = reopened(t, d, mem, clean)
		if err := d.Log(3).Rotate(); err != nil {
			t.Fatal(err)
		}
		c := put(8, "c", "last")
		snapshotOf(t, d.Log(3), 8, c)
		d, k, report = reopened(t, d, mem, clean)
		k.want(t, keeper{"c": visible("last", 8)})
		if report.Commit != 8 || report.HeldBack != 0 || report.Time != 66 { // no segment has the time any longer
			t.Errorf("%+v", report)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	}
}

// Observe sees only records that count; Suffix sees the others, after all else.
type observer struct {
	keeper
	observed []uint64
	ended    bool
}

func (o *observer) Observe(r *Record) {
	if o.ended {
		panic("a record counts after the suffix has begun")
	}
	o.observed = append(o.observed, r.Seq)
}

func (o *observer) Suffix(r *Record, read func([]byte) error) error {
	o.ended = true
	return o.keeper.Suffix(r, read)
}

func TestObserveSkipsWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	for seq := uint64(1); seq <= 6; seq++ {
		appendLagging(t, l, upTo(seq/2, put(seq, "k", "v")))
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	d = open(t, mem, fixedOptions())
	o := observer{keeper: keeper{}}
	if _, err := d.Log(3).Recover(&o); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.observed, []uint64{1, 2, 3}) || len(o.keeper) != 4 {
		t.Errorf("observed %v, %v", o.observed, o.keeper)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// logFile returns the newest segment of shard 3 and where its records begin.
func logFile(t *testing.T, mem *vfs.Mem) (name string, b []byte, at []int) {
	t.Helper()
	l, err := scanDir(mem, "data/shards/00003")
	if err != nil || len(l.segments) == 0 {
		t.Fatal(err, l)
	}
	name = "data/shards/00003/" + l.segments[len(l.segments)-1].name
	if b, err = vfs.ReadFile(mem, name, 64<<20); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if bytes.HasPrefix(b[i:], []byte(recordMagic)) {
			at = append(at, i)
		}
	}
	return name, b, at
}

func replaceFile(t testing.TB, mem *vfs.Mem, name string, b []byte) {
	t.Helper()
	err := vfs.Discard(mem, name)
	if err == nil {
		var f vfs.File
		if f, err = mem.Create(name); err == nil {
			err = f.WriteAt([][]byte{b}, 0)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Damage among what is held back takes the key's value in its turn, wherever the commit index is,
// and the report does not claim what is lost.
func TestDamageAmongWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		commit uint64 // of the last record
		want   keeper
	}{
		{1, keeper{"suffix 4": held("other", "four", 4), "suffix 5": held("last", "five", 5)}},
		{2, keeper{"suffix 4": held("other", "four", 4), "suffix 5": held("last", "five", 5)}},
		{4, keeper{"other": visible("four", 4), "suffix 5": held("last", "five", 5)}},
		{5, keeper{"other": visible("four", 4), "last": visible("five", 5)}},
	} {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		recoverShard(t, d, 3)
		appendLagging(t, d.Log(3), upTo(1, put(1, "k", "one")), upTo(1, put(2, "k", "two")), upTo(1, put(3, "k", "three")), upTo(1, put(4, "other", "four")),
			upTo(tc.commit, put(5, "last", "five")))
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		name, b, at := logFile(t, mem)
		b[at[3]-1] ^= 1 // the payload of the third record
		replaceFile(t, mem, name, b)
		d = open(t, mem, fixedOptions())
		k, report := recoverShard(t, d, 3)
		k.want(t, tc.want)
		if len(report.Damage) != 1 || string(report.Damage[0].Key) != "k" || report.Has != (Point{7, 2}) || report.Given != 5 || report.Commit != tc.commit {
			t.Errorf("commit index %d: %+v", tc.commit, report)
		}
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// What the files have ends before the first gap; marks and manifest say only what was given.
func TestHasEndsBeforeTheFirstGap(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage func(t *testing.T, mem *vfs.Mem, b []byte, at []int) []byte
		has    uint64
	}{
		"nothing":             {func(_ *testing.T, _ *vfs.Mem, b []byte, _ []int) []byte { return b }, 6},
		"a payload":           {func(_ *testing.T, _ *vfs.Mem, b []byte, at []int) []byte { b[at[1]-1] ^= 1; return b }, 3},
		"a head":              {func(_ *testing.T, _ *vfs.Mem, b []byte, at []int) []byte { b[at[1]+50] ^= 1; return b }, 4},
		"the last records":    {func(_ *testing.T, _ *vfs.Mem, b []byte, at []int) []byte { return b[:at[1]] }, 4},
		"all of the log":      {func(_ *testing.T, _ *vfs.Mem, b []byte, at []int) []byte { return b[:at[0]] }, 3},
		"the blob in the log": {func(t *testing.T, mem *vfs.Mem, b []byte, _ []int) []byte { loseBlob(t, mem, 6); return b }, 5},
		"a blob of the snapshot": {func(t *testing.T, mem *vfs.Mem, b []byte, _ []int) []byte {
			loseBlob(t, mem, 2)
			return b
		}, 0},
		"the snapshot": {func(t *testing.T, mem *vfs.Mem, b []byte, _ []int) []byte {
			name := "data/shards/00003/" + snapshotName(7, 3)
			s, err := vfs.ReadFile(mem, name, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			s[len(s)-footerBytes-1] ^= 1
			replaceFile(t, mem, name, s)
			return b
		}, 0},
		"the snapshot's footer": {func(t *testing.T, mem *vfs.Mem, b []byte, _ []int) []byte {
			name := "data/shards/00003/" + snapshotName(7, 3)
			s, err := vfs.ReadFile(mem, name, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			s[len(s)-1] ^= 1
			replaceFile(t, mem, name, s)
			return b
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			d := open(t, mem, fixedOptions())
			recoverShard(t, d, 3)
			l := d.Log(3)
			appendAll(t, l, put(1, "a", "one"))
			stored := blobOf(t, l, 2)
			appendAll(t, l, stored)
			appendAll(t, l, put(3, "c", "three"))
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
			snapshotOf(t, l, 3, put(1, "a", "one"), stored, put(3, "c", "three"))
			appendAll(t, l, put(4, "d", "four"))
			appendAll(t, l, put(5, "e", "five"))
			appendAll(t, l, blobOf(t, l, 6))
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
			file, b, at := logFile(t, mem)
			replaceFile(t, mem, file, tc.damage(t, mem, b, at))
			d = open(t, mem, fixedOptions())
			_, report := recoverShard(t, d, 3)
			want := Point{7, tc.has}
			if tc.has == 0 {
				want = Point{}
			}
			if report.Has != want || report.Given != 6 || (len(report.Damage) > 0) != (tc.has != 6) {
				t.Errorf("%+v, want to have %v", report, want)
			}
			if err := d.Close(false); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// blobOf stages a large payload for a record of the key "blob SEQ" and returns that.
func blobOf(t testing.TB, l *Log, seq uint64) Record {
	t.Helper()
	r := put(seq, fmt.Sprint("blob ", seq), largePayload+fmt.Sprint(seq))
	id, err := l.Stage(r.Payload)
	if err != nil {
		t.Fatal(err)
	}
	r.Blob, r.Payload = id, nil
	return r
}

// loseBlob removes the blob of the record that blobOf returned.
func loseBlob(t testing.TB, mem *vfs.Mem, seq uint64) {
	t.Helper()
	files, err := mem.List("data/shards/00003/blobs")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := "data/shards/00003/blobs/" + f.Name
		if b, err := vfs.ReadFile(mem, name, 2<<20); err == nil && strings.HasSuffix(string(b), fmt.Sprint("large ", seq)) {
			if err := mem.Remove(name); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the blob is not there")
}

// A blob of a record that is held back survives starts, beside that of the value that it would
// replace. Without it the record is lost: damage, or the end of the log after a loss of power.
func TestBlobsOfWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	setUp := func() (*vfs.Mem, *Disk) {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		recoverShard(t, d, 3)
		l := d.Log(3)
		first := blobOf(t, l, 1)
		appendLagging(t, l, upTo(1, first))
		second := blobOf(t, l, 2)
		second.Key = first.Key
		appendLagging(t, l, upTo(1, second))
		appendLagging(t, l, upTo(1, put(3, "small", "three")))
		return mem, d
	}
	first, second := visible(largePayload+"1", 1), held("blob 1", largePayload+"2", 2)

	mem, d := setUp()
	for range 3 {
		var k keeper
		d, k, _ = reopened(t, d, mem, false)
		k.want(t, keeper{"blob 1": first, "suffix 2": second, "suffix 3": held("small", "three", 3)})
	}
	appendLagging(t, d.Log(3), upTo(3, put(4, "small", "four")))
	d, k, _ := reopened(t, d, mem, false)
	k.want(t, keeper{"blob 1": visible(largePayload+"2", 2), "small": visible("three", 3), "suffix 4": held("small", "four", 4)})
	if files, err := mem.List("data/shards/00003/blobs"); err != nil || len(files) != 1 {
		t.Errorf("%v, %v: a blob that no record needs stays", files, err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}

	for _, boot := range []string{"boot", "another-boot"} {
		mem, d := setUp()
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
		loseBlob(t, mem, 2)
		options := fixedOptions()
		options.BootID = boot
		d = open(t, mem, options)
		k, report := recoverShard(t, d, 3)
		if boot == "boot" {
			k.want(t, keeper{"suffix 3": held("small", "three", 3)})
			if len(report.Damage) != 1 || report.Has != (Point{7, 1}) || report.HeldBack != 1 {
				t.Errorf("%+v", report)
			}
		} else {
			k.want(t, keeper{"blob 1": first})
			if len(report.Damage) != 0 || report.Has != (Point{7, 1}) || report.Given != 1 || report.HeldBack != 0 {
				t.Errorf("%+v", report)
			}
		}
		if err := d.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

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
		"nothing is back":       {first: ours[first], second: ours[second]},
		"a segment is back":     {first: ours[first], second: ours[second], stale: old[stale]},
		"records are back":      {first: old[first], second: ours[second]},
		"both are back":         {first: old[first], second: ours[second], stale: old[stale]},
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
