package persistence

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// begunSnapshots creates a folder with a log in each shard, and a snapshot of each that is written
// but not published.
func begunSnapshots(t *testing.T, fs vfs.FS) (*Disk, []*Snapshot) {
	t.Helper()
	d := open(t, fs, fixedOptions())
	var all []*Snapshot
	for id := range d.Shards() {
		recoverShard(t, d, id)
		appendAll(t, d.Log(id), put(1, "k", fmt.Sprint("value ", id)))
	}
	d.SyncAll()
	for id := range d.Shards() {
		all = append(all, writtenSnapshot(t, d.Log(id), 1, put(1, "k", fmt.Sprint("value ", id))))
	}
	return d, all
}

// wantAll recovers a folder of begunSnapshots: each shard has its value, and nothing is damaged.
func wantAll(t *testing.T, fs vfs.FS, boot string) {
	t.Helper()
	o := fixedOptions()
	o.BootID = boot
	texts, found, _ := reported(t, fs, o)
	if len(texts) > 0 {
		t.Errorf("%q", texts)
	}
	for id, k := range found {
		k.want(t, keeper{"k": fmt.Sprintf("m|value %d|7-1|0", id)})
	}
}

// Publishing any number of snapshots takes two syncs. Whatever fails on the way, each shard has its
// old files or its new one.
func TestSnapshotsArePublishedTogether(t *testing.T) {
	t.Parallel()
	for fault := -1; ; fault++ {
		mem := vfs.NewMem()
		begun, syncs := -1, 0
		faulty := vfs.NewFaulty(mem, func(n int) error {
			if begun >= 0 && n-begun == fault {
				return syscall.EIO
			}
			return nil
		})
		counted := &countingFS{FS: faulty, count: func(string) { syncs++ }}
		d, all := begunSnapshots(t, counted)
		begun, _ = faulty.Changes()
		syncs = 0
		errs := d.CommitAll(t.Context(), all)
		_, failed := faulty.Changes()
		if fault < 0 && (slices.ContainsFunc(errs, func(err error) bool { return err != nil }) || syncs != 2) {
			t.Errorf("%d syncs, %v", syncs, errs)
		}
		_ = d.Close(false)
		wantAll(t, mem.Clone(), "boot")
		wantAll(t, mem, "boot")
		if fault >= 0 && failed == 0 {
			t.Logf("%d changes", fault)
			if fault < 3*len(all) {
				t.Error("too few changes")
			}
			return
		}
	}
}

// A failed sync of the volume fails snapshots that were written before it, even if another caller
// got the error.
func TestAFailedSyncFailsUnpublishedSnapshots(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	fail := false
	d, all := begunSnapshots(t, vfs.NewFaulty(mem, func(int) error {
		if fail {
			return syscall.EIO
		}
		return nil
	}))
	fail = true
	if err := d.volume.sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	fail = false
	for _, err := range d.CommitAll(t.Context(), all) {
		if !errors.Is(err, errFlush) {
			t.Errorf("%v", err)
		}
	}
	_ = d.Close(false)
	wantAll(t, mem, "boot")
}

// countingFS counts syncs of all kinds.
type countingFS struct {
	vfs.FS
	mu    sync.Mutex
	count func(what string) // called with mu held
}

func (c *countingFS) synced(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(what)
}

func (c *countingFS) SyncDir(dir string) error { c.synced("dir"); return c.FS.SyncDir(dir) }

func (c *countingFS) Volume(dir string) (vfs.Volume, error) {
	v, err := c.FS.Volume(dir)
	return countingVolume{v, c}, err
}

type countingVolume struct {
	vfs.Volume
	c *countingFS
}

func (v countingVolume) Sync() error { v.c.synced("volume"); return v.Volume.Sync() }

func (c *countingFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return countingFile{f, c}, nil
}

func (c *countingFS) Open(name string) (vfs.File, error)   { return c.file(c.FS.Open(name)) }
func (c *countingFS) Create(name string) (vfs.File, error) { return c.file(c.FS.Create(name)) }

type countingFile struct {
	vfs.File
	c *countingFS
}

func (f countingFile) Sync() error { f.c.synced("file"); return f.File.Sync() }

// A disk that silently damages writes is detected before the old files are removed.
func TestASnapshotIsReadBack(t *testing.T) {
	t.Parallel()
	for _, together := range []bool{false, true} {
		mem := vfs.NewMem()
		lying := &lyingFS{FS: mem}
		d, all := begunSnapshots(t, lying)
		lying.damage = true
		errs := make([]error, len(all))
		if together {
			errs = d.CommitAll(t.Context(), all)
		} else {
			for i, s := range all {
				errs[i] = s.Commit()
			}
		}
		for id, err := range errs {
			if err == nil || !strings.Contains(err.Error(), "cannot be read back") {
				t.Errorf("together %v, shard %d: %v", together, id, err)
			}
		}
		lying.damage = false
		_ = d.Close(false)
		wantAll(t, mem, "boot")
	}
}

// lyingFS silently damages snapshots.
type lyingFS struct {
	vfs.FS
	damage bool
}

func (l *lyingFS) Create(name string) (vfs.File, error) {
	f, err := l.FS.Create(name)
	if err == nil && strings.HasSuffix(name, ".snap"+tempSuffix) {
		f = lyingFile{f, l}
	}
	return f, err
}

type lyingFile struct {
	vfs.File
	l *lyingFS
}

func (f lyingFile) WriteAt(pieces [][]byte, offset int64) error {
	if !f.l.damage {
		return f.File.WriteAt(pieces, offset)
	}
	all := slices.Concat(pieces...)
	all[fixedHeader+epochBytes+headBytes] ^= 1 // of the first key
	return f.File.WriteAt([][]byte{all}, offset)
}

// A snapshot without one of its records has valid CRCs except for its footer. Verification, a start
// and the scrubber all detect it.
func TestASnapshotWithoutOneOfItsRecords(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	l := d.Log(3)
	recoverShard(t, d, 3)
	records := []Record{put(1, "a", "one"), put(2, "b", "two"), put(3, "c", "three")}
	for _, r := range records {
		appendAll(t, l, r)
	}
	snapshotOf(t, l, 3, records...)
	name := l.folder.path(snapshotName(7, 3))
	b, err := vfs.ReadFile(mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHeader(b, snapshotMagic)
	if err != nil {
		t.Fatal(err)
	}
	foot, err := readFooter(memFileOf(t, b), int64(len(b)), h.seed())
	if err != nil {
		t.Fatal(err)
	}
	cut := int(records[0].size())
	foot.bytes -= uint64(cut)
	b = slices.Concat(b[:h.bytes()], b[int(h.bytes())+cut:len(b)-footerBytes], foot.encode(h.seed()))
	if _, err := verifySnapshot(memFileOf(t, b), h, func(int64) error { return nil }); err == nil || !strings.Contains(err.Error(), "other records") {
		t.Errorf("verifying: %v", err)
	}
	remove(t, mem, name)
	if err := vfs.WriteFile(mem, name, b); err != nil {
		t.Fatal(err)
	}
	found, err := l.Scrubber().Scrub(func(int64) bool { return true })
	if err != nil || len(found) != 1 || !strings.Contains(found[0].What, "other records") {
		t.Errorf("scrubbing: %v, %v", found, err)
	}
	_ = d.Close(false)
	texts, _, _ := reported(t, mem, fixedOptions())
	if len(texts) != 1 || !strings.Contains(texts[0], "other records") || !strings.Contains(texts[0], name) {
		t.Errorf("recovery: %q", texts)
	}
}
