package persistence

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

var update = flag.Bool("update", false, "rewrite the golden files: only with a new version of the format")

// largePayload needs a blob. A golden file of that would prove nothing.
var largePayload = strings.Repeat("large ", BlobBytes/6+1)

// goldenDisk creates a folder with one of everything: a log after a snapshot, a no-op, batches that
// were appended together, a blob, every type of record, and a log that ends with records that are
// held back.
func goldenDisk(t *testing.T) (*vfs.Mem, keeper) {
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	l := d.Log(3)
	recoverShard(t, d, 3)
	appendAll(t, l, NewNoOp(7, 1, 1_700_000_000_500))
	appendAll(t, l, put(2, "kept", "in the snapshot"))
	snapshot, err := rotateAndBegin(l, 7, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{put(1, "old", "overwritten"), put(2, "kept", "in the snapshot")} {
		r.Commit = 0
		if err := snapshot.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := snapshot.Commit(); err != nil {
		t.Fatal(err)
	}
	withDeadline := put(3, "old", "new")
	withDeadline.Expiry = 1_800_000_000_000
	if _, err := l.Append(committed([]Record{withDeadline}), committed([]Record{put(4, "a", "batch of two"), put(5, "b", "")})); err != nil {
		t.Fatal(err)
	}
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
	uncommitted := d.Log(6)
	recoverShard(t, d, 6)
	appendAll(t, uncommitted, put(1, "x", "visible"))
	second, third := put(2, "x", "not yet"), NewNoOp(7, 3, 1_700_000_001_000)
	second.Commit, third.Commit = 1, 1
	if _, err := uncommitted.Append([]Record{second}, []Record{third}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	return mem, keeper{
		"old": "m|new|7-3|1800000000000", "kept": "m|in the snapshot|7-2|0", "b": "m||7-5|1900000000000", "large": "m|" + largePayload + "|7-8|0",
	}
}

// golden returns the files of goldenDisk by the names of their golden files.
func golden() map[string]string {
	return map[string]string{
		"MANIFEST":       "data/MANIFEST",
		"MARKS":          "data/MARKS",
		"shard-MANIFEST": "data/shards/00003/MANIFEST",
		"snapshot":       "data/shards/00003/" + snapshotName(7, 2),
		"segment":        "data/shards/00003/" + segmentName(3),
		"flushed":        "data/shards/00005/" + segmentName(1),
		"suffix":         "data/shards/00006/" + segmentName(1),

		"suffix-MANIFEST": "data/shards/00006/MANIFEST",
	}
}

// goldenBlob is the blob to which the segments of all versions refer.
const goldenBlob BlobID = 0x403f3e3d3c3b3a39

const (
	goldenDir = "testdata/format-2"
	oldDir    = "testdata/format-1" // no later program writes it
)

// goldenPath returns where a golden file is.
func goldenPath(dir, name string) string {
	if strings.HasSuffix(name, "MANIFEST") || name == "MARKS" {
		return filepath.Join(dir, name)
	}
	return filepath.Join(dir, name+".hex")
}

// The program writes this version of the format as ever, byte for byte.
func TestGoldenFiles(t *testing.T) {
	mem, want := goldenDisk(t)
	for name, file := range golden() {
		text, err := vfs.ReadFile(mem, file, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		path := goldenPath(goldenDir, name)
		if strings.HasSuffix(path, ".hex") {
			text = []byte(hex.Dump(text))
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
	wantGolden(t, mem, want, 1_700_000_000_500, true)
}

// wantGolden recovers a folder as goldenDisk makes it.
func wantGolden(t *testing.T, mem *vfs.Mem, want keeper, time int64, suffix bool) {
	t.Helper()
	d := open(t, mem, fixedOptions())
	k, report := recoverShard(t, d, 3)
	k.want(t, want)
	if report.Given != 8 || report.Epoch != 7 || report.Has != (Point{7, 8}) || report.Commit != 8 || report.Time != time || report.HeldBack != 0 ||
		len(report.Damage) != 0 || report.Torn != 0 {
		t.Errorf("%+v", report)
	}
	k, _ = recoverShard(t, d, 5)
	k.want(t, keeper{})
	k, report = recoverShard(t, d, 6)
	if suffix {
		meta := string(AppendTime(nil, 1_700_000_001_000))
		k.want(t, keeper{"x": "m|visible|7-1|0", "suffix 2": "1|x|m|not yet|7-2|0", "suffix 3": "6||" + meta + "||7-3|0"})
		if report.Has != (Point{7, 3}) || report.Commit != 1 || report.HeldBack != 2 || report.Time != 1_700_000_001_000 || len(report.Damage) != 0 {
			t.Errorf("%+v", report)
		}
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// The program reads the golden files of all versions, which an older program may have written.
func TestGoldenFilesAreRead(t *testing.T) {
	_, want := goldenDisk(t)
	for dir, time := range map[string]int64{goldenDir: 1_700_000_000_500, oldDir: 0} {
		t.Run(dir, func(t *testing.T) {
			mem := goldenFolder(t, dir)
			wantGolden(t, mem, want, time, dir == goldenDir)
			if b, err := vfs.ReadFile(mem, "data/MANIFEST", maxManifest); err != nil || !bytes.Contains(b, []byte("\nformat 2\n")) {
				t.Errorf("%v: an older program takes the folder for its own:\n%s", err, b)
			}
			appendMore(t, mem, want)
		})
	}
}

// appendMore appends to a golden folder, so that its shard has files of two formats, and reads all.
func appendMore(t *testing.T, mem *vfs.Mem, want keeper) {
	t.Helper()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(9, "k", "later"))
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	d = open(t, mem, fixedOptions())
	k, report := recoverShard(t, d, 3)
	want = maps.Clone(want)
	want["k"] = "m|later|7-9|0"
	k.want(t, want)
	if len(report.Damage) != 0 || report.Has != (Point{7, 9}) {
		t.Errorf("%+v", report)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
}

// A folder or a file of a later format is refused by its number, not taken for damaged.
func TestALaterFormatIsRefused(t *testing.T) {
	mem, _ := goldenDisk(t)
	text, err := vfs.ReadFile(mem, "data/MANIFEST", maxManifest)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(text, []byte("crc32c "))
	later := bytes.Replace(text[:at], []byte("format 2"), []byte("format 3"), 1)
	later = fmt.Appendf(later, "crc32c %08x\n", crc32c.Checksum(later))
	if err := vfs.WriteFile(mem, "data/MANIFEST", later); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDisk(mem, "data", fixedOptions()); err == nil || !strings.Contains(err.Error(), `has format "3", this program reads formats 1 to 2`) || ManifestLost(err) {
		t.Error(err)
	}
	h := fileHeader{magic: segmentMagic, format: formatVersion + 1}
	if _, err := parseHeader(h.encode(), segmentMagic); err == nil || !strings.Contains(err.Error(), "has format 3, this program reads formats 1 to 2") {
		t.Error(err)
	}
}

// goldenFolder returns a folder with the golden files of a version.
func goldenFolder(t *testing.T, dir string) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	write := func(name string, b []byte) {
		t.Helper()
		err := mem.Mkdir(path.Dir(name))
		if err == nil {
			var f vfs.File
			if f, err = mem.Create(name); err == nil {
				err = f.WriteAt([][]byte{b}, 0)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, file := range golden() {
		b, err := os.ReadFile(goldenPath(dir, name))
		if os.IsNotExist(err) && dir == oldDir && strings.HasPrefix(name, "suffix") { // format 1 has none
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(goldenPath(dir, name), ".hex") {
			b = undump(t, b)
		}
		write(file, b)
	}
	write("data/shards/00003/"+blobName(goldenBlob), []byte(largePayload))
	return mem
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
