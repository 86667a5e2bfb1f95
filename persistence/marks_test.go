package persistence

import (
	"path"
	"strings"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// markedFolder creates a folder of two shards with a snapshot and a log. The marks, if any, cover all
// but the last record of each.
func markedFolder(t *testing.T, marked bool) (*vfs.Mem, *Disk) {
	t.Helper()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	for _, id := range []int{3, 5} {
		l := d.Log(id)
		recoverShard(t, d, id)
		appendAll(t, l, put(1, "a", "one"), put(2, "b", "two"))
		snapshotOf(t, l, 2, put(1, "a", "one"), put(2, "b", "two"))
		appendAll(t, l, put(3, "a", "three"), Record{Type: Delete, Epoch: 7, Seq: 4, Key: []byte("b")})
	}
	d.SyncAll()
	if marked {
		if err := d.WriteMarks(false); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []int{3, 5} {
		appendAll(t, d.Log(id), put(5, "c", "not in the marks"))
	}
	return mem, d
}

func snapshotOf(t *testing.T, l *Log, seq uint64, records ...Record) {
	t.Helper()
	if err := writtenSnapshot(t, l, seq, records...).Commit(); err != nil {
		t.Fatal(err)
	}
}

func writtenSnapshot(t *testing.T, l *Log, seq uint64, records ...Record) *Snapshot {
	t.Helper()
	s, err := rotateAndBegin(l, 7, seq, nil)
	for i := range records {
		if err == nil {
			err = s.Write(&records[i])
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reported recovers all shards, and returns the damage that is reported.
func reported(t *testing.T, fs vfs.FS, o Options) (texts []string, found map[int]keeper, seqs map[int]uint64) {
	t.Helper()
	d := open(t, fs, o)
	found, seqs = map[int]keeper{}, map[int]uint64{}
	for _, damage := range d.Damage() {
		texts = append(texts, damage.String())
	}
	for id := range o.Shards {
		k, report := recoverShard(t, d, id)
		found[id], seqs[id] = k, report.Given
		for _, damage := range report.Damage {
			texts = append(texts, damage.String())
		}
		if len(report.Damage) > 0 { // as the caller of Recover must
			var all []Record
			for key := range k {
				all = append(all, put(report.Given, key, "x"))
			}
			snapshotOf(t, d.Log(id), report.Given, all...)
		}
	}
	if err := d.Close(false); err != nil {
		t.Fatal(err)
	}
	return texts, found, seqs
}

// A missing file or folder is reported once, by name, and the seqs of lost records are not used
// again.
func TestALostFileIsReported(t *testing.T) {
	t.Parallel()
	shard, segment := "data/shards/00003", "data/shards/00003/"+segmentName(3)
	for name, c := range map[string]struct {
		damage func(t *testing.T, mem *vfs.Mem)
		want   []string
		left   []string
	}{
		"the newest segment is missing": {func(t *testing.T, mem *vfs.Mem) { remove(t, mem, segment) }, []string{segment, "after 7-2", "up to 7-4", "missing"}, []string{"a", "b"}},
		"the newest segment is empty":   {func(t *testing.T, mem *vfs.Mem) { truncate(t, mem, segment, 0) }, []string{segment, "after 7-2", "0 bytes"}, []string{"a", "b"}},
		"its records are missing":       {func(t *testing.T, mem *vfs.Mem) { truncate(t, mem, segment, fixedHeader+epochBytes) }, []string{segment, "after 7-2"}, []string{"a", "b"}},
		"the folder is missing": {func(t *testing.T, mem *vfs.Mem) {
			remove(t, mem, segment)
			remove(t, mem, shard+"/"+snapshotName(7, 2))
			remove(t, mem, shard+"/"+manifestName)
			mem.RemoveDir(shard)
		}, []string{shard, "the folder is missing", "7-4"}, nil},
		"the folder is empty": {func(t *testing.T, mem *vfs.Mem) {
			remove(t, mem, segment)
			remove(t, mem, shard+"/"+snapshotName(7, 2))
			remove(t, mem, shard+"/"+manifestName)
		}, []string{segment, "missing"}, nil},
		"the marks are damaged": {func(t *testing.T, mem *vfs.Mem) { truncate(t, mem, "data/"+marksName, 100) }, []string{marksName}, []string{"a", "c"}},
	} {
		for _, boot := range []string{"boot", "another"} { // after a kill, and after a loss of power
			mem, d := markedFolder(t, true)
			_ = d.Close(false)
			c.damage(t, mem)
			o := fixedOptions()
			o.BootID = boot
			texts, found, seqs := reported(t, mem, o)
			if len(texts) != 1 {
				t.Fatalf("%s, %s: %q", name, boot, texts)
			}
			for _, part := range c.want {
				if !strings.Contains(texts[0], part) {
					t.Errorf("%s: %q does not say %q", name, texts[0], part)
				}
			}
			if len(found[3]) != len(c.left) || seqs[3] < 4 {
				t.Errorf("%s: %v survived, seq %d", name, found[3], seqs[3])
			}
			if again, _, _ := reported(t, mem, o); len(again) > 0 && name != "the marks are damaged" {
				t.Errorf("%s, %s: the next start reports %q", name, boot, again)
			}
		}
	}
}

// A folder that was put back from an older copy is reported, although all its files are whole.
func TestAnOlderCopyIsReported(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(1, "a", "old"), put(2, "b", "deleted later"))
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	older := mem.Clone()
	d = open(t, mem, fixedOptions())
	recoverShard(t, d, 3)
	appendAll(t, d.Log(3), put(3, "a", "new"), Record{Type: Delete, Epoch: 7, Seq: 4, Key: []byte("b")})
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	copyFolder(t, older, mem, "data/shards/00003")
	texts, _, _ := reported(t, mem, fixedOptions())
	if len(texts) != 1 || !strings.Contains(texts[0], "after 7-2") || !strings.Contains(texts[0], "up to 7-4") {
		t.Errorf("%q", texts)
	}
}

// A folder without marks, by an older program, is read without complaint and gets marks.
func TestAFolderWithoutMarks(t *testing.T) {
	t.Parallel()
	mem, d := markedFolder(t, false)
	_ = d.Close(false)
	texts, found, _ := reported(t, mem, fixedOptions())
	if len(texts) != 0 || len(found[3]) != 2 {
		t.Errorf("%q, %v", texts, found[3])
	}
	d = open(t, mem, fixedOptions())
	for id := range fixedOptions().Shards {
		recoverShard(t, d, id)
	}
	if err := d.Close(true); err != nil {
		t.Fatal(err)
	}
	b, err := vfs.ReadFile(mem, "data/"+marksName, maxMarks)
	if err != nil || !strings.Contains(string(b), "\n00003 7 5 "+segmentName(3)+"\n") {
		t.Errorf("%v\n%s", err, b)
	}
}

// The marks are written when a log continues in another file, not at each sync.
func TestMarksAreWrittenRarely(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	d := open(t, mem, fixedOptions())
	l := d.Log(3)
	recoverShard(t, d, 3)
	seq := uint64(0)
	written := func(all bool) bool {
		t.Helper()
		before, _ := vfs.ReadFile(mem, "data/"+marksName, maxMarks)
		if err := d.WriteMarks(all); err != nil {
			t.Fatal(err)
		}
		after, _ := vfs.ReadFile(mem, "data/"+marksName, maxMarks)
		return string(before) != string(after)
	}
	record := func() {
		seq++
		appendAll(t, l, put(seq, "k", "v"))
	}
	record()
	if written(true) {
		t.Error("an unsynced record is marked")
	}
	d.SyncAll()
	if !written(false) {
		t.Error("a record in a new file is not marked")
	}
	record()
	if written(true) {
		t.Error("an unsynced record of a synced file is marked")
	}
	d.SyncAll()
	if written(false) {
		t.Error("a sync alone writes the marks")
	}
	if !written(true) || written(true) {
		t.Error("WriteMarks(true) must write new records, once")
	}
	record()
	snapshotOf(t, l, seq, put(seq, "k", "v"))
	if !written(false) {
		t.Error("a snapshot is not marked")
	}
	_ = d.Close(false)
}

func remove(t *testing.T, mem *vfs.Mem, name string) {
	t.Helper()
	if err := mem.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, mem *vfs.Mem, name string, size int64) {
	t.Helper()
	f, err := mem.Open(name)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyFolder replaces the files of a folder by those in another file system.
func copyFolder(t *testing.T, from, to *vfs.Mem, dir string) {
	t.Helper()
	there, err := to.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range there {
		if !f.Dir {
			remove(t, to, path.Join(dir, f.Name))
		}
	}
	files, err := from.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Dir {
			continue
		}
		b, err := vfs.ReadFile(from, path.Join(dir, f.Name), 1<<30)
		if err == nil {
			err = vfs.WriteFile(to, path.Join(dir, f.Name), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// After a loss of power, damage before the mark is reported, and the records after it are kept.
func TestDamageBeforeTheMarkAfterALossOfPower(t *testing.T) {
	t.Parallel()
	mem, d := markedFolder(t, true)
	_ = d.Close(false)
	name := "data/shards/00003/" + segmentName(3)
	b, err := vfs.ReadFile(mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b[fixedHeader+epochBytes+headBytes] ^= 1 // the key of the first record
	remove(t, mem, name)
	if err := vfs.WriteFile(mem, name, b); err != nil {
		t.Fatal(err)
	}
	o := fixedOptions()
	o.BootID = "another"
	texts, found, _ := reported(t, mem, o)
	if len(texts) != 1 || !strings.Contains(texts[0], name) || found[3]["c"] == "" {
		t.Errorf("%q, %v", texts, found[3])
	}
}
