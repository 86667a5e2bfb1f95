package persistence

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// Batches that are appended together have the bytes that they would have one after another, whatever
// the sizes of their payloads.
func TestBatchesAreEncodedOneAfterAnother(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	sizes := []int{0, 1, 1000, smallPayload, smallPayload + 1, 100 << 10}
	var together recordEncoder
	for range 300 {
		var batches [][]Record
		seq := uint64(0)
		var want []byte
		for range 1 + r.IntN(4) {
			var batch []Record
			for range 1 + r.IntN(3)*r.IntN(2) {
				seq++
				one := put(seq, strings.Repeat("k", r.IntN(50)), strings.Repeat("v", sizes[r.IntN(len(sizes))]))
				switch r.IntN(5) {
				case 0:
					one = NewNoOp(7, seq, int64(seq))
				case 1:
					one.Blob, one.Payload = 5, nil
				}
				batch = append(batch, one)
			}
			batches = append(batches, batch)
			var alone recordEncoder
			pieces, _ := alone.encode([][]Record{batch}, 99)
			want = append(want, bytes.Join(pieces, nil)...)
		}
		pieces, n := together.encode(batches, 99)
		if got := bytes.Join(pieces, nil); !bytes.Equal(got, want) || n != int64(len(want)) {
			t.Fatalf("%d batches have %d bytes, %d of them counted, want %d", len(batches), len(got), n, len(want))
		}
		if n := readAnything(t, newScanner(memFileOf(t, want), 99, 0, int64(len(want)))); n != int(seq) {
			t.Fatalf("%d of %d records are read", n, seq)
		}
	}
}

// Several batches are one call of the file system, and all or nothing of them stays.
func TestBatchesAreOneWrite(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var fail error
	fs := vfs.NewFaulty(mem, func(int) error { return fail })
	d := open(t, fs, fixedOptions())
	recoverShard(t, d, 3)
	l := d.Log(3)
	appendAll(t, l, put(1, "a", "v")) // opens the segment
	before, _ := fs.Changes()
	appendLagging(t, l, upTo(2, NewNoOp(7, 2, 5)), upTo(2, put(3, "b", "v"), put(4, "c", strings.Repeat("v", smallPayload+1))), upTo(2, put(5, "d", "v")))
	if n, _ := fs.Changes(); n != before+1 {
		t.Errorf("%d changes of the file system", n-before)
	}
	fail = errPower
	if _, err := l.Append(upTo(2, put(6, "e", "v")), upTo(2, put(7, "f", "v"))); err == nil {
		t.Error("a write that failed has no error")
	}
	fail = nil
	appendLagging(t, l, upTo(5, put(6, "g", "v")))
	d, k, report := reopened(t, d, mem, false)
	if report.Has != (Point{7, 6}) || report.Commit != 5 || k["b"] != visible("v", 3) || k["suffix 6"] != held("g", "v", 6) || len(k) != 5 {
		t.Errorf("%v, %+v", k, report)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}
