package persistence

import (
	"bytes"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// blobsOf counts the blobs of shard 3.
func blobsOf(t *testing.T, mem *vfs.Mem) int {
	t.Helper()
	all, err := mem.List("data/shards/00003/blobs")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A blob is removed as soon as the record that superseded it is synced and no snapshot refers to
// it, and not before.
func TestDeadBlobsAreRemovedInTime(t *testing.T) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	l := d.Log(3)
	recoverShard(t, d, 3)
	seq := uint64(0)
	var now BlobID
	overwrite := func() {
		t.Helper()
		id, err := l.Stage([][]byte{[]byte(largePayload)})
		if err != nil {
			t.Fatal(err)
		}
		seq++
		r := put(seq, "k", largePayload)
		r.Blob, r.Payload = id, nil
		appendAll(t, l, r)
		l.Supersede(now, seq)
		now = id
	}
	want := func(n int, when string) {
		t.Helper()
		if got := blobsOf(t, mem); got != n {
			t.Errorf("%s: %d blobs, want %d", when, got, n)
		}
	}
	sync := func(to Position) {
		t.Helper()
		if err := l.Sync(to); err != nil {
			t.Fatal(err)
		}
	}
	overwrite()
	sync(l.Position())
	overwrite()
	sync(0) // nothing to do
	want(2, "before the sync")
	sync(l.Position())
	want(1, "after the sync")
	save := func() {
		t.Helper()
		s, err := rotateAndBegin(l, 7, seq, []BlobID{now})
		if err != nil {
			t.Fatal(err)
		}
		r := put(seq, "k", largePayload)
		r.Blob, r.Payload = now, nil
		overwrite() // while the snapshot is written
		sync(l.Position())
		if err := s.Write(&r); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	save()
	want(2, "with a snapshot")
	sync(l.Position())
	want(2, "with a snapshot, after a sync")
	save()
	want(2, "with the next snapshot") // the one that it refers to, and the newest
	id, err := l.Stage([][]byte{[]byte(largePayload)})
	if err != nil {
		t.Fatal(err)
	}
	want(3, "with a staged blob")
	l.Abandon(id)
	want(2, "after Abandon")
	if _, dead, all := l.Sizes(); dead != int64(len(largePayload)) || all != d.Bytes() || d.Staged() != 0 {
		t.Errorf("%d dead bytes of %d, %d bytes in all files, %d staged", dead, all, d.Bytes(), d.Staged())
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	d = open(t, mem, fixedOptions())
	k, report := recoverShard(t, d, 3)
	if len(report.Damage) != 0 || !bytes.Contains([]byte(k["k"]), []byte(largePayload)) {
		t.Errorf("damage %v, value %.20q", report.Damage, k["k"])
	}
	want(2, "after a restart")
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
}
