package persistence

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// What a write has left that failed, and could not be cut off at once, is gone after a clean stop:
// the next start would take it for damage, because it trusts all bytes.
func TestCleanStopAfterATornWrite(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	failing := 0
	faulty := vfs.NewFaulty(mem, func(int) error {
		if failing > 0 {
			failing--
			return syscall.EIO
		}
		return nil
	})
	d := open(t, faulty, fixedOptions())
	for id := range d.Shards() {
		recoverShard(t, d, id)
	}
	l := d.Log(3)
	appendAll(t, l, put(1, "k", "kept"))
	if err := l.Sync(l.Position()); err != nil {
		t.Fatal(err)
	}
	for size := 200; !l.writer.torn && size > 0; size-- { // the faulty disk writes a part
		failing = 2 // the write, and the cut
		if _, err := l.Append(committed([]Record{put(2, "k", largePayload[:size])})); err == nil {
			t.Fatal("the write did not fail")
		}
	}
	if !l.writer.torn {
		t.Fatal("nothing is left of the write")
	}
	failing = 0
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	o := fixedOptions()
	o.BootID = "another boot"
	for seed := range uint64(10) {
		texts, found, _ := reported(t, mem.Crash(rand.New(rand.NewPCG(seed, 0))), o)
		if len(texts) > 0 {
			t.Errorf("seed %d: %q", seed, texts)
		}
		found[3].want(t, keeper{"k": visible("kept", 1)})
	}
}
