package shard

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence/vfs"
)

// damagedDisk is a data folder to be damaged, with every state that it ever had.
type damagedDisk struct {
	*vfs.Mem
	ever  map[string]map[fact]bool // key -> its past values
	last  map[int]state
	files []string
}

// makeDisk makes a folder with snapshots, several segments, batches and blobs. Clean says that it
// was closed cleanly; otherwise the process was killed.
func makeDisk(t *testing.T, seed uint64, clean bool) *damagedDisk {
	mem := vfs.NewMem()
	d := &damagedDisk{Mem: mem, ever: map[string]map[fact]bool{}}
	for round := range 3 { // each start begins a new segment
		l, err := openLab(t, mem, "a", FsyncEverysec)
		if err != nil {
			t.Fatal(err)
		}
		s := newScript(l, seed+uint64(round))
		for range 40 {
			s.step()
		}
		for _, history := range s.history {
			for _, st := range history {
				for key, f := range st {
					if d.ever[key] == nil {
						d.ever[key] = map[fact]bool{}
					}
					d.ever[key][f] = true
				}
			}
		}
		d.last = l.contents()
		if round == 2 && clean {
			must(t, 0, l.Close(t.Context(), false))
			l.Release()
			break
		}
		l.kill()
	}
	d.walk("data/shards")
	if _, err := d.Open("data/MARKS"); err == nil {
		d.files = append(d.files, "data/MARKS")
	}
	return d
}

func (d *damagedDisk) walk(dir string) {
	all, _ := d.List(dir)
	for _, f := range all {
		if name := dir + "/" + f.Name; f.Dir {
			d.walk(name)
		} else {
			d.files = append(d.files, name)
		}
	}
}

func (d *damagedDisk) read(name string) []byte {
	b, err := vfs.ReadFile(d, name, 1<<30)
	if err != nil {
		panic(err)
	}
	return b
}

// with returns a copy of the folder in which some files have other bytes, or are missing (nil).
func (d *damagedDisk) with(t *testing.T, changes map[string][]byte) *vfs.Mem {
	copied := d.Clone()
	for name, b := range changes {
		must(t, 0, vfs.Discard(copied, name))
		if b == nil {
			continue
		}
		f, err := copied.Create(name)
		must(t, f, err)
		must(t, 0, f.WriteAt([][]byte{b}, 0))
	}
	return copied
}

// check opens a damaged folder. Every value that is served must once have been stored, and the
// damage must have been reported.
func (d *damagedDisk) check(t *testing.T, damaged *vfs.Mem, what string, mayBeSilent bool) {
	t.Helper()
	l, err := openLab(t, damaged, "a", FsyncEverysec)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	whole := true
	for id, st := range l.contents() {
		for key, f := range st {
			if !d.ever[key][f] {
				t.Fatalf("%s: key %s has %s, which it never had", what, key, brief(state{key: f}))
			}
		}
		if !maps.Equal(st, d.last[id]) {
			whole = false
		}
	}
	stats, _ := l.Disk().Stats()
	if stats.Damage == 0 && stats.Torn == 0 && !mayBeSilent {
		t.Fatalf("%s: no damage was reported; nothing is missing: %v", what, whole)
	}
	before := l.contents()
	l.kill()
	// The recovery has repaired the folder.
	again, err := openLab(t, damaged, "a", FsyncEverysec)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for id, st := range again.contents() {
		if !maps.Equal(st, before[id]) {
			t.Fatalf("%s: the next start finds %s in shard %d, the first one found %s", what, brief(st), id, brief(before[id]))
		}
	}
	if stats, _ := again.Disk().Stats(); stats.Damage > 0 || stats.Torn > 0 {
		t.Fatalf("%s: the next start finds damage again: %+v", what, stats)
	}
	again.kill()
}

// Whatever happens to the files, the recovery does not crash, serves only values that were stored,
// and reports the damage.
func TestDamage(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	tried := map[string]int{}
	for _, clean := range []bool{true, false} {
		if memory.OnGoHeap && clean == (seed%2 == 0) { // one of them is enough for the race detector
			continue
		}
		var d *damagedDisk
		var records, blobs []string
		for range 100 { // until the folder has some of everything
			d, records, blobs = makeDisk(t, seed, clean), nil, nil
			for _, name := range d.files {
				switch {
				case strings.Contains(name, "/blobs/"):
					blobs = append(blobs, name)
				case !strings.HasSuffix(name, "MANIFEST") && !strings.HasSuffix(name, "MARKS"):
					records = append(records, name)
				}
			}
			if len(records) >= 6 && len(blobs) >= 2 && slices.ContainsFunc(records, func(n string) bool { return strings.HasSuffix(n, ".snap") }) {
				break
			}
			seed++
		}
		try := func(kind, name string, changes map[string][]byte, mayBeSilent bool) {
			tried[kind]++
			d.check(t, d.with(t, changes), fmt.Sprintf("seed %d, clean %v, %s of %s", seed, clean, kind, name), mayBeSilent)
		}
		flip := func(kind, name string, at int) {
			b := d.read(name)
			b[at] ^= 1 << r.IntN(8)
			try(kind, name, map[string][]byte{name: b}, false)
		}
		rounds, step := 100, 4 // a quarter; make faults runs all
		switch {
		case manyFaults():
			rounds, step = faultRounds(t, 400), 1
		case memory.OnGoHeap, testing.Short():
			rounds, step = 8, 97
		case poisoned: // looks for uses of freed memory, for which a part is enough
			rounds, step = 20, 23
		}
		for _, name := range d.files { // every byte of the last records, the footer and the manifest
			n := len(d.read(name))
			if strings.Contains(name, "/blobs/") {
				continue
			}
			for at := max(0, n-120); at < n; at += step {
				flip("a bit of the end", name, at)
			}
			for at := 0; at < min(n, 100); at += step {
				flip("a bit of the header", name, at)
			}
			for range 1 + 7/step {
				at := r.IntN(n)
				try("truncation", name, map[string][]byte{name: d.read(name)[:at]}, !clean) // a cut between two records cannot be detected
			}
			try("loss", name, map[string][]byte{name: nil}, !clean || strings.HasSuffix(name, "MARKS"))
		}
		for range rounds {
			flip("a bit", records[r.IntN(len(records))], 0)
			name := records[r.IntN(len(records))]
			flip("a bit", name, r.IntN(len(d.read(name))))
			b := d.read(name)
			at := r.IntN(len(b))
			for i := range b[at:min(len(b), at+1+r.IntN(600))] {
				b[at+i] = byte(r.Uint32())
			}
			try("noise", name, map[string][]byte{name: b}, false)
		}
		for _, a := range records {
			for _, b := range records {
				if a < b && r.IntN(step) == 0 {
					try("exchange", a+" and "+b, map[string][]byte{a: d.read(b), b: d.read(a)}, false)
				}
			}
		}
		for i, name := range blobs { // a blob that only a snapshot refers to need not be read
			b := d.read(name)
			b[r.IntN(len(b))] ^= 4
			try("a bit of a blob", name, map[string][]byte{name: b}, true)
			try("loss of a blob", name, map[string][]byte{name: nil}, true)
			try("truncation of a blob", name, map[string][]byte{name: b[:r.IntN(len(b))]}, true)
			other := blobs[(i+1)%len(blobs)]
			try("exchange of blobs", name, map[string][]byte{name: d.read(other), other: d.read(name)}, true)
		}
	}
	total := 0
	for _, n := range tried {
		total += n
	}
	t.Logf("%d damaged folders: %v", total, tried)
}
