package shard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ndring/ndring/cluster/topology"
	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

// slowDisk is a file system on which every sync takes some time of a simulated clock. Syncs run one
// after another.
type slowDisk struct {
	vfs.FS
	each time.Duration

	mu     sync.Mutex // guards all below
	passed time.Duration
	syncs  int
	limit  time.Duration // for the stop
	over   chan struct{} // closed when the limit is reached
}

func newSlowDisk(fs vfs.FS, each time.Duration) *slowDisk {
	return &slowDisk{FS: fs, each: each, over: make(chan struct{})}
}

func (d *slowDisk) sync(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	before := d.passed
	d.passed += d.each
	if d.limit > 0 && before < d.limit && d.passed >= d.limit {
		close(d.over)
	}
	return do()
}

// stopWithin resets the clock and returns a context that ends at the limit.
func (d *slowDisk) stopWithin(limit time.Duration) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passed, d.syncs, d.limit = 0, 0, limit
	return slowContext{context.Background(), d.over}
}

type slowContext struct {
	context.Context
	over chan struct{}
}

func (c slowContext) Done() <-chan struct{} { return c.over }

func (c slowContext) Err() error {
	select {
	case <-c.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func (d *slowDisk) SyncDir(dir string) error {
	return d.sync(func() error { return d.FS.SyncDir(dir) })
}

func (d *slowDisk) Volume(dir string) (vfs.Volume, error) {
	v, err := d.FS.Volume(dir)
	return slowVolume{v, d}, err
}

type slowVolume struct {
	vfs.Volume
	d *slowDisk
}

func (v slowVolume) Sync() error { return v.d.sync(v.Volume.Sync) }

func (d *slowDisk) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	return slowFile{f, d}, err
}

func (d *slowDisk) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return slowFile{f, d}, err
}

type slowFile struct {
	vfs.File
	d *slowDisk
}

func (f slowFile) Sync() error { return f.d.sync(f.File.Sync) }

// manyShards opens a store of 256 shards.
func manyShards(t *testing.T, fs vfs.FS, logged bool, log *slog.Logger) *lab {
	t.Helper()
	const shards = 256
	d, err := persistence.OpenDisk(fs, "data", persistence.Options{
		Shards: shards, BootID: "a", Log: log, NextIncarnation: func(last uint64) uint64 { return max(last+1, epoch) },
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, pool: new(memory.Pool), now: 1_000_000}
	l.Store = NewStore(shards, d.Identity().Incarnation(), func() int64 { return l.now }, l.pool)
	l.mono = func() int64 { return l.now * 1e6 }
	l.UseDisk(d, logged, unframed, log)
	must(t, 0, l.Disk().Recover(t.Context(), log))
	return l
}

// storeMany stores 3,000 keys.
func (l *lab) storeMany() {
	for i := range 3000 {
		key := fmt.Sprint("key ", i)
		v, _ := l.value(key, 20, false)
		o, err := settled(shardOf(l.Store, topology.Slot([]byte(key))).Set(Write{Key: []byte(key), Value: v}))
		if must(l.t, o, err); !o.Done {
			l.t.Fatal(key)
		}
	}
}

// A stop takes a few syncs, however many shards have changed: on a slow disk it keeps its time
// limit and writes the snapshots of all shards. If the disk is too slow even for that, the logs
// suffice.
func TestStopOnASlowDisk(t *testing.T) {
	t.Parallel()
	const limit = 10 * time.Second
	for _, c := range []struct {
		each          time.Duration
		logged, saved bool
	}{{100 * time.Millisecond, true, true}, {100 * time.Millisecond, false, true}, {4 * time.Second, true, false}} {
		t.Run(fmt.Sprintf("%v logged=%v", c.each, c.logged), func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewMem()
			slow := newSlowDisk(mem, c.each)
			var said strings.Builder
			log := slog.New(slog.NewTextHandler(&said, nil))
			l := manyShards(t, slow, c.logged, log)
			l.storeMany()
			ctx := slow.stopWithin(limit)
			must(t, 0, l.Store.Close(ctx, true))
			l.Release()
			t.Logf("%d syncs, %v", slow.syncs, slow.passed)
			const rest = 10 // syncs that every stop needs
			if slow.passed > limit+rest*c.each || c.saved && slow.passed > limit/2 {
				t.Errorf("the stop took %v, %d syncs", slow.passed, slow.syncs)
			}
			if strings.Contains(said.String(), "level=ERROR") || strings.Contains(said.String(), "cut the writing of snapshots short") == c.saved {
				t.Errorf("log: %s", said.String())
			}
			again := manyShards(t, mem, c.logged, log)
			stats, _ := again.Disk().Stats()
			if n := again.Stats().Keys; n != 3000 || stats.Damage > 0 || stats.Torn > 0 || (stats.Unsaved == 0) != c.saved {
				t.Errorf("%d keys are back, %d changes are not in a snapshot, %d places are damaged", n, stats.Unsaved, stats.Damage)
			}
			again.kill()
		})
	}
}

