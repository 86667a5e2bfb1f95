package persistence

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/ndring/ndring/internal/crc32c"
	"github.com/ndring/ndring/persistence/vfs"
)

// seedFile adds a golden file and damaged versions of it to a corpus.
func seedFile(f *testing.F, dir, name string) {
	text, err := os.ReadFile(goldenPath(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	b := undump(&testing.T{}, text)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add(append(bytes.Clone(b), b...))
	for at := 0; at < len(b); at += 41 {
		flipped := bytes.Clone(b)
		flipped[at] ^= 0x11
		f.Add(flipped)
	}
}

// memFileOf creates a file in memory.
func memFileOf(t testing.TB, b []byte) vfs.File {
	f, err := vfs.NewMem().Create("f")
	if err == nil {
		err = f.WriteAt([][]byte{b}, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// readAnything scans bytes from record to record, as a recovery does, and checks that every record
// is whole.
func readAnything(t *testing.T, s *scanner) (records int) {
	for last := int64(-1); ; {
		r, n, err := s.next()
		if err == io.EOF {
			return records
		}
		if d := (*damagedError)(nil); errors.As(err, &d) {
			if s.at <= last {
				t.Fatalf("the scanner is stuck at %d", s.at)
			}
			last = s.at
			if err := s.resync(max(d.next, s.at+1)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		records++
		if n < oldHeadBytes || s.at > s.end || len(r.Key) > MaxKey || len(r.Meta) > MaxMeta {
			t.Fatalf("a record of %d bytes ends at %d of %d", n, s.at, s.end)
		}
		if r.Type == Put && r.Blob == 0 {
			if len(r.Payload[0]) > MaxInline || crc32c.Checksum(r.Payload[0]) != r.CRC {
				t.Fatal("the CRC32C of a payload differs")
			}
		}
		if cap(s.window) > 2*maxRecord {
			t.Fatalf("the window has grown to %d bytes", cap(s.window))
		}
	}
}

func FuzzSegment(f *testing.F) {
	for _, dir := range []string{goldenDir, oldDir} {
		seedFile(f, dir, "segment")
		seedFile(f, dir, "flushed")
	}
	seedFile(f, goldenDir, "suffix")
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b, segmentMagic)
		if err != nil {
			h = &fileHeader{magic: segmentMagic}
		}
		readAnything(t, newScanner(memFileOf(t, b), h.seed(), min(h.bytes(), int64(len(b))), int64(len(b))))
	})
}

func FuzzSnapshot(f *testing.F) {
	seedFile(f, goldenDir, "snapshot")
	seedFile(f, oldDir, "snapshot")
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b, snapshotMagic)
		if err != nil {
			return
		}
		file := memFileOf(t, b)
		foot, err := verifySnapshot(file, h, func(int64) error { return nil })
		n := readAnything(t, newScanner(file, h.seed(), h.bytes(), max(h.bytes(), int64(len(b))-footerBytes)))
		if err == nil && foot.count != uint64(n) {
			t.Fatalf("a whole snapshot of %d records yields %d", foot.count, n)
		}
	})
}

// FuzzRecovery recovers a shard from arbitrary files.
func FuzzRecovery(f *testing.F) {
	for _, dir := range []string{goldenDir, oldDir} {
		segment, err := os.ReadFile(goldenPath(dir, "segment"))
		if err != nil {
			f.Fatal(err)
		}
		snapshot, err := os.ReadFile(goldenPath(dir, "snapshot"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(undump(&testing.T{}, segment), undump(&testing.T{}, snapshot), []byte("ndring shard\n"), true)
	}
	f.Add([]byte{}, []byte{}, []byte{}, false)
	f.Fuzz(func(t *testing.T, segment, snapshot, manifest []byte, powerLoss bool) {
		mem := vfs.NewMem()
		d := open(t, mem, fixedOptions())
		if err := mem.Mkdir("data/shards/00003/blobs"); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{segmentName(3): segment, snapshotName(7, 2): snapshot, manifestName: manifest} {
			file, err := mem.Create("data/shards/00003/" + name)
			if err == nil {
				err = file.WriteAt([][]byte{b}, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		l := d.Log(3)
		l.reader.policy.powerLoss = powerLoss
		var err error
		if l.reader.listing, err = scanDir(mem, l.folder.dir); err != nil {
			t.Fatal(err)
		}
		_, report := recoverShard(t, d, 3)
		if report.Has.Seq > report.Given || report.Commit > report.Given || report.HeldBack < 0 || report.HeldBack > report.Logged {
			t.Fatalf("%+v", report)
		}
		// The log continues after what was found.
		appendAll(t, l, put(report.Given+1, "k", "v"))
		if err := d.Close(true); err != nil {
			t.Fatal(err)
		}
	})
}
