package shard

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/ndring/ndring/memory"
	"github.com/ndring/ndring/persistence"
	"github.com/ndring/ndring/persistence/vfs"
)

var update = flag.Bool("update", false, "write the golden folder: only with a new version of the format")

const (
	goldenNow = 1_700_000_000_000
	// This program writes goldenAnswers. The program before it wrote oldAnswers. The one that wrote
	// oldPuts kept request ids only with values, and left expired values out of its snapshots.
	goldenAnswers = "testdata/format-2/answers.txt"
	oldAnswers    = "testdata/format-1/answers.txt"
	oldPuts       = "testdata/format-1/puts.txt"
)

func openGolden(t *testing.T, fs vfs.FS) *lab {
	t.Helper()
	n := byte(0)
	d, err := persistence.OpenDisk(fs, "data", persistence.Options{
		Shards: labShards, BootID: "boot", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.UnixMilli(goldenNow) },
		NextIncarnation: func(last uint64) uint64 { return max(last+1, epoch) },
		Rand: func(b []byte) {
			for i := range b {
				n++
				b[i] = n
			}
		},
	})
	must(t, d, err)
	l := &lab{t: t, pool: new(memory.Pool), now: goldenNow}
	l.Store = NewStore(labShards, d.Identity().Incarnation(), func() int64 { return l.now }, l.pool)
	l.mono = func() int64 { return l.now * 1e6 }
	l.UseDisk(d, true, unframed, slog.New(slog.DiscardHandler))
	l.Disk().Configure(DiskConfig{Fsync: FsyncEverysec})
	must(t, 0, l.Disk().Recover(t.Context(), slog.New(slog.DiscardHandler)))
	return l
}

// request writes a value with a request id and reports whether it was done.
func (l *lab) request(key, id string, condition Condition, at int64) bool {
	l.t.Helper()
	v, _ := l.value(key+id, 10, false)
	o, err := settled(l.of(key).Set(Write{Key: []byte(key), Value: v, Condition: condition, Expiry: Expiry{At: at}, RequestID: id}))
	return must(l.t, o, err).Done
}

// goldenFolder makes a folder with requests of all kinds before and after a snapshot, and values
// whose deadlines were changed.
func goldenFolder(t *testing.T) *vfs.Mem {
	mem := vfs.NewMem()
	l := openGolden(t, mem)
	sh := l.of(asked)
	requests := func(when string) {
		l.request("{0}"+when, when+" done", IfMissing, 0)
		l.request("{0}"+when, when+" refused", IfMissing, 0)
		l.request("{0}"+when, when+" born expired", IfPresent, goldenNow-1)
	}
	requests("saved")
	must(t, 0, sh.snapshots.write(false)) // of a single value: the order of values varies
	must(t, 0, settle(sh.Flush()))
	requests("flushed")
	l.put("{0}short", 10, goldenNow+1000)
	l.put("{0}long", 10, goldenNow+1000)
	must(t, 0, func() error {
		_, err := settled(sh.Expire([]byte("{0}long"), goldenNow+9000, ExpireCondition{}))
		return err
	}())
	l.put("{0}kept", 10, goldenNow+1000)
	must(t, 0, func() error { _, err := settled(sh.Persist([]byte("{0}kept"))); return err }())
	other := l.of("{1}k")
	l.request("{1}k", "of another life", IfMissing, 0)
	l.closeAll()
	must(t, 0, other.Role().Open(epoch+1, epoch+1)) // clears the stale copy
	l.kill()
	return mem
}

// dumpFolder and undumpFolder write and read the files of a folder as text.
func dumpFolder(mem *vfs.Mem) string {
	d := &damagedDisk{Mem: mem}
	d.walk("data/shards")
	var text strings.Builder
	for _, name := range append([]string{"data/MANIFEST"}, d.files...) {
		fmt.Fprintf(&text, "== %s\n%s", name, hex.Dump(d.read(name)))
	}
	return text.String()
}

func undumpFolder(t *testing.T, text string) *vfs.Mem {
	mem := vfs.NewMem()
	for _, file := range strings.Split(text, "== ")[1:] {
		name, dump, _ := strings.Cut(file, "\n")
		var b []byte
		for _, line := range strings.Split(strings.TrimSpace(dump), "\n") {
			digits, _, _ := strings.Cut(line[10:], "|")
			part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
			b = append(b, must(t, part, err)...)
		}
		must(t, 0, mem.Mkdir(path.Dir(name)))
		f, err := mem.Create(name)
		must(t, 0, must(t, f, err).WriteAt([][]byte{b}, 0))
	}
	return mem
}

// The files have, byte for byte, the form that this version of the format has always had.
func TestGoldenFolder(t *testing.T) {
	t.Parallel()
	got := dumpFolder(goldenFolder(t))
	if *update {
		must(t, 0, os.MkdirAll(path.Dir(goldenAnswers), 0o755))
		must(t, 0, os.WriteFile(goldenAnswers, []byte(got), 0o644))
	}
	want, err := os.ReadFile(goldenAnswers)
	must(t, 0, err)
	if !bytes.Equal([]byte(got), want) {
		t.Errorf("the folder is\n%s\nwant\n%s", got, want)
	}
}

// The folders in testdata, also those of older programs, can be read by a clock that shows a much
// later time.
func TestGoldenFoldersAreRead(t *testing.T) {
	t.Parallel()
	for file, all := range map[string]bool{goldenAnswers: true, oldAnswers: true, oldPuts: false} {
		text, err := os.ReadFile(file)
		must(t, 0, err)
		l, err := openLabAt(t, undumpFolder(t, string(text)), "a", FsyncEverysec, true, goldenNow+5000)
		must(t, 0, err)
		for key, want := range map[string]bool{"{0}saved": false, "{0}flushed": false, "{0}short": false, "{0}long": true, "{0}kept": true, "{1}k": false} {
			if l.has(key) != want {
				t.Errorf("%s: %s is there: %v", file, key, !want)
			}
		}
		if n := l.disk.counters.damageFound.Load(); n != 0 {
			t.Errorf("%s: %d places are reported as damaged", file, n)
		}
		requests := l.of(asked).requests.index
		wantRequests := 1 // with a value in the log
		if all {
			wantRequests = 6
		}
		if len(requests) != wantRequests || !requests[requestOf([]byte("{0}flushed"), "flushed done")].Done {
			t.Errorf("%s: requests %v are known", file, requests)
		}
		if all {
			for _, when := range []string{"saved", "flushed"} {
				for what, want := range map[string]bool{"done": true, "refused": false, "born expired": true} {
					if o, found := requests[requestOf([]byte("{0}"+when), when+" "+what)]; !found || o.Done != want {
						t.Errorf("%s %s: %v, %v", when, what, o, found)
					}
				}
			}
			if n := len(l.of("{1}k").requests.index); n != 0 {
				t.Errorf("%d requests of the stale copy are known", n)
			}
		}
		l.kill()
	}
}
