package replication

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/replica"
	"github.com/ndring/ndring/shard"
)

// A whole copy that is held up on its way does not take the place of what the member has got since, and while one is on its way no other
// begins.
func TestACopyThatWasHeldUpIsRefused(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	a, b := startNode(t, n, "a", 1, newFolder(true)), startNode(t, n, "b", 1, newFolder(true))
	row := replica.Config{Epoch: 1, Born: 1, Primary: a.self, ISR: processes(a)}
	configure(t, row, a, b)
	if err := a.set("first", 1000); err != nil {
		t.Fatal(err)
	}
	row.Learners = processes(b)
	configure(t, row, b)
	source := shard.Source{From: a.self, Epoch: 1, Leader: 1}
	install := func() (*shard.Installation, error) {
		return b.store.Shard(0).Member().Install(source, replica.Point{Epoch: 1, Seq: 1}, replica.EpochTable{{Epoch: 1, Seq: 1}}, 0)
	}
	held, err := install()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := install(); !errors.Is(err, shard.ErrNotTaken) {
		t.Errorf("a second copy at once: %v", err)
	}
	for i := range 5 {
		if err := a.set(fmt.Sprint("later-", i), 1000); err != nil {
			t.Fatal(err)
		}
	}
	configure(t, row, a)
	a.proposal(replica.Expand, b.self)
	if _, err := held.Commit(); !errors.Is(err, shard.ErrNotTaken) {
		t.Errorf("a copy that lacks what the member has acknowledged: %v", err)
	}
	await(t, "the member has all", func() bool { return alike(a, b) && b.has("later-4", 1000) })
	next, err := install()
	if err != nil {
		t.Fatalf("after the end of the first copy: %v", err)
	}
	next.Abort()
}

// A value travels ahead of its record only if it is too long for the record, and will be stored.
func TestOnlyWhatIsStoredTravelsAhead(t *testing.T) {
	t.Parallel()
	_, a, b, _ := pairUp(t, false)
	write := func(key string, size int, condition shard.Condition) shard.Outcome {
		t.Helper()
		of := a.store.Shard(0)
		if !of.Acquire() {
			t.Fatal("the shard is closed")
		}
		defer of.Release()
		v := shard.Value{NPY: content(key, size)}
		v.CRC = crc32c.Checksum(v.NPY)
		o, _, err := of.Set(shard.Write{Key: []byte(key), Value: v, Condition: condition})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, step := range []struct {
		key       string
		size      int
		condition shard.Condition
		done      bool
		uploads   int64
	}{
		{"k", shard.UploadBytes, shard.Always, true, 0},
		{"large", shard.UploadBytes + 1, shard.Always, true, 1},
		{"k", 2 * shard.UploadBytes, shard.IfMissing, false, 1},
		{"new", 2 * shard.UploadBytes, shard.IfPresent, false, 1},
		{"k", 2 * shard.UploadBytes, shard.IfPresent, true, 2},
	} {
		if o := write(step.key, step.size, step.condition); o.Done != step.done {
			t.Errorf("%s of %d bytes: done is %v", step.key, step.size, o.Done)
		}
		if n := a.repl.stats.Uploads.Load(); n != step.uploads {
			t.Errorf("after %s of %d bytes %d values have travelled ahead, not %d", step.key, step.size, n, step.uploads)
		}
	}
	if err := a.set("end", 10); err != nil {
		t.Fatal(err)
	}
	await(t, "the member has all", func() bool { return alike(a, b) && b.has("k", 2*shard.UploadBytes) })
	if left := len(b.repl.inbound.uploads); left > 0 {
		t.Errorf("the member keeps %d values that no record names", left)
	}
}

// Of values that no record has named, a member keeps the newest, and none for long.
func TestUploadsAreBounded(t *testing.T) {
	t.Parallel()
	n := newNetwork()
	b := startNode(t, n, "b", 1, nil)
	in := &b.repl.inbound
	const size, count = 20 << 20, 24
	keys := make([]uploadKey, count)
	for i := range keys {
		keys[i] = uploadKey{replica.Process{Node: "a", Incarnation: 1}, uint64(i)}
		npy := make([]byte, size)
		r := persistence.Record{Type: persistence.Put, Epoch: 1, Seq: 1, Key: []byte("k"), Bytes: size, CRC: crc32c.Checksum(npy), Meta: []byte{0x80, 0x80, 0x80, 0x0a, 0, 0}}
		e, err := b.store.Shard(0).Member().ReceiveUpload(&r, func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		in.keepUpload(keys[i], &upload{0, e, time.Now()})
	}
	for i, key := range keys {
		if in.mu.Lock(); (in.uploads[key] != nil) != (i >= count-uploadsKept) {
			t.Errorf("value %d of %d: kept is %v", i, count, in.uploads[key] != nil)
		}
		in.mu.Unlock()
	}
	in.sweep(time.Now().Add(uploadTime + time.Second))
	if len(in.uploads) > 0 {
		t.Errorf("%d values are kept for more than %v", len(in.uploads), uploadTime)
	}
}
