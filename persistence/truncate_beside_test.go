package persistence

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// A sync of many logs at once that begins before a truncation says nothing about what the log has
// then: neither does a mark name a removed record, nor does such a record come back after the next
// sync.
func TestTruncateDuringASyncOfAll(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	during := func() {}
	fs := &countingFS{FS: mem, count: func(string) {}}
	d := open(t, hookedVolume{fs, func() { during() }}, fixedOptions())
	for id := range d.Shards() {
		recoverShard(t, d, id)
		appendLagging(t, d.Log(id), upTo(1, put(1, "k", "kept")))
	}
	d.SyncAll()
	l := d.Log(3)
	for id := range d.Shards() {
		appendLagging(t, d.Log(id), upTo(1, put(2, "k", "removed from shard 3")))
	}
	during = func() {
		during = func() {}
		if err := l.Truncate(Point{7, 1}); err != nil {
			t.Error(err)
		}
	}
	d.SyncAll()
	if err := d.WriteMarks(true); err != nil {
		t.Fatal(err)
	}
	texts, found, _ := reported(t, mem.Clone(), fixedOptions()) // after kill -9
	if len(texts) > 0 {
		t.Errorf("%q", texts)
	}
	found[3].want(t, keeper{"k": visible("kept", 1)})

	if err := l.Sync(l.Position()); err != nil {
		t.Fatal(err)
	}
	o := fixedOptions()
	o.BootID = "another boot"
	for seed := range uint64(20) {
		texts, found, _ := reported(t, mem.Crash(rand.New(rand.NewPCG(seed, 0))), o)
		if len(texts) > 0 {
			t.Errorf("seed %d: %q", seed, texts)
		}
		found[3].want(t, keeper{"k": visible("kept", 1)})
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
}

// hookedVolume calls a function before each sync of the volume.
type hookedVolume struct {
	vfs.FS
	before func()
}

func (h hookedVolume) Volume(dir string) (vfs.Volume, error) {
	v, err := h.FS.Volume(dir)
	return hookedSync{v, h.before}, err
}

type hookedSync struct {
	vfs.Volume
	before func()
}

func (v hookedSync) Sync() error { v.before(); return v.Volume.Sync() }

// hookedFS calls a function when a file is truncated or removed, after that.
type hookedFS struct {
	vfs.FS
	after func(name string)
}

func (h hookedFS) Open(name string) (vfs.File, error) {
	f, err := h.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return hookedFile{f, name, h.after}, nil
}

func (h hookedFS) Remove(name string) error {
	err := h.FS.Remove(name)
	h.after(name)
	return err
}

type hookedFile struct {
	vfs.File
	name  string
	after func(string)
}

func (f hookedFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	f.after(f.name)
	return err
}

// What the scrubber and readers of the log see while files of a log are cut and removed, by a
// truncation or for an installed copy, is no damage.
func TestFilesThatChangeAreNotDamaged(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Log) error{
		"truncation": func(l *Log) error { return l.Truncate(Point{7, 2}) },
		"installation": func(l *Log) error {
			i, err := l.Install(Point{8, 9}, []EpochStart{{8, 9}})
			if err != nil {
				return err
			}
			r := put(9, "k", "installed")
			if err := i.Write(&r); err != nil {
				return err
			}
			return i.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l *Log
			var found []Damage
			busy, scrubs := false, 0
			after := func(string) {
				if l == nil || busy {
					return
				}
				busy = true
				scrubs++
				damage, err := l.Scrubber().Scrub(func(int64) bool { return true })
				if err != nil {
					t.Error(err)
				}
				found = append(found, damage...)
				busy = false
			}
			d := open(t, hookedFS{vfs.NewMem(), after}, fixedOptions())
			recoverShard(t, d, 3)
			log := d.Log(3)
			long := strings.Repeat("l", 2*scanChunk)
			appendLagging(t, log, upTo(1, put(1, "k", "kept"))) // in the snapshot, too
			snapshotOf(t, log, 1, put(1, "k", "kept"))
			appendLagging(t, log, upTo(1, put(2, "k", "removed")))
			appendLagging(t, log, upTo(1, put(3, "k", long)))
			for range 2 { // complete and synced segments are scrubbed
				if err := log.Rotate(); err != nil {
					t.Fatal(err)
				}
				appendLagging(t, log, upTo(1, put(log.End().Seq+1, "k", "removed")))
			}
			if err := log.Sync(log.Position()); err != nil {
				t.Fatal(err)
			}
			var err error
			changed := false
			damage, scrubErr := log.Scrubber().Scrub(func(int64) bool { // after the first record of the snapshot, and of the segment behind it
				if scrubs++; scrubs == 2 {
					changed, l = true, log
					err = change(log)
				}
				return true
			})
			if found = append(found, damage...); err != nil || scrubErr != nil || !changed {
				t.Fatal(err, scrubErr, changed)
			}
			if len(found) > 0 || scrubs == 0 {
				t.Errorf("%d scrubs: %v", scrubs, found)
			}
			l = nil
			if slices.ContainsFunc(log.files.segments, func(s *segment) bool { return s.damaged }) {
				t.Error("a segment counts as damaged")
			}
			if err := d.Close(true); err != nil {
				t.Fatal(err)
			}
		})
	}
}
