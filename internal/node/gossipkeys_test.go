package node

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ndring/ndring/internal/gossipkey"
)

// smallFiles are the small files of a data folder, in memory.
type smallFiles map[string][]byte

func (f smallFiles) Load(name string) ([]byte, error) {
	if content, ok := f[name]; ok {
		return content, nil
	}
	return nil, fs.ErrNotExist
}

func (f smallFiles) Save(name string, content []byte) error {
	if f["refuse"] != nil {
		return errors.New("disk full")
	}
	f[name] = bytes.Clone(content)
	return nil
}

// The newer change of the keys counts: that of an operator until the key file changes, and then the file.
func TestGossipRing(t *testing.T) {
	t.Parallel()
	file, folder, log := filepath.Join(t.TempDir(), "key"), smallFiles{}, &locked{w: new(bytes.Buffer)}
	a, b, c := gossipkey.New(), gossipkey.New(), gossipkey.New()
	write := func(keys ...[]byte) {
		t.Helper()
		text := "# gossip\n"
		for _, k := range keys {
			text += gossipkey.Text(k) + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var inUse [][]byte
	start := func() *gossipRing {
		t.Helper()
		r, err := openGossipRing(file, folder, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		inUse = r.current()
		r.use(func(keys [][]byte) error { inUse = keys; return nil })
		return r
	}
	is := func(what string, want ...[]byte) {
		t.Helper()
		if !slices.EqualFunc(inUse, want, bytes.Equal) {
			t.Errorf("%s: the keys are %q, not %q", what, gossipkey.Fingerprints(inUse), gossipkey.Fingerprints(want))
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(a)
	r := start()
	is("the file", a)
	must(r.AddGossipKey(gossipkey.Text(b)))
	must(r.AddGossipKey(gossipkey.Text(b)))
	is("added", a, b)
	must(r.UseGossipKey(gossipkey.Fingerprint(b)))
	must(r.UseGossipKey(gossipkey.Fingerprint(b)))
	is("used", b, a)
	if err := r.RemoveGossipKey(gossipkey.Fingerprint(b)); err == nil {
		t.Error("the key that encrypts was removed")
	}
	if err := r.UseGossipKey(gossipkey.Fingerprint(c)); err == nil {
		t.Error("a key is used that the node does not have")
	}
	must(r.reread())
	is("the file is as before", b, a)
	r = start()
	is("a restart during the rotation", b, a)
	must(r.RemoveGossipKey(gossipkey.Fingerprint(a)))
	must(r.RemoveGossipKey(gossipkey.Fingerprint(a)))
	r = start()
	is("a restart with the old key file", b)

	write(c, b)
	must(r.reread())
	is("the file has changed", c, b)
	write(b, c)
	r = start()
	is("it has changed before a restart", b, c)
	write()
	if err := r.reread(); err == nil || !strings.Contains(err.Error(), "it has no key") {
		t.Errorf("an empty file: %v", err)
	}
	is("an empty file", b, c)
	if _, err := openGossipRing(file, folder, r.log); err == nil {
		t.Error("a node starts with an empty file")
	}
	write(b, c)
	folder["refuse"] = []byte{}
	if err := r.AddGossipKey(gossipkey.Text(a)); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("a folder that keeps nothing: %v", err)
	}
	is("a folder that keeps nothing", b, c)
	delete(folder, "refuse")
	folder[ringFile] = []byte("{")
	r = start()
	is("a damaged folder", b, c)
	for range gossipkey.Max - 2 {
		must(r.AddGossipKey(gossipkey.Text(gossipkey.New())))
	}
	if err := r.AddGossipKey(gossipkey.Text(a)); err == nil {
		t.Error("there is room for any number of keys")
	}
	for _, key := range [][]byte{a, b, c} {
		if strings.Contains(log.String(), gossipkey.Text(key)) {
			t.Error("a key is in the log")
		}
	}
	plain, err := openGossipRing("", folder, r.log)
	if err != nil || len(plain.current()) > 0 || plain.AddGossipKey(gossipkey.Text(a)) == nil {
		t.Error("gossip without a key file has keys")
	}
}

// The keys in the data folder are for the node's user only.
func TestGossipRingIsSecret(t *testing.T) {
	t.Parallel()
	file, dir := filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "d")
	if err := os.WriteFile(file, []byte(gossipkey.Text(gossipkey.New())), 0o600); err != nil {
		t.Fatal(err)
	}
	n, _, err := begin(t, "--dir", dir, "--gossip-key-file", file)
	if err != nil {
		t.Fatal(err)
	}
	readyAll(t, n)
	found := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == ringFile {
			found++
			if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", path, info.Mode(), err)
			}
		}
		return err
	})
	if err != nil || found != 1 {
		t.Errorf("%d files, %v", found, err)
	}
}
