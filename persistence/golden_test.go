package persistence

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

var update = flag.Bool("update", false, "rewrite the golden files: only with a new version of the format")

// largePayload needs a blob. A golden file of that would prove nothing.
var largePayload = strings.Repeat("large ", BlobBytes/6+1)

// goldenDisk creates a folder with one of everything: a log after a snapshot, a batch, a blob, every
// type of record.
func goldenDisk(t *testing.T) (*vfs.Mem, keeper) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	l := d.Log(3)
	recoverShard(t, d, 3)
	appendAll(t, l, put(1, "old", "overwritten"))
	appendAll(t, l, put(2, "kept", "in the snapshot"))
	snapshot, err := rotateAndBegin(l, 7, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{put(1, "old", "overwritten"), put(2, "kept", "in the snapshot")} {
		if err := snapshot.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := snapshot.Commit(); err != nil {
		t.Fatal(err)
	}
	withDeadline := put(3, "old", "new")
	withDeadline.Expiry = 1_800_000_000_000
	appendAll(t, l, withDeadline)
	appendAll(t, l, put(4, "a", "batch of two"), put(5, "b", ""))
	appendAll(t, l, Record{Type: Delete, Reason: Evicted, Epoch: 7, Seq: 6, Key: []byte("a")})
	appendAll(t, l, Record{Type: Expire, Epoch: 7, Seq: 7, Key: []byte("b"), Meta: VersionMeta(7, 5), Expiry: 1_900_000_000_000})
	id, err := l.Stage([][]byte{[]byte(largePayload)})
	if err != nil {
		t.Fatal(err)
	}
	large := put(8, "large", largePayload)
	large.Blob, large.Payload = id, nil
	appendAll(t, l, large)
	other := d.Log(5)
	recoverShard(t, d, 5)
	appendAll(t, other, put(1, "x", "y"))
	appendAll(t, other, Record{Type: Flush, Epoch: 7, Seq: 2})
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	return mem, keeper{
		"old": "m|new|7-3|1800000000000", "kept": "m|in the snapshot|7-2|0", "b": "m||7-5|1900000000000", "large": "m|" + largePayload + "|7-8|0",
	}
}

// golden returns the files of goldenDisk by the names of their golden files.
func golden(mem *vfs.Mem) map[string]string {
	return map[string]string{
		"MANIFEST":       "data/MANIFEST",
		"MARKS":          "data/MARKS",
		"shard-MANIFEST": "data/shards/00003/MANIFEST",
		"snapshot":       "data/shards/00003/" + snapshotName(7, 2),
		"segment":        "data/shards/00003/" + segmentName(3),
		"flushed":        "data/shards/00005/" + segmentName(1),
	}
}

const goldenDir = "testdata/format-1"

// The program writes this version of the format as ever, byte for byte.
func TestGoldenFiles(t *testing.T) {
	mem, want := goldenDisk(t)
	for name, file := range golden(mem) {
		got, err := vfs.ReadFile(mem, file, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(goldenDir, name+".hex")
		if strings.HasSuffix(name, "MANIFEST") || name == "MARKS" {
			path = filepath.Join(goldenDir, name)
		}
		text := got
		if strings.HasSuffix(path, ".hex") {
			text = []byte(hex.Dump(got))
		}
		if *update {
			if err := os.MkdirAll(goldenDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(kept, text) {
			t.Errorf("%s differs from format %d:\n%s\nwant\n%s", name, formatVersion, text, kept)
		}
	}
	d := open(t, mem, fixedOptions())
	k, report := recoverShard(t, d, 3)
	k.want(t, want)
	if report.Given != 8 || report.Epoch != 7 || len(report.Damage) != 0 || report.Torn != 0 {
		t.Errorf("%+v", report)
	}
	k, _ = recoverShard(t, d, 5)
	k.want(t, keeper{})
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// The program reads the golden files, which an older one may have written.
func TestGoldenFilesAreRead(t *testing.T) {
	made, want := goldenDisk(t)
	mem := vfs.NewMem()
	for _, dir := range []string{"data/shards/00003/blobs", "data/shards/00005"} {
		if err := mem.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, b []byte) {
		t.Helper()
		f, err := mem.Create(name)
		if err == nil {
			err = f.WriteAt([][]byte{b}, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, file := range golden(made) {
		b, err := os.ReadFile(filepath.Join(goldenDir, name))
		if os.IsNotExist(err) {
			if b, err = os.ReadFile(filepath.Join(goldenDir, name+".hex")); err == nil {
				b = undump(t, b)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		write(file, b)
	}
	blobs, err := made.List("data/shards/00003/blobs")
	if err != nil || len(blobs) != 1 {
		t.Fatal(blobs, err)
	}
	write("data/shards/00003/blobs/"+blobs[0].Name, []byte(largePayload))
	d := open(t, mem, fixedOptions())
	k, report := recoverShard(t, d, 3)
	k.want(t, want)
	if len(report.Damage) != 0 {
		t.Error(report.Damage)
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
}

// undump decodes what hex.Dump wrote.
func undump(t *testing.T, text []byte) (b []byte) {
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		digits, _, _ := strings.Cut(line[10:], "|")
		part, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, part...)
	}
	return b
}