// A stop without time left succeeds if nothing has changed or the logs have the changes.
func TestStopWithoutTime(t *testing.T) {
	t.Parallel()
	for _, changed := range []bool{false, true} {
		mem := vfs.NewMem()
		var said strings.Builder
		l := manyShards(t, mem, true, slog.New(slog.NewTextHandler(&said, nil)))
		if changed {
			l.storeMany()
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		must(t, 0, l.Store.Close(ctx, true))
		l.Release()
		if strings.Contains(said.String(), "level=ERROR") || strings.Contains(said.String(), "snapshots") != changed {
			t.Errorf("changed %v: log: %s", changed, said.String())
		}
	}
}

// Running out of file descriptors leaves nothing uncertain: no log stops, and everything works once
// there are descriptors again.
func TestOutOfDescriptors(t *testing.T) {
	t.Parallel()
	for _, none := range []error{syscall.EMFILE, syscall.ENFILE} {
		for _, fsync := range []FsyncPolicy{FsyncAlways, FsyncEverysec} {
			mem := vfs.NewMem()
			opens := &openless{FS: mem}
			l := mustLab(t, opens, fsync)
			l.put("k", 10, 0)
			l.disk.folder.SyncAll()
			l.put("k", 20, 0) // the sync of this file opens its folder again
			must(t, 0, l.of("k").snapshots.write(true))
			l.put("k", 30, 0)
			opens.set(none)
			l.put("k", 40, 0) // its segment is open
			if n := l.disk.folder.SyncAll(); fsync == FsyncEverysec && n != 1 {
				t.Errorf("%d logs were synced", n)
			}
			if err := l.of("k").snapshots.write(true); !errors.Is(err, none) {
				t.Errorf("a snapshot: %v", err)
			}
			v, _ := l.value("x", 10, false)
			if _, err := settled(l.of("other").Set(Write{Key: []byte("other"), Value: v})); !errors.Is(err, none) || !errors.Is(err, ErrDisk) {
				t.Errorf("a write that needs a file: %v", err)
			}
			opens.set(nil)
			if stats, _ := l.Disk().Stats(); stats.Stopped != 0 {
				t.Fatalf("%d logs have stopped", stats.Stopped)
			}
			l.put("other", 10, 0)
			l.put("k", 50, 0)
			l.disk.folder.SyncAll()
			must(t, 0, l.of("k").snapshots.write(true))
			want := l.contents()
			must(t, 0, l.Store.Close(t.Context(), true))
			l.Release()
			again := mustLab(t, mem, fsync)
			if got := again.contents(); brief(got[l.of("k").id]) != brief(want[l.of("k").id]) || !again.has("other") || again.disk.counters.damageFound.Load() > 0 {
				t.Errorf("%v, %s", none, brief(got[l.of("k").id]))
			}
			again.kill()
		}
	}
}

// openless is a file system that cannot open files while err is set.
type openless struct {
	vfs.FS
	mu  sync.Mutex
	err error
}

func (o *openless) set(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *openless) may() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *openless) Open(name string) (vfs.File, error) {
	if err := o.may(); err != nil {
		return nil, err
	}
	return o.FS.Open(name)
}

func (o *openless) Create(name string) (vfs.File, error) {
	if err := o.may(); err != nil {
		return nil, err
	}
	return o.FS.Create(name)
}

func (o *openless) SyncDir(dir string) error {
	if err := o.may(); err != nil {
		return err
	}
	return o.FS.SyncDir(dir)
}

// Shards whose log has stopped are counted.
func TestStoppedShardsAreCounted(t *testing.T) {
	t.Parallel()
	broken := false
	l := mustLab(t, vfs.NewFaulty(vfs.NewMem(), func(int) error {
		if broken {
			return syscall.EIO
		}
		return nil
	}), FsyncEverysec)
	sh, other := l.of("k"), l.of("other")
	if sh == other {
		t.Fatal("both keys belong to one shard")
	}
	l.put("k", 10, 0)
	for want, stop := range []*Shard{nil, sh, other} {
		if stop == other {
			l.put("other", 10, 0)
		}
		broken = true
		if stop != nil && stop.writer.log.Sync(stop.writer.log.Position()) == nil {
			t.Error("the sync succeeded")
		}
		broken = false
		if stats, _ := l.Disk().Stats(); stats.Stopped != want {
			t.Errorf("%d stopped shards are counted, want %d", stats.Stopped, want)
		}
	}
	l.kill()
}
