package persistence

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"math/rand/v2"
	"testing"

	"github.com/ndring/ndring/persistence/vfs"
)

// After a loss of power at any moment, a file has its former or its new content.
func TestFilesAreReplacedAtomically(t *testing.T) {
	old, new := []byte("old"), bytes.Repeat([]byte("new "), 1000)
	for moment := range 30 {
		mem := vfs.NewMem()
		var image *vfs.Mem
		saving := -1
		d := open(t, vfs.NewFaulty(mem, func(n int) error {
			if saving >= 0 {
				if saving == moment {
					image = mem.Crash(rand.New(rand.NewPCG(uint64(moment), 1)))
				}
				saving++
			}
			return nil
		}), fixedOptions())
		if _, err := d.Files().Load("claim"); !errors.Is(err, iofs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := d.Files().Save("claim", old); err != nil {
			t.Fatal(err)
		}
		saving = 0
		if err := d.Files().Save("claim", new); err != nil {
			t.Fatal(err)
		}
		if image == nil {
			if moment < 3 {
				t.Fatalf("there were only %d changes of the file system", moment)
			}
			again := open(t, mem.Crash(rand.New(rand.NewPCG(1, 1))), fixedOptions())
			if b, err := again.Files().Load("claim"); err != nil || !bytes.Equal(b, new) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			return
		}
		b, err := open(t, image, fixedOptions()).Files().Load("claim")
		if err != nil || !bytes.Equal(b, old) && !bytes.Equal(b, new) {
			t.Fatalf("moment %d: %.20q, %v", moment, b, err)
		}
	}
	t.Fatal("saving took more than 30 changes of the file system")
}

func TestNamesAndSizesOfFiles(t *testing.T) {
	d := open(t, vfs.NewMem(), fixedOptions())
	for _, name := range []string{"", ".", "..", ".x", "a/b", "../MANIFEST", "x.tmp", "A", "a b", "\x00"} {
		if err := d.Files().Save(name, nil); err == nil {
			t.Errorf("%q is accepted as a name", name)
		}
		if _, err := d.Files().Load(name); err == nil || errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
	large := make([]byte, MaxFile)
	if err := d.Files().Save("addresses.json", large); err != nil {
		t.Error(err)
	}
	if b, err := d.Files().Load("addresses.json"); err != nil || len(b) != len(large) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if err := d.Files().Save("addresses.json", append(large, 0)); err == nil {
		t.Error("a file above MaxFile is accepted")
	}
}
