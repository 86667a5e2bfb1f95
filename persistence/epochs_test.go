package persistence

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// Epochs rise within a segment. The headers of later files and a recovery know where each began.
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
		if damage, err := l.Scrubber().Scrub(func(int64) bool { return true }); err != nil || len(damage) > 0 {
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
		if report.Given != seq || report.Epoch != epoch || len(report.Damage) > 0 || report.Torn > 0 {
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

	appendAll(t, l, in(13, put(6, "e", "thirteen"))) // in another segment, whose header has the earlier rows
	rows = append(rows, EpochStart{13, 6})
	want["e"] = "m|thirteen|13-6|0"
	again(6, 13, want, rows...)

	// A snapshot in an epoch without a record.
	snapshot, err := rotateAndBegin(l, 15, 6, nil)
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
	again(6, 15, want, rows...)
	rows = append(rows, EpochStart{15, 7})
	appendAll(t, l, in(15, put(7, "f", "fifteen")))
	want["f"] = "m|fifteen|15-7|0"
	again(7, 15, want, rows...)
}

// After a loss of power, the epoch table has no row for records that were cut off.
func TestCutOffEpochsAreForgotten(t *testing.T) {
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
			t.Errorf("%v survived, in epoch %d, with the table %v", k, report.Epoch, again.Log(3).epochs)
		}
	}
}

// A segment that cannot be created leaves no epoch behind: the next epoch begins with the same seq, and the table rises all the
// same. Otherwise the primary cannot read what the copy has.
func TestEpochWithoutARecordLeavesNoRow(t *testing.T) {
	full := false
	mem := vfs.NewMem()
	fs := vfs.NewFaulty(mem, func(int) error {
		if full {
			return syscall.ENOSPC
		}
		return nil
	})
	d := open(t, fs, fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	if err := l.folder.ensure(); err != nil {
		t.Fatal(err)
	}
	full = true
	refused := put(1, "a", "nine")
	refused.Epoch = 9
	if _, err := l.Append([]Record{refused}); err == nil {
		t.Fatal("a full disk took a record")
	}
	full = false
	later := put(1, "a", "twelve")
	later.Epoch = 12
	appendAll(t, l, later)
	if want := []EpochStart{{12, 1}}; fmt.Sprint(l.Epochs()) != fmt.Sprint(want) {
		t.Errorf("the table is %v, want %v", l.Epochs(), want)
	}
}

// A file of an earlier program may have an epoch of which no record was written. Its records are read, scrubbed and saved all the
// same, and the table of the shard rises.
func TestFilesWithAnEpochWithoutARecordAreRead(t *testing.T) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	appendAll(t, l, put(1, "a", "seven"), put(2, "b", "seven"))
	l.epochs = append(l.epochs, EpochStart{9, 3}, EpochStart{12, 3}) // what it left: the segment of epoch 9 could not be created
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"c", "d"} {
		r := put(uint64(3+i), key, "twelve")
		r.Epoch = 12
		appendAll(t, l, r)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	d = open(t, mem, fixedOptions())
	keys, report := recoverShard(t, d, 3)
	if len(keys) != 4 || len(report.Damage) != 0 {
		t.Errorf("%d keys, damage %v", len(keys), report.Damage)
	}
	if got := fmt.Sprint(d.Log(3).Epochs()); got != "[{7 1} {12 3}]" {
		t.Errorf("the table is %s", got)
	}
}
