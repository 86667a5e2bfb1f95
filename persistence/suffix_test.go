package persistence

import (
	"bytes"
	"fmt"
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
		d, _, _ = reopened(t, d, mem, clean)
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

// A commit index beyond the end of the log, as a faulty program may write it, does not promise records
// that the copy lacks.
func TestCommitIndexBeyondTheLog(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendLagging(t, d.Log(3), upTo(100, put(1, "k", "v")))
	d, k, report := reopened(t, d, mem, false)
	k.want(t, keeper{"k": visible("v", 1)})
	if report.Commit != 1 || report.Has.Seq != 1 || report.Given != 1 {
		t.Errorf("%+v", report)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// What a recovery holds back takes memory once: a payload that the handler has is not kept beside it.
func TestHeldPayloadsAreGivenAway(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendLagging(t, d.Log(3), upTo(0, put(1, "a", "held back")), upTo(0, put(2, "b", "held back, too")))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	d = open(t, mem, fixedOptions())
	found, err := d.Log(3).reader.replay(keeper{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found.left) != 2 {
		t.Errorf("%d records are held back", len(found.left))
	}
	for _, f := range found.left {
		if f.Payload != nil {
			t.Errorf("the payload of record %d is still there", f.Seq)
		}
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
}
