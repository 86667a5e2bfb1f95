package persistence

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// uncommitted makes a Put record that says what is committed so far.
func uncommitted(seq, commit uint64) Record {
	r := put(seq, string(rune('a'+seq)), "value")
	r.Commit = commit
	return r
}

// appendAs appends a batch whose records say themselves what is committed.
func appendAs(t *testing.T, l *Log, batch ...Record) {
	t.Helper()
	if _, err := l.Append(batch); err != nil {
		t.Fatal(err)
	}
}

// logWith returns the log of a shard with records 1 to n, of which the first two are committed. A
// batch ends with record 4.
func logWith(t *testing.T, n uint64) (*Disk, *Log) {
	t.Helper()
	d := open(t, vfs.NewMem(), fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	for seq := uint64(1); seq <= n; seq++ {
		if seq == 3 {
			appendAs(t, l, uncommitted(3, 2), uncommitted(4, 2))
			seq++
			continue
		}
		appendAs(t, l, uncommitted(seq, min(seq, 2)))
	}
	return d, l
}

func TestTruncate(t *testing.T) {
	for name, tc := range map[string]struct {
		after   Point
		refused bool
	}{
		"the newest record":                {Point{7, 6}, false},
		"some records":                     {Point{7, 5}, false},
		"a batch":                          {Point{7, 2}, false},
		"the second half of a batch":       {Point{7, 3}, true},
		"what is committed":                {Point{7, 1}, true},
		"everything":                       {Point{}, true},
		"after the end":                    {Point{7, 7}, true},
		"a record of an epoch that is not": {Point{6, 5}, true},
		"an end of an epoch that is not":   {Point{8, 6}, true},
	} {
		d, l := logWith(t, 6)
		err := l.Truncate(tc.after)
		if errors.Is(err, ErrTruncate) != tc.refused || err != nil && !tc.refused {
			t.Errorf("%s: %v", name, err)
		}
		want := tc.after
		if tc.refused {
			want = Point{7, 6}
		}
		if l.End() != want || l.Err() != nil {
			t.Errorf("%s: the log ends with %v, %v", name, l.End(), l.Err())
		}
		next := uncommitted(want.Seq+1, 2)
		next.Epoch = 9
		appendAs(t, l, next)
		if table := l.Epochs(); !slices.Equal(table, []EpochStart{{7, 1}, {9, want.Seq + 1}}) {
			t.Errorf("%s: the epochs are %v", name, table)
		}
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
		_, report := recoverShard(t, open(t, d.fs, fixedOptions()), 3)
		if report.Has != (Point{9, want.Seq + 1}) || len(report.Damage) > 0 {
			t.Errorf("%s: a start finds %+v", name, report)
		}
	}
}

// A snapshot of records that are truncated is cancelled, however it is committed, and nothing of it
// stays. One of what stays goes on.
func TestTruncateCancelsSnapshots(t *testing.T) {
	for _, together := range []bool{false, true} {
		for _, seq := range []uint64{5, 2} {
			d, l := logWith(t, 6)
			all := []*Snapshot{nil}
			for _, shard := range []int{5, 6} {
				recoverShard(t, d, shard)
				s, err := d.Log(shard).BeginSnapshot(7, 0, nil)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, s)
			}
			s, err := rotateAndBegin(l, 7, seq, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := put(1, "x", "snapshot")
			if err := s.Write(&r); err != nil {
				t.Fatal(err)
			}
			if err := l.Truncate(Point{7, 4}); err != nil {
				t.Fatal(err)
			}
			if all[0] = s; together {
				err = d.CommitAll(t.Context(), all)[0]
			} else {
				err = s.Commit()
			}
			if cancelled := seq > 4; errors.Is(err, ErrCancelled) != cancelled || err != nil && !cancelled {
				t.Errorf("snapshot at %d, together %v: %v", seq, together, err)
			}
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
			_, report := recoverShard(t, open(t, d.fs, fixedOptions()), 3)
			if report.Has != (Point{7, 4}) || len(report.Damage) > 0 {
				t.Errorf("snapshot at %d, together %v: a start finds %+v", seq, together, report)
			}
		}
	}
}

// A reader keeps the segments that it has yet to read; without it a snapshot removes them. It
// notices that the log was truncated, and does not mistake that for the end.
func TestReadersKeepSegments(t *testing.T) {
	_, l := logWith(t, 2)
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	appendAs(t, l, uncommitted(3, 3))
	reader, err := l.From(2)
	if err != nil {
		t.Fatal(err)
	}
	save := func(seq uint64) {
		t.Helper()
		s, err := rotateAndBegin(l, 7, seq, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	save(3)
	appendAs(t, l, uncommitted(4, 4))
	for seq := uint64(2); seq <= 4; seq++ {
		if r, err := reader.Next(); err != nil || r.Seq != seq {
			t.Fatalf("record %d: %+v, %v", seq, r, err)
		}
	}
	if _, err := reader.Next(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if n := len(l.files.segments); n != 3 {
		t.Errorf("%d segments while a reader is open", n)
	}
	appendAs(t, l, uncommitted(5, 4))
	if r, err := reader.Next(); err != nil || r.Seq != 5 {
		t.Errorf("a record that was appended at the end: %+v, %v", r, err)
	}
	appendAs(t, l, uncommitted(6, 4))
	if err := l.Truncate(Point{7, 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Next(); !errors.Is(err, ErrChanged) {
		t.Errorf("after a truncation: %v", err)
	}
	if reader.Close(); len(l.files.segments) != 1 {
		t.Errorf("%d segments after the reader", len(l.files.segments))
	}
	for from, want := range map[uint64]error{3: ErrCompacted, 4: nil, 6: nil} {
		r, err := l.From(from)
		if !errors.Is(err, want) {
			t.Errorf("from %d: %v", from, err)
		}
		if err == nil {
			r.Close()
		}
	}
	if _, err := l.From(7); err == nil {
		t.Error("a reader after the end")
	}
}

// What a truncation removes is gone for good after a sync, though no record was written since.
func TestSyncOfATruncation(t *testing.T) {
	d, l := logWith(t, 6)
	if err := l.Sync(l.Position()); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteMarks(true); err != nil { // which a start must not hold against the shorter log
		t.Fatal(err)
	}
	if err := l.Truncate(Point{7, 4}); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(l.Position()); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		o := fixedOptions()
		o.BootID = "another"
		_, report := recoverShard(t, open(t, d.fs.(*vfs.Mem).Crash(seeded(seed)), o), 3)
		if report.Has != (Point{7, 4}) || len(report.Damage) > 0 {
			t.Fatalf("seed %d: a start finds %+v", seed, report)
		}
	}
}
