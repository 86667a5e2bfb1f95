package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

const labReserve = 256 << 10 // bytes that are kept back for deletes

// openFull opens a lab on a small disk. It logs to said.
func openFull(t *testing.T, fs vfs.FS, said *strings.Builder) *lab {
	t.Helper()
	log := slog.New(slog.NewTextHandler(said, nil))
	d, err := persistence.OpenDisk(fs, "data", persistence.Options{
		Shards: labShards, BootID: "a", Log: log, Reserve: labReserve, NextIncarnation: func(last uint64) uint64 { return max(last+1, epoch) },
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, pool: new(memory.Pool), now: 1_000_000}
	l.Store = NewStore(labShards, d.Identity().Incarnation(), func() int64 { return l.now }, l.pool)
	l.mono = func() int64 { return l.now * 1e6 }
	l.UseDisk(d, true, unframed, log)
	must(t, 0, l.Disk().Recover(t.Context(), log))
	l.disk.guard.check()
	return l
}

func (l *lab) tryPut(key string, n int) error {
	v, _ := l.value(key, n, false)
	_, err := settled(l.of(key).Set(Write{Key: []byte(key), Value: v}))
	return err
}

// fill stores keys until the disk is full and returns their number.
func (l *lab) fill() (keys int) {
	for {
		err := l.tryPut(fmt.Sprint("key ", keys), 3000)
		if errors.Is(err, ErrDiskFull) {
			return keys
		}
		must(l.t, 0, err)
		keys++
	}
}

// On a full disk reads and deletes work. The deleted space is freed, and then the store accepts
// values again.
func TestDeletesOnAFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	mem.SetSize(2 << 20)
	var said strings.Builder
	l := openFull(t, mem, &said)
	n := l.fill()
	mem.SetSize(2<<20 - l.mustFree(mem)) // another program uses the rest, to the last byte
	for i := range n {
		key := fmt.Sprint("key ", i)
		if deleted, err := settled(l.of(key).Delete(keys(key))); deleted != 1 || err != nil {
			t.Fatalf("delete %d of %d: %v", i, n, err)
		}
		if i == n/2 {
			l.disk.guard.check()
			if err := l.tryPut("x", 10); !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "delete keys") {
				t.Errorf("a value used the space for deletes: %v", err)
			}
		}
	}
	l.disk.folder.SyncAll()
	l.disk.guard.check()
	l.disk.compactor.compactShards(context.Background())
	l.disk.guard.check()
	must(t, 0, l.tryPut("x", 10))
	l.kill()
	again := openFull(t, mem, &said)
	if stats := again.Stats(); stats.Keys != 1 || !again.has("x") {
		t.Errorf("%d keys are back", stats.Keys)
	}
	again.kill()
}

func (l *lab) mustFree(mem *vfs.Mem) int64 {
	free, err := mem.Free("data")
	return must(l.t, free, err)
}

// When even the space kept back is used up, the error says so and nothing changes.
func TestDeleteOnAnExhaustedDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	mem.SetSize(1 << 20)
	var said strings.Builder
	l := openFull(t, mem, &said)
	key := strings.Repeat("k", 1000)
	must(t, 0, l.tryPut(key, 10))
	mem.SetSize(1) // another program uses more than was kept back
	for i := range int64(1000) {
		if _, err := settled(l.of(key).Expire([]byte(key), l.now+1000+i, ExpireCondition{})); err == nil {
			continue // into the last block of the file
		}
		_, err := settled(l.of(key).Delete(keys(key)))
		if !errors.Is(err, ErrDiskExhausted) || !vfs.NoSpace(err) || strings.Contains(err.Error(), "delete keys,") || !l.has(key) {
			t.Errorf("%v", err)
		}
		mem.SetSize(0)
		deleted, err := settled(l.of(key).Delete(keys(key)))
		if must(t, deleted, err) != 1 {
			t.Error("the key is missing once there is space again")
		}
		l.kill()
		return
	}
	t.Error("no change failed")
}

// A start on a full disk serves reads. It writes nothing until there is space, and the next start
// finds everything intact.
func TestStartOnAFullDisk(t *testing.T) {
	t.Parallel()
	for _, reserved := range []bool{true, false} { // without: a folder of an older program, or one whose reserve is used up
		mem := vfs.NewMem()
		var said strings.Builder
		l := openFull(t, mem, &said)
		for i := range 50 {
			must(t, 0, l.tryPut(fmt.Sprint("key ", i), 3000))
		}
		before := l.contents()
		l.kill()
		if !reserved {
			must(t, 0, mem.Remove("data/RESERVE"))
		}
		for range 2 {
			mem.SetSize(1)
			if reserved {
				mem.SetSize(1 - l.mustFree(mem)) // exactly what the files take
			}
			l = openFull(t, mem, &said)
			for id, got := range l.contents() {
				if brief(got) != brief(before[id]) {
					t.Errorf("shard %d has %s, want %s", id, brief(got), brief(before[id]))
				}
			}
			if err := l.tryPut("x", 10); !errors.Is(err, ErrDiskFull) {
				t.Errorf("reserved %v: a write: %v", reserved, err)
			}
			l.kill()
		}
		mem.SetSize(0)
		l = openFull(t, mem, &said)
		must(t, 0, l.tryPut("x", 10))
		l.disk.folder.SyncAll()
		l.kill()
		l = openFull(t, mem, &said)
		if stats, _ := l.Disk().Stats(); !l.has("x") || stats.Damage > 0 {
			t.Errorf("%d places are damaged", stats.Damage)
		}
		l.kill()
	}
}

// A start on an almost full disk uses the space kept back: raft has to write at a start too.
func TestStartOnAnAlmostFullDisk(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var said strings.Builder
	l := openFull(t, mem, &said)
	must(t, 0, l.tryPut("k", 3000))
	l.kill()
	for _, c := range []struct {
		left  int64
		spent bool
	}{{labReserve, false}, {labReserve / 8, true}} {
		mem.SetSize(1)
		mem.SetSize(1 - l.mustFree(mem) + c.left)
		l = openFull(t, mem, &said)
		if _, err := mem.Open("data/RESERVE"); (err != nil) != c.spent || l.disk.guard.full.Load() != c.spent || !l.has("k") {
			t.Errorf("%d bytes left: the reserve: %v, full %v", c.left, err, l.disk.guard.full.Load())
		}
		l.kill()
	}
}

// A running node uses space that becomes free, without a restart.
func TestSpaceBecomesFreeAfterTheStart(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	var said strings.Builder
	l := openFull(t, mem, &said)
	must(t, 0, l.tryPut("k", 10))
	must(t, 0, l.Store.Close(t.Context(), false)) // clean: the manifest says so until there is space for a new one
	l.Release()
	must(t, 0, mem.Remove("data/RESERVE"))
	mem.SetSize(1)
	l = openFull(t, mem, &said)
	if _, err := settled(l.of("k").Delete(keys("k"))); !errors.Is(err, ErrDiskExhausted) {
		t.Errorf("a delete: %v", err)
	}
	mem.SetSize(0)
	l.disk.guard.check()
	must(t, 0, l.tryPut("x", 10))
	l.kill() // not clean, as the manifest says
	l = openFull(t, mem, &said)
	if stats, _ := l.Disk().Stats(); !l.has("x") || !l.has("k") || stats.Damage > 0 {
		t.Errorf("%d places are damaged; %s", stats.Damage, said.String())
	}
	if !strings.Contains(said.String(), "shards are read-only until there is space") {
		t.Error(said.String())
	}
	l.kill()
}
